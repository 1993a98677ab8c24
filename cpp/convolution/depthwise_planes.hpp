// Depthwise convolution of planes with 3x3 and 5x5 kernels at strides 1 and 2: planes are read where they lie, or
// padded in the first-level cache, and finished rows go straight to the target.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool depthwise_planes_accept(const KernelTable& table, const Correlation& part);
bool depthwise_planes_grad_weight_accepts(const KernelTable& table, const Correlation& part);  // 3x3 only

template <class T>
void run_depthwise_planes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads);

template <class T>
void depthwise_planes_grad_weight(const KernelTable* table, const Correlation& part, const T* source,
                                  const T* grad_output, T* grad_weight, int num_threads);

}  // namespace convpool
