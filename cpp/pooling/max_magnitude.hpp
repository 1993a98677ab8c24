// Largest magnitude of every window: the LP pooling of infinite order, and what its gradient has to find again.
#pragma once

#include "pooling/pooling.hpp"

namespace convpool {

// `indices`, which may be null: the first place where the magnitude is largest. For problems the kernels accept.
template <class T>
void max_magnitude(const PoolGeometry& geometry, const T* input, T* output, std::int32_t* indices, int num_threads);

// What a place takes of the gradient of its window, where places are elements of `source`.
template <class T>
struct AddSigned {
  const T* source;
  void operator()(T& sum, const T& gradient, std::int64_t element) const noexcept {
    const T value = source[element];
    sum += gradient * (value > 0 ? T{1} : value < 0 ? T{-1} : value);
  }
};

// grad_input of max_magnitude.
template <class T>
void max_magnitude_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, T* grad_input,
                            int num_threads);

}  // namespace convpool
