// Output channels as lanes: dense convolution from few channels (the first layer of a network, LeNet, raw audio).
// Source rows are padded where they lie in either layout, nothing is packed into a matrix.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool output_lanes_accept(const KernelTable& table, const Correlation& part);
bool output_lane_grad_weight_accepts(const KernelTable& table, const Correlation& part);

template <class T>
void run_output_lanes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads);

template <class T>
void output_lane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                             T* grad_weight, int num_threads);

}  // namespace convpool
