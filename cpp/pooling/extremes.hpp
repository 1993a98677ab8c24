// Extremes of the windows of a view, for passes that find them again block by block.
#pragma once

#include "pooling/pool_view.hpp"

namespace convpool {

enum class Order { max, min, magnitude };

// `indices` may be null: positions in the source plane. T: float, double, and, but for magnitudes, 16-bit floats.
template <class T>
void find_extremes(const PoolView& view, Order order, const T* input, T* output, std::int32_t* indices,
                   int num_threads);

}  // namespace convpool
