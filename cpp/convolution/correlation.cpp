#include "convolution/correlation.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace convpool {

namespace {

std::vector<AxisTap> forward_taps(const Axis& axis) {
  std::vector<AxisTap> taps;
  for (std::int64_t tap = 0; tap < axis.kernel; ++tap) taps.push_back({tap * axis.dilation - axis.pad_low, tap});
  return taps;
}

// Input position phase + stride * j meets tap t of window j + (phase + pad_low - t * dilation) / stride. Phases without
// any tap are left out, a stride of thousands over a small kernel has many of them; false if there are
// any. The last tap comes first: offsets ascend, as they do in the forward pass.
bool find_phases(const Axis& axis, std::vector<AxisPhase>& phases) {
  std::map<std::int64_t, std::vector<AxisTap>> taps;
  for (std::int64_t tap = axis.kernel - 1; tap >= 0; --tap) {
    const std::int64_t phase = floor_modulo(tap * axis.dilation - axis.pad_low, axis.stride);
    const std::int64_t distance = phase + axis.pad_low - tap * axis.dilation;
    if (phase < axis.input) taps[phase].push_back({distance / axis.stride, tap});
  }
  for (auto& [phase, phase_taps] : taps) phases.push_back({phase, std::move(phase_taps)});
  return static_cast<std::int64_t>(phases.size()) == std::min(axis.stride, axis.input);
}

std::vector<Tap> combine_taps(const ConvGeometry& geometry,
                              const std::array<const std::vector<AxisTap>*, kAxes>& axis_taps) {
  std::vector<Tap> taps;
  taps.reserve(axis_taps[0]->size() * axis_taps[1]->size() * axis_taps[2]->size());
  for (const AxisTap& z : *axis_taps[0])
    for (const AxisTap& y : *axis_taps[1])
      for (const AxisTap& x : *axis_taps[2])
        taps.push_back({{z.offset, y.offset, x.offset},
                        z.tap * geometry.weight_tap_stride(0) + y.tap * geometry.weight_tap_stride(1) +
                            x.tap * geometry.weight_tap_stride(2)});
  return taps;
}

// Where neither array needs to know that an axis ends (one tap at distance 0, unit step, no gaps), the axis joins the
// next one: a 1x1 convolution runs over whole planes instead of rows.
void join_axes(Correlation& part, int outer, int inner) {
  const auto is_plain = [&](int axis) {
    const bool stays =
        std::all_of(part.taps.begin(), part.taps.end(), [axis](const Tap& tap) { return tap.offset[axis] == 0; });
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
  std::copy_n(part.target.extent, kAxes, part.whole_extent);
  return part;
}

// Rows run along the longer of the last two axes.
Correlation with_long_rows(Correlation part) {
  if (part.target.extent[2] >= part.target.extent[1]) return part;
  for (Grid* grid : {&part.source, &part.target}) {
    std::swap(grid->extent[1], grid->extent[2]);
    std::swap(grid->axis_stride[1], grid->axis_stride[2]);
  }
  std::swap(part.step[1], part.step[2]);
  std::swap(part.whole_extent[1], part.whole_extent[2]);
  for (Tap& tap : part.taps) std::swap(tap.offset[1], tap.offset[2]);
  return part;
}

// A correlation of grad_output that has a target and taps to be given.
Correlation gradient_correlation(const ConvGeometry& geometry) {
  Correlation part{};
  part.batch = geometry.input.batch;
  part.groups = geometry.groups;
  part.channels = geometry.group_outputs();
  part.rows = geometry.group_inputs();
  part.source = make_grid(geometry.output);
  std::fill_n(part.step, kAxes, Index{1});
  std::fill_n(part.target_step, kAxes, Index{1});
  part.weight_row_stride = geometry.weight_input_stride();
  part.weight_channel_stride = geometry.weight_output_stride();
  part.weight_group_stride = part.channels * part.weight_channel_stride;
  return part;
}

}  // namespace

bool Correlation::is_channels_last() const { return source.channel_stride == 1 && target.channel_stride == 1; }

bool Correlation::is_phase() const {
  return std::any_of(target_step, target_step + kAxes, [](Index step) { return step > 1; });
}

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
  // Planes of one element: channels are neighbours, as they are channels last.
  const bool has_single_pixels = grid.extent[0] * grid.extent[1] * grid.extent[2] == 1;
  if (has_single_pixels) std::fill_n(grid.axis_stride, kAxes, extents.channels);
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
  part.padding_mode = geometry.padding_mode;
  std::vector<AxisTap> taps[kAxes];
  for (int axis = 0; axis < kAxes; ++axis) {
    part.step[axis] = geometry.axes[axis].stride;
    part.target_step[axis] = 1;
    taps[axis] = forward_taps(geometry.axes[axis]);
  }
  part.taps = combine_taps(geometry, {&taps[0], &taps[1], &taps[2]});
  part.weight_row_stride = geometry.weight_output_stride();
  part.weight_channel_stride = geometry.weight_input_stride();
  part.weight_group_stride = part.rows * part.weight_row_stride;
  return with_joined_axes(std::move(part));
}

InputGradient::InputGradient(const ConvGeometry& geometry)
    : geometry_(geometry), whole_(gradient_correlation(geometry)) {
  whole_.target = make_grid(geometry.input);
  for (int axis = 0; axis < kAxes; ++axis) covers_all_ &= find_phases(geometry.axes[axis], phases_[axis]);
}

// The target cut down to every stride-th position.
Correlation InputGradient::part(Index index) const {
  const Index high = count(1), wide = count(2);
  const Index place[kAxes] = {index / wide / high, index / wide % high, index % wide};
  Correlation part = whole_;
  std::array<const std::vector<AxisTap>*, kAxes> taps;
  for (int axis = 0; axis < kAxes; ++axis) {
    const Axis& window = geometry_.axes[axis];
    const AxisPhase& phase = phases_[axis][static_cast<std::size_t>(place[axis])];
    part.target_phase[axis] = phase.phase;
    part.target_step[axis] = window.stride;
    part.window[axis] = window.kernel_extent();
    part.target_offset += phase.phase * whole_.target.axis_stride[axis];
    part.target.axis_stride[axis] *= window.stride;
    part.target.extent[axis] = ceil_divide(window.input - phase.phase, window.stride);
    taps[static_cast<std::size_t>(axis)] = &phase.taps;
  }
  part.taps = combine_taps(geometry_, taps);
  if (!part.is_phase()) return with_joined_axes(std::move(part));
  part.is_one_of_all = std::all_of(geometry_.axes.begin(), geometry_.axes.end(), [](const Axis& axis) {
    return axis.dilation == 1 && axis.stride <= std::min(axis.kernel, axis.input);
  });
  std::copy_n(whole_.target.extent, kAxes, part.whole_extent);  // phases are taken together: they see the same axes
  return part;
}

Correlation segment_correlation(const ConvGeometry& geometry, const std::array<AxisSegment, kAxes>& segments) {
  Correlation part = gradient_correlation(geometry);
  Extents target = geometry.input;
  for (std::size_t axis = 0; axis < kAxes; ++axis) target.spatial[axis] = segments[axis].count;
  part.target = make_grid(target);
  part.taps = combine_taps(geometry, {&segments[0].taps, &segments[1].taps, &segments[2].taps});
  return with_long_rows(with_joined_axes(std::move(part)));
}

}  // namespace convpool
