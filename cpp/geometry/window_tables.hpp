// The windows of a pooling written out as tables, for people and tests to look at.
#pragma once

#include "geometry/pool_geometry.hpp"

namespace convpool {

// bounds[2 * o], bounds[2 * o + 1]: first real position of window o, and one past its last.
void write_window_bounds(const Axis& axis, std::int64_t* bounds);

// What the average over each window divides by; spatial shape of the output.
void write_divisors(const PoolGeometry& geometry, std::int64_t* divisors);

// How many windows read each element; spatial shape of the input.
void write_coverage(const PoolGeometry& geometry, std::int64_t* coverage);

}  // namespace convpool
