// How row-tile passes cut their work: blocks of groups, and boxes of target rows whose padded source fits the cache.
#pragma once

#include "convolution/padded_rows.hpp"

namespace convpool {

// No box is cut to fewer rows or columns than these.
constexpr Index kLeastBoxRows = 4, kLeastBoxColumns = 64;

struct RowCut {
  Index group_block;  // groups of a task: one, or a vector's worth of channels where channels are innermost
  Index group_blocks;
  Index channel_block;  // channels of a group that are held at once
  Index box_rows, y_boxes;
  Index box_columns, x_boxes;
  Index padded_columns;  // box_columns rounded up to whole vectors
  Index boxes;           // of the whole batch

  Index tasks() const { return group_blocks * boxes; }
  Index groups_of(const Correlation& part, Index block) const noexcept {
    return std::min(group_block, part.groups - block * group_block);
  }
  TargetBox box(const Correlation& part, Index index) const noexcept;
};

// Channels of a group that are held at once.
Index channels_at_once(const Correlation& part) noexcept;

RowCut make_row_cut(const Correlation& part, Index lanes, std::size_t element_bytes);

}  // namespace convpool
