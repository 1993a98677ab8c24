// Packed tiles: forward pass and gradient of the input as a blocked matrix product over packed panels.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Runs every correlation (they write disjoint targets). bias: one value per target channel of all groups, or null.
template <class T>
void run_packed(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                const T* bias, T* target, int num_threads);

// Gradient of the weight of the forward correlation `part`: grad_output lies on the target.
template <class T>
void packed_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                        T* grad_weight, int num_threads);

}  // namespace convpool
