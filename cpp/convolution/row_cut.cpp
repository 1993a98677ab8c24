#include "convolution/row_cut.hpp"

#include <algorithm>

namespace convpool {

namespace {

constexpr Index kMostBoxColumns = 512;
constexpr std::size_t kLargeTileBytes = 256 << 10;  // where many channels meet, columns are cut as well
constexpr std::size_t kWantedTileBytes = 24 << 10;  // of one group: half of a first-level cache
constexpr Index kFewChannels = 32;                  // more do not fit there: each is read once for all of its taps
constexpr Index kChannelBlock = 16;                 // and some at a time, where several taps pay for it

}  // namespace

TargetBox RowCut::box(const Correlation& part, Index index) const noexcept {
  return target_box(part.target, box_rows, y_boxes, box_columns, x_boxes, index);
}

Index channels_at_once(const Correlation& part) noexcept {
  return part.channels <= kFewChannels || part.taps.size() == 1 ? part.channels : kChannelBlock;
}

RowCut make_row_cut(const Correlation& part, Index lanes, std::size_t element_bytes) {
  RowCut cut{};
  const bool is_transposed = part.source.channel_stride == 1;
  cut.group_block =
      is_transposed ? std::clamp<Index>(ceil_divide(lanes, std::max(part.channels, part.rows)), 1, part.groups) : 1;
  cut.group_blocks = ceil_divide(part.groups, cut.group_block);
  cut.channel_block = channels_at_once(part);
  const auto tile_bytes = [&] {
    const PaddedRows tile(part, cut.box_rows, ceil_divide(cut.box_columns, lanes) * lanes);
    return static_cast<std::size_t>(cut.channel_block * tile.channel_pitch()) * element_bytes;
  };
  cut.box_columns = std::min(part.target.extent[2], kMostBoxColumns);
  cut.box_rows = part.target.extent[1];
  const std::size_t wanted_bytes = part.channels <= kFewChannels ? kWantedTileBytes : kLargeTileBytes;
  while (cut.box_rows > kLeastBoxRows && tile_bytes() > wanted_bytes) cut.box_rows = ceil_divide(cut.box_rows, 2);
  while (cut.box_columns > kLeastBoxColumns && tile_bytes() > kLargeTileBytes)
    cut.box_columns = ceil_divide(cut.box_columns, 2);
  cut.x_boxes = ceil_divide(part.target.extent[2], cut.box_columns);
  cut.padded_columns = ceil_divide(cut.box_columns, lanes) * lanes;
  cut.y_boxes = ceil_divide(part.target.extent[1], cut.box_rows);
  cut.boxes = part.batch * part.target.extent[0] * cut.y_boxes * cut.x_boxes;
  return cut;
}

}  // namespace convpool
