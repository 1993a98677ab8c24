// Contract of the pooling room. Arrays are C-contiguous in the geometry's layout; everything is validated already, the
// indices too (import_indices).
//
// Max, min: the first extreme in row-major window order, the first NaN if there is one. Average: sum / divisor. LP:
// (sum of |x|^p)^(1/p). Backward passes are the adjoints; an element read by several windows sums their gradients.
// Every output has one order of summation, whatever the number of threads.
#pragma once

#include "geometry/pool_geometry.hpp"

namespace convpool {

// Which maxima of a window take its gradient: the first one, every one the whole of it, or every one an equal share.
enum class Ties { first, all, split };

enum class PoolPass { max_forward, max_backward, avg_forward, avg_backward, lp_forward, lp_backward };

// Which end of the order of its elements a window looks for.
enum class Extreme { max, min };

// T: float, double, a 16-bit float (pooling/half.hpp), any integer. I: std::int32_t or, for planes of 2**31 elements
// and more, std::int64_t. `indices` may be null; they are flat positions in the spatial plane of one (n, c).
template <class T, class I>
void extreme_pool_forward(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices,
                          int num_threads);

// Indices that a caller has kept, or null. Each inside its own window is what a forward pass makes, and what gradients
// are found fastest from; any others that lie in the plane are followed too.
template <class I>
struct GivenIndices {
  const I* data = nullptr;
  bool are_in_windows = false;
};

// Whether indices lie in their windows, as far as that matters for gradients of type T: then they lie in the plane as
// well, and need no import_indices().
template <class T, class I>
GivenIndices<I> examine_indices(const PoolGeometry& geometry, const I* indices, int num_threads);

// T: float, double, a 16-bit float; gradients of those are added up as float and rounded once. With ties = first either
// of `input` and `indices` may be null, else only `indices` and it is not read.
template <class T, class I>
void extreme_pool_backward(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input,
                           GivenIndices<I> indices, Ties ties, T* grad_input, int num_threads);

// Both also for 16-bit floats, and the forward pass for whole numbers where the divisor is 1: their sums wrap around,
// so unsigned types serve signed ones.
template <class T>
void avg_pool_forward(const PoolGeometry& geometry, const T* input, T* output, int num_threads);
template <class T>
void avg_pool_backward(const PoolGeometry& geometry, const T* grad_output, T* grad_input, int num_threads);

// T: float, double. norm_type > 0, or infinity for max |x| (its gradient goes to the first maximum).
template <class T>
void lp_pool_forward(const PoolGeometry& geometry, const T* input, double norm_type, T* output, int num_threads);
template <class T>
void lp_pool_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, const T* output,
                      double norm_type, T* grad_input, int num_threads);

// Places that no index names are 0; of several pooled elements with the same index the last in row-major order wins,
// forward and backward.
template <class T, class I>
void max_unpool_forward(const UnpoolGeometry& geometry, const T* input, const I* indices, T* output, int num_threads);
template <class T, class I>
void max_unpool_backward(const UnpoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                         int num_threads);

// Checks that indices of any integer type lie in [0, plane), and copies them unless `target` is null; throws
// InvalidArgument naming `function`.
template <class From, class I>
void import_indices(const std::string& function, const From* indices, std::int64_t count, std::int64_t plane, I* target,
                    int num_threads);

// Name of the algorithm that the plan picks with the chosen kernels.
const char* pool_algorithm(const PoolGeometry& geometry, PoolPass pass);

}  // namespace convpool
