// Winograd: 2 or 3 taps along x, or along both axes, as products of transformed tiles, up to 4 times fewer than taps. A
// third axis of taps is summed like channels are, and so are the stride phases of a source; those of a target share
// the transformed source.
#pragma once

#include "convolution/convolution.hpp"
#include "convolution/correlation.hpp"

namespace convpool {

struct WinogradDemands {
  bool is_highest;    // precision
  bool has_matrices;  // products without tiles are those of matrix units
};

// Whether tiles of so many outputs keep their precision, and need less work than the taps themselves and than smaller
// tiles. `part`: the largest.
template <int Outputs>
bool winograd_wins(const KernelTable& table, const Correlation& part, ConvPass pass, const WinogradDemands& demands);

// The same contracts as packed tiles have, without a gradient of the bias. Outputs: 2 or 4.
template <class T, int Outputs>
void run_winograd(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                  const T* bias, T* target, int num_threads);

template <class T, int Outputs>
void winograd_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                          T* grad_weight, int num_threads);

}  // namespace convpool
