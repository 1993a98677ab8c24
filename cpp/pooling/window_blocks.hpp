// The windows of one outer (an image channels last, a plane channels first), in blocks of neighbours in row-major
// order: what a block's windows give is contiguous, and whoever adds one block after the other to the elements that
// they read adds in the order of all windows at once, with the same bits.
#pragma once

#include "pooling/pool_view.hpp"

namespace convpool {

class WindowBlocks {
 public:
  // Blocks of at most `most_windows` (at least 1) of every channel.
  WindowBlocks(const PoolGeometry& geometry, Index most_windows);

  Index count() const noexcept { return count_; }

  // What follows is of the block last moved to; blocks come in ascending order, beginning with 0.
  void move_to(Index block);
  const PoolView& forward() const noexcept { return forward_; }
  PoolView backward() const;
  Index first_window() const noexcept { return first_window_; }
  Index windows() const noexcept { return ranges_[0].count * ranges_[1].count * ranges_[2].count; }
  // Positions of the plane from the first to the last that a window reads, with what lies between.
  Range positions() const noexcept { return positions_; }
  // Positions that belong to no earlier block, up to those above; with the last block all the others.
  Range fresh() const noexcept { return fresh_; }

 private:
  using Ranges = std::array<Range, kAxes>;

  Index windows_inside(int axis) const noexcept;
  void find_positions(Index block);

  std::array<Axis, kAxes> axes_;
  int cut_ = 0;       // the axis that is cut: blocks have one window along those in front of it, all along the others
  Index step_ = 1;    // windows of a block along it
  Index pieces_ = 1;  // blocks along it
  Index count_ = 1;
  Ranges ranges_, spans_;  // of the block's windows, and of the positions they read
  Index first_window_ = 0;
  Range positions_, fresh_;
  PoolView forward_;
};

}  // namespace convpool
