// Gradients of pointwise weights: the side with more channels is read where it lies, the other side is packed as a
// panel of pixels.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool plane_grad_weight_accepts(const Correlation& part);

template <class T>
void plane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                       T* grad_weight, int num_threads);

}  // namespace convpool
