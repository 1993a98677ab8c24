// What a depthwise pass reads where channels are lanes: rows of taps, runs of neighbouring taps in them, and a table of
// where the channels of every source pixel lie. Padding is an entry that points to zeros.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Neighbouring taps of a row that one kernel takes. Weights and sums are packed [run][row][tap of the run][channel].
struct TapRun {
  Index column;  // of its first tap, counted from the window's first
  Index taps;
  Index packed;  // rows of packed weights in front of it
};

class LaneWindow {
 public:
  explicit LaneWindow(const Correlation& part);

  Index rows() const noexcept { return static_cast<Index>(row_offsets_.size()); }
  Index taps() const noexcept { return static_cast<Index>(weight_offsets_.size()); }
  const std::vector<TapRun>& runs() const noexcept { return runs_; }
  // Of the weight array, in packed order.
  const std::vector<Index>& weight_offsets() const noexcept { return weight_offsets_; }

  // The table of a box of target rows y in [0, box_rows), columns [0, box_columns).
  Index table_rows(Index box_rows) const noexcept { return depth_ * plane_rows(box_rows); }
  Index table_columns(Index box_columns) const noexcept { return (box_columns - 1) * step_[2] + span_[2] + 1; }
  // `source`: the image, from the first of the wanted channels on.
  template <class T>
  void fill_table(const Grid& source_grid, const T* source, const T* zeros, const Index (&first)[kAxes], Index box_rows,
                  Index box_columns, const T** table) const noexcept;
  // The table rows that target row y of the box reads.
  template <class T>
  void pick_rows(const T* const* table, Index box_rows, Index box_columns, Index y,
                 const T* const** rows) const noexcept;

 private:
  Index plane_rows(Index box_rows) const noexcept { return (box_rows - 1) * step_[1] + span_[1] + 1; }
  void make_runs(const std::vector<Tap>& taps, Index row_taps);

  struct RowOffset {
    Index z, y;  // from the least
  };
  std::vector<RowOffset> row_offsets_;
  std::vector<TapRun> runs_;
  std::vector<Index> weight_offsets_;
  Index least_[kAxes], span_[kAxes], step_[kAxes];
  Index depth_;
};

// How the work is cut: blocks of channels, bands of target rows, boxes of columns.
struct LaneCut {
  Index channels, channel_blocks;
  Index rows, bands;
  Index columns, boxes;

  Index tasks_per_plane() const noexcept { return channel_blocks * bands * boxes; }
};

LaneCut make_lane_cut(const Correlation& part, const LaneWindow& window, Index lanes, std::size_t element_bytes);

}  // namespace convpool
