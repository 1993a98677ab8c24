// Gradients of depthwise convolutions at stride 2, planes first: what windows give their elements is summed in
// registers, as that of pooling is, and whole rows of the target are written.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// `part`: any of the phases.
bool depthwise_spread_accepts(const KernelTable& table, const Correlation& part);

// Elements that no phase has become the bias, too.
template <class T>
void run_depthwise_spread(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads);

}  // namespace convpool
