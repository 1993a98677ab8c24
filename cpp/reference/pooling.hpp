// Pooling as plain loops over windows: what runs where no kernel is asked for (CONVPOOL_ISA=reference) or none accepts
// the problem, and what the kernels are tested against. The contract is that of pooling/pooling.hpp, name by name.
#pragma once

#include "pooling/pooling.hpp"

namespace convpool::reference {

template <class T, class I>
void extreme_pool_forward(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices,
                          int num_threads);
template <class T, class I>
void extreme_pool_backward(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input,
                           GivenIndices<I> indices, Ties ties, T* grad_input, int num_threads);
template <class T>
void avg_pool_forward(const PoolGeometry& geometry, const T* input, T* output, int num_threads);
template <class T>
void avg_pool_backward(const PoolGeometry& geometry, const T* grad_output, T* grad_input, int num_threads);
template <class T>
void lp_pool_forward(const PoolGeometry& geometry, const T* input, double norm_type, T* output, int num_threads);
template <class T>
void lp_pool_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, const T* output,
                      double norm_type, T* grad_input, int num_threads);

}  // namespace convpool::reference
