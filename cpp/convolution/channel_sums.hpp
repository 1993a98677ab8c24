// The gradient of a bias: the sum of every channel over all images and positions.
#pragma once

#include "geometry/axis.hpp"
#include "geometry/shape.hpp"
#include "kernels/table.hpp"

namespace convpool {

template <class T>
void add_channels(const KernelTable& table, const Extents& extents, const T* values, T* sums, int num_threads);

}  // namespace convpool
