// A tile of source rows, padded and split into stride phases, so that every tap of a target row is a run of
// consecutive elements: tile[channel][z][y][phase][column].
#pragma once

#include <algorithm>

#include "convolution/correlation.hpp"

namespace convpool {

// A box of target positions of one image: one z, rows [y, y + rows), columns [x, x + columns).
struct TargetBox {
  Index batch, z, y, x, rows, columns;
};

// Box `index` of a target that is cut into so many boxes along y and x, x running first.
TargetBox target_box(const Grid& target, Index box_rows, Index y_boxes, Index box_columns, Index x_boxes,
                     Index index) noexcept;

// Positions i in [first, stop) with 0 <= start + i * step < extent.
struct Inside {
  Index first, stop;
  Inside(Index start, Index step, Index extent, Index count) noexcept
      : first(std::min(count, start >= 0 ? 0 : ceil_divide(-start, step))),
        stop(std::clamp(extent > start ? ceil_divide(extent - start, step) : 0, first, count)) {}
};

class PaddedRows {
 public:
  // `columns`: widest box that will be packed, rounded up to what a kernel reads at once.
  PaddedRows(const Correlation& part, Index rows, Index columns);

  Index channel_pitch() const noexcept { return depth_ * rows_ * row_pitch_; }
  // Distance between the runs of one tap in neighbouring target rows.
  Index target_row_pitch() const noexcept { return step_y_ * row_pitch_; }
  Index row_pitch() const noexcept { return row_pitch_; }
  // Where the run of a tap starts, for the first target row of a box.
  Index tap_offset(const Tap& tap) const noexcept;

  // Channels [channel, channel + channels) of the array for one box.
  template <class T>
  void pack(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channel, Index channels,
            const TargetBox& box, T* tile) const noexcept;

 private:
  template <class T>
  void pack_phase(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channels, Index z,
                  Index first_y, Index first_x, bool is_clear, T* tile) const noexcept;

  template <class T>
  void pack_runs(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channels,
                 const PaddedRun& rows, const PaddedRun& columns, T* tile) const noexcept;
  template <class T>
  void pad_phase(Index channels, const Inside& rows, const Inside& columns, T* tile) const noexcept;

  Index least_[kAxes];  // smallest tap offset of each axis
  Index step_y_, step_x_;
  Index depth_, rows_, phases_, phase_pitch_, row_pitch_;
};

}  // namespace convpool
