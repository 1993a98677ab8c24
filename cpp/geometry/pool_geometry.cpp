#include "geometry/pool_geometry.hpp"

#include "geometry/error.hpp"

namespace convpool {

namespace {

void set_output(const char* function, PoolGeometry& geometry) {
  geometry.output = geometry.input;
  for (int axis = 0; axis < kAxes; ++axis) geometry.output.spatial[axis] = geometry.axes[axis].output;
  checked_product(function, "output", geometry.output.shape());
}

std::int64_t unpooled_extent(const char* function, std::int64_t pooled, const WindowArguments& window, int i,
                             const Triple* output_size) {
  const std::int64_t stride = window.stride[i];
  const std::int64_t by_default =
      window.rule == PaddingRule::explicit_pairs
          ? (pooled - 1) * stride - window.pad_low[i] - window.pad_high[i] + window.kernel[i]
          : pooled * stride;
  if (output_size == nullptr) return by_default;
  require_range(function, "output_size", (*output_size)[i], by_default - stride + 1, by_default + stride - 1);
  return (*output_size)[i];
}

}  // namespace

std::int64_t PoolGeometry::divisor_share(int axis, std::int64_t window) const {
  const WindowTaps taps = axes[axis].taps(window);
  return divisor == Divisor::padded_window ? taps.padded_count : taps.count;
}

std::int64_t PoolGeometry::divisor_of(std::int64_t z, std::int64_t y, std::int64_t x) const {
  if (divisor == Divisor::constant) return divisor_override;
  return divisor_share(0, z) * divisor_share(1, y) * divisor_share(2, x);
}

PoolGeometry make_pool_geometry(const char* function, const Shape& input, const WindowArguments& window,
                                Layout layout) {
  PoolGeometry geometry;
  geometry.input = make_extents(function, "input", input, layout);
  require_window(function, "kernel_size", window, geometry.input.rank);
  geometry.axes = make_axes(function, "kernel_size", geometry.input.spatial, window, geometry.input.rank);
  for (const Axis& axis : geometry.axes) require_real_taps(function, axis);
  set_output(function, geometry);
  return geometry;
}

PoolGeometry make_adaptive_geometry(const char* function, const Shape& input, const Triple& output_size,
                                    Layout layout) {
  PoolGeometry geometry;
  geometry.input = make_extents(function, "input", input, layout);
  geometry.divisor = Divisor::real_window;
  const int rank = geometry.input.rank;
  for (int i = 0; i < rank; ++i) {
    const int axis = first_axis(rank) + i;
    const std::int64_t extent = geometry.input.spatial[axis];
    const std::int64_t size = output_size[i] == 0 ? extent : output_size[i];
    require_range(function, "output_size", size, 1, kLargestParameter);
    checked_product(function, "output_size", {extent, size});  // window bounds are quotients of this product
    geometry.axes[axis] = make_adaptive_axis(extent, size);
  }
  set_output(function, geometry);
  return geometry;
}

UnpoolGeometry make_unpool_geometry(const char* function, const Shape& pooled, const WindowArguments& window,
                                    const Triple* output_size, Layout layout) {
  UnpoolGeometry geometry;
  geometry.pooled = make_extents(function, "input", pooled, layout);
  const int rank = geometry.pooled.rank;
  require_window(function, "kernel_size", window, rank);
  Shape whole = pooled;
  const std::size_t first_spatial = layout == Layout::channels_first ? 2 : 1;
  for (int i = 0; i < rank; ++i) {
    std::int64_t& extent = whole[first_spatial + i];
    require_range(function, "input", extent, 1, kLargestParameter);
    extent = unpooled_extent(function, extent, window, i, output_size);
    if (extent < 1) {
      reject(function, "padding", "small enough that the output has an extent >= 1",
             "extent " + std::to_string(extent));
    }
  }
  geometry.output = make_extents(function, "output", whole, layout);
  return geometry;
}

}  // namespace convpool
