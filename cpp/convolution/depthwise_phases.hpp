// Gradients of depthwise convolutions at stride 2, planes first: the two phases along x are summed side by side, and
// whole rows of the target written.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool depthwise_phases_accept(const Correlation& part);

// Elements that no phase has become the bias, too.
template <class T>
void run_depthwise_phases(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads);

}  // namespace convpool
