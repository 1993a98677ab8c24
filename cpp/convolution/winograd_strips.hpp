// How Winograd passes see an image: tiles of some pixels, in strips of tiles that follow each other in a
// row, in blocks of strips that are transformed and multiplied together.
#pragma once

#include "convolution/correlation.hpp"
#include "convolution/tap_cube.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

// Some tiles of one tile row; `rows` and `columns` of their pixels exist. (y, x) is the first one's place in the
// target.
struct Strip {
  Index batch, z, y, x, tiles, rows, columns;
};

struct StripCut {
  Index tile_height, tile_width;  // in pixels of the target
  Index y_step, x_step;           // from pixel to pixel of a tile: the dilation of the taps
  Index y_phases, x_phases;       // pixels that are steps apart form one phase
  Index tile_rows, row_strips, strip_tiles;
  Index strips;  // of the whole batch
  Index block_strips, blocks;

  Index block_tiles() const { return block_strips * strip_tiles; }
  Index first_strip(Index block) const noexcept { return std::min(block * block_strips, strips); }
  Strip strip(const Grid& target, Index index) const noexcept;
};

// A block has about as many tiles as wanted, and at least one strip. Strips of later phases may be empty.
StripCut make_strip_cut(const Grid& target, const TapCube& cube, Index batch, Index tile_height, Index tile_width,
                        Index wanted_tiles);

// Reads strips of an array: the pixels under the windows of a strip's tiles, or the pixels of the tiles themselves.
struct StripReader {
  Grid grid;
  PaddingMode padding_mode;
  Index y_offset, x_offset;  // of what tile (0, 0) reads
  Index rows, overlap;       // rows of a tile, columns it shares with the next one

  Index columns(const StripCut& cut) const { return cut.strip_tiles * cut.tile_width + overlap; }
  Index staged_pixels(const StripCut& cut) const { return rows * columns(cut); }

  // The first `lanes` channels of `source` for the transforms, at z of the array (which may lie in the padding). Where
  // the lanes of a pixel are not together, or a pixel stands for another one, they are brought to `stage`, of
  // staged_pixels() vectors.
  template <class T>
  StripSource<T> read(const ConvKernels<T>& kernels, const StripCut& cut, const Strip& strip, Index z, const T* source,
                      Index lanes, T* stage) const noexcept;

 private:
  template <class T>
  void stage_row(const ConvKernels<T>& kernels, const PaddedRuns& runs, const T* row, Index lanes,
                 T* stage) const noexcept;
};

// Matrices of neighbouring points an odd number of cache lines apart do not fall into the same sets.
template <class T>
Index odd_lines(Index elements) {
  constexpr Index kLine = static_cast<Index>(kAlignment / sizeof(T));
  return (ceil_divide(elements, kLine) | 1) * kLine;
}

// Equal blocks of whole vectors, of `most` at most.
inline Index even_block(Index count, Index most, Index lanes) {
  return ceil_divide(ceil_divide(count, ceil_divide(count, most)), lanes) * lanes;
}

// The transforms for taps of this height.
template <int Outputs, class T>
const WinogradKernels<T>& winograd_kernels(const ConvKernels<T>& kernels, Index tap_height) {
  static_assert(Outputs == 2 || Outputs == 4);
  const PointKernels<T>& sizes = kernels.winograd;
  if (tap_height == 1) return Outputs == 2 ? sizes.two : sizes.four;
  return Outputs == 2 ? sizes.two_by_two : sizes.four_by_four;
}

}  // namespace convpool
