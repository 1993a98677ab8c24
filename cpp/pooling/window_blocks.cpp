#include "pooling/window_blocks.hpp"

#include <algorithm>

namespace convpool {

namespace {

// Views have tables of some 40 bytes for every window along an axis.
constexpr Index kMostOfRow = 4 * 1024;

Index positions_behind(const Sizes& sizes, int axis) {
  Index positions = 1;
  for (int inner = kAxes - 1; inner > axis; --inner) positions *= sizes[inner];
  return positions;
}

Sizes windows_of(const PoolGeometry& geometry) {
  return {geometry.axes[0].output, geometry.axes[1].output, geometry.axes[2].output};
}

// From the first position that windows may read to the last.
Range span_of(const Axis& axis, Range windows) {
  Range span = {windows.first * axis.stride - axis.pad_low, (windows.count - 1) * axis.stride + axis.kernel_extent()};
  if (axis.is_adaptive) {
    const WindowTaps last = axis.taps(windows.stop() - 1);
    span.first = axis.taps(windows.first).first;
    span.count = last.first + last.count - span.first;
  }
  return span;
}

Range common(Range a, Range b) {
  const Index first = std::max(a.first, b.first);
  return {first, std::min(a.stop(), b.stop()) - first};
}

}  // namespace

Runs::Runs(const Sizes& sizes, Index most, Index most_of_row) : sizes_(sizes) {
  while (cut_ < kAxes - 1 && positions_behind(sizes, cut_) > most) ++cut_;
  const Index all = sizes[cut_];
  const Index fitting = cut_ == kAxes - 1 ? std::min(most, most_of_row) : most / positions_behind(sizes, cut_);
  step_ = ceil_divide(all, ceil_divide(all, std::clamp<Index>(fitting, 1, all)));
  pieces_ = ceil_divide(all, step_);
  count_ = pieces_;
  most_ = step_ * positions_behind(sizes, cut_);
  for (int axis = 0; axis < cut_; ++axis) count_ *= sizes[axis];
}

Ranges Runs::operator[](Index run) const noexcept {
  Ranges box;
  for (int axis = cut_ + 1; axis < kAxes; ++axis) box[axis] = {0, sizes_[axis]};
  const Index first = run % pieces_ * step_;
  box[cut_] = {first, std::min(step_, sizes_[cut_] - first)};
  run /= pieces_;
  for (int axis = cut_ - 1; axis >= 0; run /= sizes_[axis--]) box[axis] = {run % sizes_[axis], 1};
  return box;
}

Range Runs::positions(const Ranges& box) const noexcept {
  Index first = 0, last = 0;
  for (int axis = 0; axis < kAxes; ++axis) {
    first = first * sizes_[axis] + box[axis].first;
    last = last * sizes_[axis] + box[axis].stop() - 1;
  }
  return {first, last + 1 - first};
}

WindowBlocks::WindowBlocks(const PoolGeometry& geometry, Index most_windows, const Ranges& targets)
    : axes_(with_even_windows(geometry).axes), windows_(windows_of(geometry), most_windows, kMostOfRow),
      targets_(targets), block_{}, reached_{}, forward_{} {
  forward_.outers = 1;
  forward_.inner = geometry.input.layout == Layout::channels_first ? 1 : geometry.input.channels;
}

bool WindowBlocks::move_to(Index block) {
  const Ranges next = windows_[block];
  for (int axis = 0; axis < kAxes; ++axis) {
    reached_[axis] = common(span_of(axes_[axis], next[axis]), targets_[axis]);
    if (reached_[axis].count <= 0) return false;
  }
  for (int axis = 0; axis < kAxes; ++axis) {
    const bool is_same = next[axis].first == block_[axis].first && next[axis].count == block_[axis].count;
    if (!is_same) forward_.axes[axis] = forward_axis(axes_[axis], next[axis]);
  }
  block_ = next;
  return true;
}

PoolView WindowBlocks::backward(const Ranges& frame) const {
  PoolView view{};
  view.outers = 1;
  view.inner = forward_.inner;
  for (int axis = 0; axis < kAxes; ++axis) {
    view.axes[axis] = backward_axis(axes_[axis], block_[axis], reached_[axis]);
    view.axes[axis].origin -= frame[axis].first;
    view.axes[axis].extent = frame[axis].count;
  }
  return view;
}

}  // namespace convpool
