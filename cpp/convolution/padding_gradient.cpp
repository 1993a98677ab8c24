#include "convolution/padding_gradient.hpp"

#include <algorithm>
#include <utility>

#include "runtime/parallel.hpp"

namespace convpool {

namespace {

constexpr Index kChannelsAtOnce = 16;  // of an addition, where channels are innermost

using Visit = std::function<void(const PaddingBox&)>;
using Segments = std::vector<AxisSegment>;

// The positions of [first, stop) that one tap reads: every stride-th, none between them.
AxisSegment tap_segment(const Axis& axis, std::int64_t tap, Index first, Index stop) {
  const Index start = tap * axis.dilation - axis.pad_low;  // what window 0 reads
  const Index window = std::max<Index>(0, ceil_divide(first - start, axis.stride));
  const Index end = std::min(axis.output, ceil_divide(stop - start, axis.stride));
  return {start + window * axis.stride, end - window, {{window, tap}}};
}

// Joins the segment of one tap to `last` if its positions lie in the same stride phase and overlap, or follow, those.
bool join(AxisSegment& last, const AxisSegment& next, Index stride) {
  const Index distance = next.first - last.first, number = distance / stride;
  if (distance % stride != 0 || number > last.count) return false;
  last.taps.push_back({next.taps[0].offset - number, next.taps[0].tap});
  last.count = std::max(last.count, number + next.count);
  return true;
}

// The positions of [first, stop) that any tap reads: no more of them than products, however far padding or dilation
// reach.
Segments axis_segments(const Axis& axis, Index first, Index stop) {
  Segments taps;
  for (std::int64_t tap = 0; tap < axis.kernel; ++tap) {
    AxisSegment segment = tap_segment(axis, tap, first, stop);
    if (segment.count > 0) taps.push_back(std::move(segment));
  }
  const auto order = [&](const AxisSegment& segment) {
    return std::make_pair(floor_modulo(segment.first, axis.stride), segment.first);
  };
  std::stable_sort(taps.begin(), taps.end(), [&](const auto& a, const auto& b) { return order(a) < order(b); });
  Segments segments;
  for (AxisSegment& next : taps)
    if (segments.empty() || !join(segments.back(), next, axis.stride)) segments.push_back(std::move(next));
  return segments;
}

// Positions [number, number + count) of a segment, with the taps that read them.
AxisSegment part_of(const Axis& axis, const AxisSegment& segment, Index number, Index count) {
  AxisSegment part{segment.first + number * axis.stride, count, {}};
  for (const AxisTap& tap : segment.taps) {
    const Index window = tap.offset + number;
    if (window + count > 0 && window < axis.output) part.taps.push_back({window, tap.tap});
  }
  return part;
}

// Halves a box until one image of it fits the scratch memory: a large kernel over a large image has wide padding.
void visit_halves(const ConvGeometry& geometry, const PaddingBox& box, const Visit& visit) {
  if (box.positions() == 1 || box.positions() * geometry.input.channels <= kMostPaddingElements) return visit(box);
  const auto longest = std::max_element(box.segments.begin(), box.segments.end(),
                                        [](const auto& a, const auto& b) { return a.count < b.count; });
  const auto axis = static_cast<std::size_t>(longest - box.segments.begin());
  const Index half = longest->count / 2;
  PaddingBox low = box, high = box;
  low.segments[axis] = part_of(geometry.axes[axis], *longest, 0, half);
  high.segments[axis] = part_of(geometry.axes[axis], *longest, half, longest->count - half);
  visit_halves(geometry, low, visit);
  visit_halves(geometry, high, visit);
}

void visit_slab(const ConvGeometry& geometry, const std::array<Segments, kAxes>& slab, const Visit& visit) {
  for (const AxisSegment& z : slab[0])
    for (const AxisSegment& y : slab[1])
      for (const AxisSegment& x : slab[2]) visit_halves(geometry, {{z, y, x}}, visit);
}

// Adds a run of positions, `step` and `target_step` apart, of `channels` channels.
template <class T>
void add_run(Index count, const T* values, Index step, T* target, Index target_step, Index channels,
             Index channel_stride, Index target_channel_stride) noexcept {
  for (Index i = 0; i < count; ++i, values += step, target += target_step) {
    if (channels == 1) target[0] += values[0];
    else
      for (Index channel = 0; channel < channels; ++channel)
        target[channel * target_channel_stride] += values[channel * channel_stride];
  }
}

// Channels [0, channels) of one image and box; runs go along the longer of its last two axes.
template <class T>
void add_box(const ConvGeometry& geometry, const PaddingBox& box, const Grid& grid, Index channels, const T* values,
             const Grid& target_grid, T* target) noexcept {
  const std::size_t inner = grid.extent[2] >= grid.extent[1] ? 2 : 1, outer = 3 - inner;
  const auto element_offset = [&](std::size_t axis, Index number) {
    const Index position = box.segments[axis].first + number * geometry.axes[axis].stride;
    return source_position(geometry.padding_mode, target_grid.extent[axis], position) * target_grid.axis_stride[axis];
  };
  const PaddedRuns runs(geometry.padding_mode, target_grid.extent[inner], box.segments[inner].first,
                        geometry.axes[inner].stride, grid.extent[inner]);
  for (Index z = 0; z < grid.extent[0]; ++z)
    for (Index row = 0; row < grid.extent[outer]; ++row) {
      const T* row_values = values + z * grid.axis_stride[0] + row * grid.axis_stride[outer];
      T* row_target = target + element_offset(0, z) + element_offset(outer, row);
      for (const PaddedRun& run : runs)
        add_run(run.stop - run.first, row_values + run.first * grid.axis_stride[inner], grid.axis_stride[inner],
                row_target + run.source * target_grid.axis_stride[inner], run.step * target_grid.axis_stride[inner],
                channels, grid.channel_stride, target_grid.channel_stride);
    }
}

}  // namespace

// Two slabs of each axis: real positions of the axes before it, padded positions of those behind it.
void for_each_padding_box(const ConvGeometry& geometry, const Visit& visit) {
  std::array<Segments, kAxes> slab, real;
  for (std::size_t axis = 0; axis < kAxes; ++axis) {
    const Axis& window = geometry.axes[axis];
    real[axis] = axis_segments(window, 0, window.input);
    slab[axis] = axis_segments(window, -window.pad_low, window.input + window.pad_high);
  }
  for (std::size_t axis = 0; axis < kAxes; ++axis) {
    const Axis& window = geometry.axes[axis];
    slab[axis] = axis_segments(window, -window.pad_low, 0);
    visit_slab(geometry, slab, visit);
    slab[axis] = axis_segments(window, window.input, window.input + window.pad_high);
    visit_slab(geometry, slab, visit);
    slab[axis] = real[axis];
  }
}

template <class T>
void add_padding(const ConvGeometry& geometry, const std::vector<PaddingBox>& boxes, const T* values, Index first,
                 Index images, T* grad_input, int num_threads) {
  const Grid target_grid = make_grid(geometry.input);
  const Index channels = geometry.input.channels, at_once = target_grid.channel_stride == 1 ? kChannelsAtOnce : 1;
  const Index blocks = ceil_divide(channels, at_once);
  const int workers = worker_count(num_threads, images * blocks, images * kMostPaddingElements);
  parallel_for(images * blocks, workers, [&](Index task, int) {
    const Index image = task / blocks, channel = task % blocks * at_once;
    T* target = grad_input + (first + image) * target_grid.batch_stride + channel * target_grid.channel_stride;
    const T* array = values;
    for (const PaddingBox& box : boxes) {
      Extents extents = geometry.input;
      for (std::size_t axis = 0; axis < kAxes; ++axis) extents.spatial[axis] = box.segments[axis].count;
      const Grid grid = make_grid(extents);
      add_box(geometry, box, grid, std::min(at_once, channels - channel),
              array + image * grid.batch_stride + channel * grid.channel_stride, target_grid, target);
      array += images * grid.batch_stride;
    }
  });
}

template void add_padding(const ConvGeometry&, const std::vector<PaddingBox>&, const float*, Index, Index, float*, int);
template void add_padding(const ConvGeometry&, const std::vector<PaddingBox>&, const double*, Index, Index, double*,
                          int);

}  // namespace convpool
