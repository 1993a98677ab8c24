#include "convolution/correlation.hpp"

#include <algorithm>
#include <utility>

namespace convpool {

namespace {

// Taps of one axis that a phase uses, and where each starts to read.
struct AxisTap {
  Index offset;
  std::int64_t tap;
};

std::vector<AxisTap> forward_taps(const Axis& axis) {
  std::vector<AxisTap> taps;
  for (std::int64_t tap = 0; tap < axis.kernel; ++tap) taps.push_back({tap * axis.dilation - axis.pad_low, tap});
  return taps;
}

// Input position phase + stride * j meets tap t of window j + (phase + pad_low - t * dilation) / stride.
std::vector<AxisTap> phase_taps(const Axis& axis, std::int64_t phase) {
  std::vector<AxisTap> taps;
  for (std::int64_t tap = 0; tap < axis.kernel; ++tap) {
    const std::int64_t distance = phase + axis.pad_low - tap * axis.dilation;
    if (distance % axis.stride == 0) taps.push_back({distance / axis.stride, tap});
  }
  return taps;
}

std::vector<Tap> combine_taps(const ConvGeometry& geometry, const std::vector<AxisTap> (&axis_taps)[kAxes]) {
  std::vector<Tap> taps;
  taps.reserve(axis_taps[0].size() * axis_taps[1].size() * axis_taps[2].size());
  for (const AxisTap& z : axis_taps[0])
    for (const AxisTap& y : axis_taps[1])
      for (const AxisTap& x : axis_taps[2])
        taps.push_back({{z.offset, y.offset, x.offset},
                        z.tap * geometry.weight_tap_stride(0) + y.tap * geometry.weight_tap_stride(1) +
                            x.tap * geometry.weight_tap_stride(2)});
  return taps;
}

// Where neither array needs to know that an axis ends (one tap at distance 0, unit step, no gaps), the axis joins the
// next one: a 1x1 convolution runs over whole planes instead of rows.
void join_axes(Correlation& part, int outer, int inner) {
  const auto is_plain = [&](int axis) {
    const bool stays = std::all_of(part.taps.begin(), part.taps.end(), [axis](const Tap& tap) { return tap.offset[axis] == 0; });
    return stays && part.step[axis] == 1 && part.source.extent[axis] == part.target.extent[axis];
  };
  const auto is_dense = [&](const Grid& grid) {
    return grid.axis_stride[outer] == grid.axis_stride[inner] * grid.extent[inner];
  };
  if (!is_plain(outer) || !is_plain(inner) || !is_dense(part.source) || !is_dense(part.target)) return;
  for (Grid* grid : {&part.source, &part.target}) {
    grid->extent[inner] *= grid->extent[outer];
    grid->extent[outer] = 1;
    grid->axis_stride[outer] = grid->axis_stride[inner] * grid->extent[inner];
  }
}

Correlation with_joined_axes(Correlation part) {
  join_axes(part, 1, 2);
  if (part.target.extent[1] == 1) join_axes(part, 0, 2);
  else join_axes(part, 0, 1);
  return part;
}

}  // namespace

bool Correlation::has_dense_target() const {
  return target.axis_stride[1] == target.extent[2] * target.axis_stride[2] &&
         target.axis_stride[0] == target.extent[1] * target.axis_stride[1];
}

Grid make_grid(const Extents& extents) {
  Grid grid{};
  grid.batch_stride = extents.batch_stride();
  grid.channel_stride = extents.channel_stride();
  for (int axis = 0; axis < kAxes; ++axis) {
    grid.axis_stride[axis] = extents.axis_stride(axis);
    grid.extent[axis] = extents.spatial[axis];
  }
  return grid;
}

Correlation forward_correlation(const ConvGeometry& geometry) {
  Correlation part{};
  part.batch = geometry.input.batch;
  part.groups = geometry.groups;
  part.channels = geometry.group_inputs();
  part.rows = geometry.group_outputs();
  part.source = make_grid(geometry.input);
  part.target = make_grid(geometry.output);
  std::vector<AxisTap> taps[kAxes];
  for (int axis = 0; axis < kAxes; ++axis) {
    part.step[axis] = geometry.axes[axis].stride;
    taps[axis] = forward_taps(geometry.axes[axis]);
  }
  part.taps = combine_taps(geometry, taps);
  part.weight_row_stride = geometry.weight_output_stride();
  part.weight_channel_stride = geometry.weight_input_stride();
  part.weight_group_stride = part.rows * part.weight_row_stride;
  return with_joined_axes(std::move(part));
}

std::vector<Correlation> grad_input_correlations(const ConvGeometry& geometry) {
  Correlation whole{};
  whole.batch = geometry.input.batch;
  whole.groups = geometry.groups;
  whole.channels = geometry.group_outputs();
  whole.rows = geometry.group_inputs();
  whole.source = make_grid(geometry.output);
  whole.target = make_grid(geometry.input);
  for (Index& step : whole.step) step = 1;
  whole.weight_row_stride = geometry.weight_input_stride();
  whole.weight_channel_stride = geometry.weight_output_stride();
  whole.weight_group_stride = whole.channels * whole.weight_channel_stride;

  std::int64_t phases[kAxes];
  for (int axis = 0; axis < kAxes; ++axis)
    phases[axis] = std::min(geometry.axes[axis].stride, geometry.input.spatial[axis]);
  std::vector<Correlation> parts;
  for (std::int64_t index = 0; index < phases[0] * phases[1] * phases[2]; ++index) {
    const std::int64_t phase[kAxes] = {index / (phases[1] * phases[2]), index / phases[2] % phases[1],
                                       index % phases[2]};
    Correlation part = whole;
    std::vector<AxisTap> taps[kAxes];
    for (int axis = 0; axis < kAxes; ++axis) {
      const Axis& window = geometry.axes[axis];
      taps[axis] = phase_taps(window, phase[axis]);
      part.target_offset += phase[axis] * whole.target.axis_stride[axis];
      part.target.axis_stride[axis] *= window.stride;
      part.target.extent[axis] = ceil_divide(window.input - phase[axis], window.stride);
    }
    part.taps = combine_taps(geometry, taps);
    parts.push_back(with_joined_axes(std::move(part)));
  }
  return parts;
}

}  // namespace convpool
