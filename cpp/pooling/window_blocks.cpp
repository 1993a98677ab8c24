#include "pooling/window_blocks.hpp"

#include <algorithm>

namespace convpool {

namespace {

// Views have tables of some 40 bytes for every window along an axis.
constexpr Index kMostOfRow = 16 * 1024;

PoolView one_outer(const PoolGeometry& geometry) {
  PoolView view{};
  view.outers = 1;
  view.inner = geometry.input.layout == Layout::channels_first ? 1 : geometry.input.channels;
  return view;
}

}  // namespace

WindowBlocks::WindowBlocks(const PoolGeometry& geometry, Index most_windows)
    : axes_(with_even_windows(geometry).axes), forward_(one_outer(geometry)) {
  while (cut_ < kAxes - 1 && windows_inside(cut_) > most_windows) ++cut_;
  const Index all = axes_[cut_].output, inside = windows_inside(cut_);
  const Index most = cut_ == kAxes - 1 ? std::min(most_windows, kMostOfRow) : most_windows / inside;
  step_ = ceil_divide(all, ceil_divide(all, std::clamp<Index>(most, 1, all)));  // pieces of about one size
  pieces_ = ceil_divide(all, step_);
  count_ = pieces_;
  for (int axis = 0; axis < cut_; ++axis) count_ *= axes_[axis].output;
  // Tables of whole axes are made once, those of the others for each block.
  for (int axis = cut_ + 1; axis < kAxes; ++axis) {
    ranges_[axis] = {0, axes_[axis].output};
    forward_.axes[axis] = forward_axis(axes_[axis], ranges_[axis]);
    spans_[axis] = {0, axes_[axis].input};
  }
}

Index WindowBlocks::windows_inside(int axis) const noexcept {
  Index windows = 1;
  for (int inner = kAxes - 1; inner > axis; --inner) windows *= axes_[inner].output;
  return windows;
}

void WindowBlocks::move_to(Index block) {
  Index outside = block / pieces_;
  const Index first = block % pieces_ * step_;
  ranges_[cut_] = {first, std::min(step_, axes_[cut_].output - first)};
  first_window_ = (outside * axes_[cut_].output + first) * windows_inside(cut_);
  for (int axis = cut_ - 1; axis >= 0; --axis) {
    ranges_[axis] = {outside % axes_[axis].output, 1};
    outside /= axes_[axis].output;
  }
  for (int axis = 0; axis <= cut_; ++axis) {
    forward_.axes[axis] = forward_axis(axes_[axis], ranges_[axis]);
    spans_[axis] = forward_.axes[axis].span({0, ranges_[axis].count});
  }
  find_positions(block);
}

void WindowBlocks::find_positions(Index block) {
  Index first = 0, last = 0, plane = 1;
  for (int axis = 0; axis < kAxes; ++axis) {
    first = first * axes_[axis].input + spans_[axis].first;
    last = last * axes_[axis].input + spans_[axis].stop() - 1;
    plane *= axes_[axis].input;
  }
  positions_ = {first, last + 1 - first};
  const Index reached = block == 0 ? 0 : fresh_.stop();
  const Index stop = block + 1 == count_ ? plane : std::max(positions_.stop(), reached);
  fresh_ = {reached, stop - reached};
}

PoolView WindowBlocks::backward() const {
  PoolView view{};
  view.outers = 1;
  view.inner = forward_.inner;
  for (int axis = 0; axis < kAxes; ++axis) view.axes[axis] = backward_axis(axes_[axis], ranges_[axis], spans_[axis]);
  return view;
}

}  // namespace convpool
