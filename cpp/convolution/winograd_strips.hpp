// How Winograd passes see an image: tiles of some pixels, in strips of tiles that follow each other in a
// row, in blocks of strips that are transformed and multiplied together.
#pragma once

#include <algorithm>

#include "convolution/correlation.hpp"
#include "convolution/winograd_phases.hpp"
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
  Index depth;                    // of the target
  Index tile_rows, row_strips, strip_tiles;
  Index strips;  // of the whole batch
  Index block_strips, blocks;

  Index block_tiles() const { return block_strips * strip_tiles; }
  Index first_strip(Index block) const noexcept { return std::min(block * block_strips, strips); }
  // Of a target that may be smaller than the one that is cut.
  Strip strip(const Grid& target, Index index) const noexcept;
};

// `distance`: of the pixels of a tile. A block has about as many tiles as wanted, and at least one strip. Strips of
// later phases may be empty.
StripCut make_strip_cut(const Grid& target, const Index (&distance)[kAxes], Index batch, Index tile_height,
                        Index tile_width, Index wanted_tiles);

// How the strips of an array are read: for each view, the pixels under the windows of a strip's tiles; or the pixels of
// the tiles themselves, as one view.
struct StripReader {
  Grid grid;
  PaddingMode padding_mode;
  Index step[kAxes];  // in the array, between positions of the target
  // Of y and x: from pixel to pixel of a tile, and between the pixels that are staged, which are those of all views.
  Index distance[2], unit[2];
  Index least[2], span[2];        // of the views: the smallest offset, and how far they lie apart
  Index tile_rows, tile_overlap;  // rows of a tile, columns it shares with the next one

  static StripReader of_windows(const WinogradPhases& phases, Index tile_rows, Index tile_overlap);
  static StripReader of_tiles(const WinogradPhases& phases, Index tile_rows);

  // Of one view, and of all that are staged.
  Index columns(const StripCut& cut) const { return cut.strip_tiles * cut.tile_width + tile_overlap; }
  Index staged_rows() const { return staged(0, tile_rows); }
  Index staged_pixels(const StripCut& cut) const { return staged_rows() * staged(1, columns(cut)); }

  // Staged positions of so many of a view.
  Index staged(int axis, Index count) const { return ((count - 1) * distance[axis] + span[axis]) / unit[axis] + 1; }
};

// The first `lanes` channels of a strip's source, at z of the array (which may lie in the padding). Where the lanes of
// a pixel are not together, or a pixel stands for another one, all views are brought to `stage`, of staged_pixels()
// vectors.
template <class T>
class StripPixels {
 public:
  StripPixels(const StripReader& reader, const ConvKernels<T>& kernels, const StripCut& cut, const Strip& strip,
              Index z, const T* source, Index lanes, T* stage) noexcept;

  // What the tiles see.
  StripSource<T> of(const View& view) const noexcept;

 private:
  static constexpr Index kMostRows = kMostPoints * kMostPlaneStep;  // views lie less than a step apart

  void find_rows(const Strip& strip, const T* source) noexcept;
  void stage_rows(const ConvKernels<T>& kernels, const Strip& strip, const T* source, T* stage) noexcept;
  void stage_row(const ConvKernels<T>& kernels, const PaddedRuns& runs, const T* row, T* stage) const noexcept;

  const StripReader& reader_;
  Index tiles_, columns_, lanes_;
  const T* rows_[kMostRows];  // null: zeros
  Index first_, extent_;      // of the view at `least`: its first pixel, counted from those of rows_, which are so many
  Index pitch_;               // from pixel to pixel of rows_
  Index unit_;                // positions between them
};

// How strips are transformed, and into which matrices.
template <class T>
struct StripTransform {
  const ConvKernels<T>& kernels;
  const StripReader& reader;
  const StripCut& cut;
  bool (*transform)(const StripSource<T>&);
  T *stage, *columns;
  Index tile_pitch, point_pitch;

  // Some channels of a strip through views [first, stop), which are of one z. They go to target(view, channel). False
  // where a value is not finite or too large.
  template <class Target>
  bool run(const Strip& strip, const View* first, const View* stop, const T* source, Index channels,
           Target&& target) const noexcept {
    const Index z = strip.z * reader.step[0] + first->least[0];
    bool is_small = true;
    for (Index channel = 0; channel < channels; channel += kernels.lanes) {
      const StripPixels<T> pixels(reader, kernels, cut, strip, z, source + channel * reader.grid.channel_stride,
                                  std::min<Index>(kernels.lanes, channels - channel), stage);
      for (const View* view = first; view != stop; ++view) {
        StripSource<T> values = pixels.of(*view);
        values.columns = columns;
        values.transformed = target(view - first, channel);
        values.tile_pitch = tile_pitch;
        values.point_pitch = point_pitch;
        is_small &= transform(values);
      }
    }
    return is_small;
  }
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

// The transforms for planes of at most so many taps.
template <int Outputs, class T>
const WinogradKernels<T>& winograd_kernels(const ConvKernels<T>& kernels, Index height, Index width) {
  static_assert(Outputs == 2 || Outputs == 4);
  const WinogradSizes<T>& sizes = Outputs == 2 ? kernels.winograd.two_outputs : kernels.winograd.four_outputs;
  return height == 1 ? sizes.along_x[width - 2] : sizes.along_both[std::max(height, width) - 2];
}

}  // namespace convpool
