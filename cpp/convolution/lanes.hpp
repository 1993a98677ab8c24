// Channels as lanes: depthwise convolution of pixels whose channels are neighbours in memory. Nothing is transposed or
// copied; taps are read where they lie.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool lanes_accept(const KernelTable& table, const Correlation& part);

template <class T>
void run_lanes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
               const T* bias, T* target, int num_threads);

template <class T>
void lane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                      T* grad_weight, int num_threads);

}  // namespace convpool
