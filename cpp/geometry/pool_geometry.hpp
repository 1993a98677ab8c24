// Everything that is known of a pooling problem before it runs. A value of this type is always valid: no window is
// empty, and forward and backward read the same windows and divisors from it.
#pragma once

#include "geometry/window_arguments.hpp"

namespace convpool {

enum class Divisor { padded_window, real_window, constant };

struct PoolGeometry {
  Extents input;
  Extents output;
  std::array<Axis, kAxes> axes;
  Divisor divisor = Divisor::padded_window;
  std::int64_t divisor_override = 1;  // used with Divisor::constant

  // How many elements the average over window (z, y, x) divides by.
  std::int64_t divisor_of(std::int64_t z, std::int64_t y, std::int64_t x) const;
  std::int64_t divisor_share(int axis, std::int64_t window) const;  // the factor one axis contributes
};

PoolGeometry make_pool_geometry(const char* function, const Shape& input, const WindowArguments& window, Layout layout);

// output_size: an entry of 0 keeps the input's extent.
PoolGeometry make_adaptive_geometry(const char* function, const Shape& input, const Triple& output_size, Layout layout);

struct UnpoolGeometry {
  Extents pooled;
  Extents output;
};

// The default output is the smallest one whose pooling has the pooled shape; output_size may name another within a
// stride of it.
UnpoolGeometry make_unpool_geometry(const char* function, const Shape& pooled, const WindowArguments& window,
                                    const Triple* output_size, Layout layout);

}  // namespace convpool
