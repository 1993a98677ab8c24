#include "geometry/window_tables.hpp"

namespace convpool {

namespace {

// table[z][y][x] = value(z, y, x)
template <class Value>
void fill(const Triple& extent, std::int64_t* table, Value&& value) {
  for (std::int64_t z = 0; z < extent[0]; ++z)
    for (std::int64_t y = 0; y < extent[1]; ++y)
      for (std::int64_t x = 0; x < extent[2]; ++x) *table++ = value(z, y, x);
}

}  // namespace

void write_window_bounds(const Axis& axis, std::int64_t* bounds) {
  for (std::int64_t window = 0; window < axis.output; ++window) {
    const WindowTaps taps = axis.taps(window);
    *bounds++ = taps.first;
    *bounds++ = taps.first + (taps.count - 1) * axis.dilation + 1;
  }
}

void write_divisors(const PoolGeometry& geometry, std::int64_t* divisors) {
  fill(geometry.output.spatial, divisors, [&](auto z, auto y, auto x) { return geometry.divisor_of(z, y, x); });
}

void write_coverage(const PoolGeometry& geometry, std::int64_t* coverage) {
  const auto& axes = geometry.axes;
  fill(geometry.input.spatial, coverage, [&](auto z, auto y, auto x) {
    return axes[0].covering(z).count * axes[1].covering(y).count * axes[2].covering(x).count;
  });
}

}  // namespace convpool
