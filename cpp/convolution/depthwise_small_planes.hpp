// Depthwise convolution of planes so small that registers hold them: 3x3, 5x5 and 7x7 at stride 1 with the padding that
// keeps the extents, on planes of 3 to 8 rows of 4 to 8 elements.
#pragma once

#include "convolution/convolution.hpp"
#include "convolution/correlation.hpp"

namespace convpool {

// `lanes`: of a vector of the elements.
bool small_planes_accept(Index lanes, const Correlation& part, ConvPass pass);

template <class T>
void run_small_planes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads);

template <class T>
void small_planes_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                              T* grad_weight, int num_threads);

}  // namespace convpool
