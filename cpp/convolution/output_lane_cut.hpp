// How passes with output channels as lanes see their source, and how they are cut.
#pragma once

#include "convolution/padded_rows.hpp"

namespace convpool {

// One group's part as rows of single elements: channels last, the channels of all groups in a pixel are neighbouring
// columns. Output channels are cut into blocks of some vectors.
struct OutputLaneCut {
  // image_boxes: into how many boxes of rows an image is cut at least, if it has as many.
  OutputLaneCut(const Correlation& part, Index lanes, Index most_vectors, Index image_boxes, std::size_t element_bytes);

  bool shares_tile() const noexcept { return part.source.channel_stride == 1; }  // between the groups
  Index depth() const noexcept { return part.depth(); }
  Index boxes() const noexcept { return part.batch * part.target.extent[0] * y_boxes * x_boxes; }
  TargetBox box(Index index) const noexcept;
  Index tile_elements() const noexcept { return rows.channels * tile.channel_pitch(); }
  Index channels_of(Index block) const noexcept { return std::min(width, part.rows - block * width); }
  // Distance of a group's first column from that of group 0 in the tile.
  Index group_offset(Index group) const noexcept { return shares_tile() ? group * part.channels : 0; }
  template <class T>
  void pack(const ConvKernels<T>& kernels, const T* source, Index group, const TargetBox& box,
            T* packed) const noexcept;

  const Correlation& part;
  Correlation rows;  // the source as rows, at step 1 along x
  Index step;        // from pixel to pixel of a target row, in columns
  Index box_rows, y_boxes, box_columns, x_boxes;
  PaddedRows tile;
  std::vector<Index> offsets;         // of each entry in the tile
  std::vector<Index> weight_offsets;  // and in the weights of an output channel
  Index vectors, width, blocks;       // a block is `vectors` vectors, `width` output channels
  bool is_direct;                     // the target holds blocks as they are

 private:
  static Correlation as_rows(const Correlation& part);
  Index wanted_rows(Index image_boxes, std::size_t element_bytes) const;
  Index tile_columns() const noexcept;
};

}  // namespace convpool
