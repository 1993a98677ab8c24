// What a depthwise pass reads where channels are lanes: rows of taps, runs of neighbouring taps in them, and a table of
// where the channels of every source pixel lie. Padding is an entry that points to zeros.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Pixels whose channels are neighbours in memory. They are those from position `first` on of a larger array.
template <class T>
struct LanePixels {
  T* data;
  Index stride[kAxes];
  Index first[kAxes];

  T* at(Index z, Index y, Index x) const noexcept {
    return data + (z - first[0]) * stride[0] + (y - first[1]) * stride[1] + (x - first[2]) * stride[2];
  }
};

// Positions of a target, or of a source.
struct LaneBox {
  Index first[kAxes], count[kAxes];
  Index pixels() const noexcept { return count[0] * count[1] * count[2]; }
};

// Neighbouring taps of a row that one kernel takes. Weights and sums are packed [run][row][source channel of the group]
// [tap of the run][channel].
struct TapRun {
  Index column;  // of its first tap, counted from the window's first
  Index taps;
  Index packed;  // products in front of it
};

class LaneWindow {
 public:
  explicit LaneWindow(const Correlation& part);

  Index rows() const noexcept { return static_cast<Index>(row_offsets_.size()); }
  // Products of a target element.
  Index depth() const noexcept { return static_cast<Index>(weight_offsets_.size()); }
  const std::vector<TapRun>& runs() const noexcept { return runs_; }
  // Of the weights of a target channel, in packed order.
  const std::vector<Index>& weight_offsets() const noexcept { return weight_offsets_; }

  // Source positions that a box of the target reads, in the padding too.
  LaneBox reads(const LaneBox& target) const noexcept;

  // The table has an entry for each of them; `extent` is that of the source, first and last those that exist.
  template <class T>
  void fill_table(const Index (&extent)[kAxes], const LanePixels<const T>& source, const T* zeros, const LaneBox& read,
                  const T** table) const noexcept;
  // The table rows that a target row, counted from the first of the box, reads.
  template <class T>
  void pick_rows(const T* const* table, const LaneBox& read, Index z, Index y, const T* const** rows) const noexcept;
  // Fetches `channels` of what some pixels of a target row read in the rows of taps that are new to it (`read` is of
  // one target row: all of them). Nothing where steps leave out pixels between the taps.
  template <class T>
  void fetch_new(const T* const* table, const LaneBox& read, Index z, Index y, Index first_pixel, Index pixels,
                 Index channels) const noexcept;

 private:
  void make_runs(const Correlation& part, const std::vector<Tap>& taps, Index row_taps);

  struct RowOffset {
    Index z, y;  // from the least
  };
  // Where a row of taps begins in the table.
  Index table_row(const RowOffset& offset, const LaneBox& read, Index z, Index y) const noexcept {
    return ((z * step_[0] + offset.z) * read.count[1] + y * step_[1] + offset.y) * read.count[2];
  }
  std::vector<RowOffset> row_offsets_;
  std::vector<TapRun> runs_;
  std::vector<Index> weight_offsets_;
  Index least_[kAxes], span_[kAxes], step_[kAxes];
};

}  // namespace convpool
