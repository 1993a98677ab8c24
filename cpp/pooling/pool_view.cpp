#include "pooling/pool_view.hpp"

#include <algorithm>

namespace convpool {

namespace {

using Axes = std::array<Axis, kAxes>;
using Shares = std::array<std::vector<double>, kAxes>;

bool covers_all(const Axis& axis) { return axis.output == 1 && axis.taps(0).count == axis.input; }

// Makes the two innermost axes one and shifts the outer one inwards.
void merge_inner_axes(Axes& axes, Shares& shares) {
  axes = {Axis{}, axes[0], make_adaptive_axis(axes[1].input * axes[2].input, 1)};
  shares = {std::vector<double>{1.0}, shares[0], std::vector<double>{shares[1].front() * shares[2].front()}};
}

// Adaptive windows of one length are ordinary windows.
Axis plain_if_even(const Axis& axis) {
  if (!axis.is_adaptive || axis.output == 1 || axis.input % axis.output != 0) return axis;
  const Index length = axis.input / axis.output;
  return Axis{axis.input, length, length, 1, 0, 0, axis.output, false};
}

Shares divisor_shares(const PoolGeometry& geometry) {
  Shares shares;
  for (int axis = 0; axis < kAxes; ++axis)
    for (Index window = 0; window < geometry.axes[axis].output; ++window)
      shares[axis].push_back(
          geometry.divisor == Divisor::constant ? 1.0 : static_cast<double>(geometry.divisor_share(axis, window)));
  if (geometry.divisor == Divisor::constant)
    std::fill(shares[0].begin(), shares[0].end(), static_cast<double>(geometry.divisor_override));
  return shares;
}

PoolView unmade_view(const PoolGeometry& geometry) {
  const bool is_first = geometry.input.layout == Layout::channels_first;
  PoolView view{};
  view.outers = geometry.input.batch * (is_first ? geometry.input.channels : 1);
  view.inner = is_first ? 1 : geometry.input.channels;
  return view;
}

PoolView make_view(const PoolGeometry& geometry, ViewAxis (*make_axis)(const Axis&)) {
  PoolView view = unmade_view(geometry);
  view.shares = divisor_shares(geometry);
  Axes axes = geometry.axes;
  for (int merges = 0; merges < kAxes - 1; ++merges)
    if (covers_all(axes[2]) && covers_all(axes[1])) merge_inner_axes(axes, view.shares);
  for (int axis = 0; axis < kAxes; ++axis) view.axes[axis] = make_axis(axes[axis]);
  return view;
}

// Nothing merged, no shares.
PoolView make_plain_view(const PoolGeometry& geometry, ViewAxis (*make_axis)(const Axis&)) {
  PoolView view = unmade_view(geometry);
  for (int axis = 0; axis < kAxes; ++axis) view.axes[axis] = make_axis(geometry.axes[axis]);
  return view;
}

ViewAxis whole_forward_axis(const Axis& window) { return forward_axis(window, {0, window.output}); }
ViewAxis whole_backward_axis(const Axis& window) {
  return backward_axis(window, {0, window.output}, {0, window.input});
}

}  // namespace

PoolGeometry with_even_windows(const PoolGeometry& geometry) {
  PoolGeometry plain = geometry;
  for (Axis& axis : plain.axes) axis = plain_if_even(axis);
  return plain;
}

ViewAxis forward_axis(const Axis& window, Range windows) {
  ViewAxis axis{window.input, windows.count, window.dilation, window.largest_window(), {}, window};
  if (!window.is_adaptive && window.dilation == 1) {
    axis.length = window.kernel;
    axis.begin = windows.first * window.stride - window.pad_low;
    axis.stride = window.stride;
  }
  axis.window.output = windows.count;
  axis.window.pad_low -= windows.first * window.stride;  // below 0: the first of these windows begins further in
  axis.reads.resize(static_cast<std::size_t>(windows.count));
  Index target = windows.first;
  for (Range& reads : axis.reads) {
    const WindowTaps taps = window.taps(target++);
    reads.first = taps.first;
    reads.count = taps.count;
  }
  return axis;
}

ViewAxis backward_axis(const Axis& window, Range windows, Range targets) {
  ViewAxis axis{windows.count, targets.count, 1, std::min(window.largest_cover(), windows.count), {}, window};
  axis.origin = targets.first;
  axis.extent = window.input;
  const bool is_whole = windows.count == window.output && targets.count == window.input;
  if (is_whole && !window.is_adaptive && window.dilation == 1 && window.stride == 1) {
    axis.length = window.kernel;
    axis.begin = window.pad_low - (window.kernel - 1);
  }
  axis.reads.resize(static_cast<std::size_t>(targets.count));
  Index target = targets.first;
  for (Range& reads : axis.reads) {
    const CoveringWindows covering = window.covering(target++);
    reads = reads_within({covering.first, covering.count}, covering.step, windows);
    reads.first -= windows.first;
    axis.step = covering.step;  // the same for every position
  }
  return axis;
}

Range reads_within(Range reads, Index step, Range kept) noexcept {
  const Index skipped = std::max<Index>(ceil_divide(kept.first - reads.first, step), 0);
  const Index stop = std::min(ceil_divide(kept.stop() - reads.first, step), reads.count);
  if (stop <= skipped) return {kept.first, 0};
  return {reads.first + skipped * step, stop - skipped};
}

Range ViewAxis::span(Range block) const noexcept {
  if (length > 0 && block.count > 0) {  // both ends ascend
    const Index begins = of(block.first).first;
    return {begins, of(block.stop() - 1).stop() - begins};
  }
  // The first reads do not always ascend: a dilated window may begin beyond its successor's first real tap.
  Index first = sources, stop = 0;
  for (Index target = block.first; target < block.stop(); ++target) {
    if (of(target).count == 0) continue;
    first = std::min(first, of(target).first);
    stop = std::max(stop, of(target).first + (of(target).count - 1) * step + 1);
  }
  return stop == 0 ? Range{} : Range{first, stop - first};
}

Index ViewAxis::longest_span(Index block) const noexcept {
  Index longest = 0;
  for (Index target = 0; target < targets; target += block)
    longest = std::max(longest, span({target, std::min(block, targets - target)}).count);
  return longest;
}

PoolView forward_view(const PoolGeometry& geometry) { return make_view(geometry, whole_forward_axis); }

PoolView forward_view_of_maxima(const PoolGeometry& geometry) {
  return make_view(with_even_windows(geometry), whole_forward_axis);
}

PoolView plain_forward_view(const PoolGeometry& geometry) { return make_plain_view(geometry, whole_forward_axis); }

PoolView backward_view(const PoolGeometry& geometry) { return make_view(geometry, whole_backward_axis); }

PoolView plain_backward_view(const PoolGeometry& geometry) { return make_plain_view(geometry, whole_backward_axis); }

}  // namespace convpool
