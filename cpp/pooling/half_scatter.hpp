// Gradients of maxima in 16 bits: those that meet in one place are added up as floats, beside the output, and their sum
// is rounded once.
#pragma once

#include "geometry/pool_geometry.hpp"

namespace convpool {

// T: a 16-bit float. `indices` lie anywhere in the plane. Scratch memory: 256 KB a thread; where planes are cut into
// bands, also a five-hundredth of the indices.
template <class T, class I>
void scatter_halves(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                    int num_threads);

}  // namespace convpool
