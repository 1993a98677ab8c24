// The windows of one outer (an image channels last, a plane channels first), in blocks of neighbours in row-major
// order: what a block's windows give is contiguous, and whoever adds one block after the other to the elements that
// they read adds in the order of all windows at once, with the same bits.
#pragma once

#include "pooling/pool_view.hpp"

namespace convpool {

using Sizes = std::array<Index, kAxes>;
using Ranges = std::array<Range, kAxes>;

// An array in runs of neighbours in row-major order: boxes of about one size, of at most `most` positions (at least 1),
// and of at most `most_of_row` where rows are cut.
class Runs {
 public:
  Runs(const Sizes& sizes, Index most, Index most_of_row);

  Index count() const noexcept { return count_; }
  Index most() const noexcept { return most_; }  // positions of the longest run
  Ranges operator[](Index run) const noexcept;
  // Positions of the array from the first to the last of a box, with what lies between.
  Range positions(const Ranges& box) const noexcept;

 private:
  Sizes sizes_;
  int cut_ = 0;       // runs have one position along the axes in front of this one, all along those behind it
  Index step_ = 1;    // positions of a run along it
  Index pieces_ = 1;  // runs along it
  Index count_ = 1, most_ = 1;
};

class WindowBlocks {
 public:
  // Blocks of at most `most_windows` of every channel; `targets`: the elements whose gradient is wanted.
  WindowBlocks(const PoolGeometry& geometry, Index most_windows, const Ranges& targets);

  Index count() const noexcept { return windows_.count(); }

  // False where a block's windows read none of the targets. What follows is of the block last moved to.
  bool move_to(Index block);
  const PoolView& forward() const noexcept { return forward_; }
  // From windows to those targets that they read, in an array of `frame`.
  PoolView backward(const Ranges& frame) const;
  Range windows() const noexcept { return windows_.positions(block_); }
  const Ranges& reached() const noexcept { return reached_; }  // those targets, in their box

 private:
  std::array<Axis, kAxes> axes_;
  Runs windows_;
  Ranges targets_, block_, reached_;
  PoolView forward_;
};

}  // namespace convpool
