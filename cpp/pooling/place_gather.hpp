// Gradients of maxima by their positions: every input element sums the gradients of the windows over it that name it.
#pragma once

#include "pooling/pool_view.hpp"
#include "pooling/pooling.hpp"

namespace convpool {

// Few enough windows over an element that looking at all of them is faster than going where they point; of one channel,
// many windows for which there is a kernel.
template <class T>
bool pays_gather(const PoolGeometry& geometry);
template <class T>
bool pays_block_gather(const PoolGeometry& geometry);  // the same of several channels, whatever the part

// Indices in a window of their own, which are_in_windows() has found or which this library has just made.
template <class T>
void gather_gradients(const PoolGeometry& geometry, const T* grad_output, const std::int32_t* indices, T* grad_input,
                      int num_threads);

// The same for a block of windows (WindowBlocks::backward), whose gradients are added to what the outer holds.
template <class T>
void gather_block(const PoolView& block, const T* grad_output, const std::int32_t* indices, T* grad_input);

bool are_in_windows(const PoolGeometry& geometry, const std::int32_t* indices, int num_threads);

}  // namespace convpool
