// Winograd: 3 x 3 taps at unit step as products of transformed tiles, 2.25 to 4 times fewer than taps. A third axis of
// taps is summed like channels are.
#pragma once

#include "convolution/convolution.hpp"
#include "convolution/correlation.hpp"

namespace convpool {

// Whether tiles of so many outputs keep their precision, and need less work than the taps themselves and than smaller
// tiles.
template <int Outputs>
bool winograd_wins(const KernelTable& table, const Correlation& part, ConvPass pass);

// The same contracts as packed tiles have, without a gradient of the bias. Outputs: 2 or 4.
template <class T, int Outputs>
void run_winograd(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                  const T* bias, T* target, int num_threads);

template <class T, int Outputs>
void winograd_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                          T* grad_weight, int num_threads);

}  // namespace convpool
