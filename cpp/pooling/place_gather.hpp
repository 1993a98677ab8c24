// Gradients of maxima by their positions: every input element sums the gradients of the windows over it that name it.
#pragma once

#include "pooling/pool_view.hpp"
#include "pooling/pooling.hpp"

namespace convpool {

// Whether looking at the windows over an element is faster than going where they point: channels last, where there is
// one; of one channel, where there are many and a kernel has them in registers.
template <class T>
bool pays_gather(const PoolGeometry& geometry);

// Indices in a window of their own, which are_in_windows() has found.
template <class T>
void gather_gradients(const PoolGeometry& geometry, const T* grad_output, const std::int32_t* indices, T* grad_input,
                      int num_threads);

bool are_in_windows(const PoolGeometry& geometry, const std::int32_t* indices, int num_threads);

}  // namespace convpool
