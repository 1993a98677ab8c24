// Plain loops over the correlation: the oracle of the kernels, and what runs where no algorithm accepts. The kernel
// table is there so that a row of the plan fits; it is not used.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool::reference {

template <class T>
void correlate(const KernelTable*, const std::vector<Correlation>& parts, const T* source, const T* weight,
               const T* bias, T* target, int num_threads);

template <class T>
void correlate_grad_weight(const KernelTable*, const Correlation& part, const T* source, const T* grad_output,
                           T* grad_weight, int num_threads);

// The sum of every channel over all images and positions: the gradient of a bias.
template <class T>
void add_channels(const Extents& extents, const T* values, T* sums, int num_threads);

}  // namespace convpool::reference
