// Gradients of extremes that are found again, where what was found for one plane (channels last: for one image) is too
// much to keep: for one block of windows after the other. Each block is added to the gradient of the whole, in
// row-major order as ever, so the bits are those of a single pass, whatever the blocks. For problems the kernels
// accept.
//
// A task has a band of the input's positions, and looks at all windows that read one of them. Gradients of 16 bits are
// added up as float, in scratch memory, and rounded once.
//
// Rows that windows of two blocks read are reduced along x twice: for windows k rows high at a stride of s, a block of
// b rows of windows reads (k - s) / (b * s) more than its share.
#pragma once

#include "pooling/extremes.hpp"
#include "pooling/pooling.hpp"

namespace convpool {

// Ties::first; the largest magnitude passes its gradient on with its sign.
template <class T>
void first_in_blocks(const PoolGeometry& geometry, Order order, const T* grad_output, const T* input, T* grad_input,
                     int num_threads);

// Ties::all and Ties::split.
template <class T>
void ties_in_blocks(const PoolGeometry& geometry, Order order, bool is_split, const T* grad_output, const T* input,
                    T* grad_input, int num_threads);

}  // namespace convpool
