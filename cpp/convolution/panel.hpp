// Blocks of pixels and the packing that turns a piece of the source into a matrix [depth][kPanelPitch].
//
// Pixels are numbered over the whole batch (n, z, y, x), so a block fills its vectors even on 7 x 7 maps. Packing is
// the only code that knows padding, stride, dilation, rank and layout; the kernels see a plain matrix.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Consecutive target pixels of one row.
struct Run {
  Index batch;
  Index position[kAxes];  // of the first pixel
  Index column;           // of the first pixel in the block
  Index count;
};

// The runs of one block. Where the target is dense, its runs cross the ends of rows and stop at images only.
class PixelBlock {
 public:
  enum class Side { source, target };
  PixelBlock(const Correlation& part, Index block, Side side) noexcept;

  const Run* begin() const noexcept { return runs_; }
  const Run* end() const noexcept { return runs_ + run_count_; }
  Index pixels() const noexcept { return pixels_; }

 private:
  Run runs_[kPanelPixels];
  Index run_count_ = 0;
  Index pixels_ = 0;
};

inline Index pixel_blocks(const Correlation& part) { return ceil_divide(part.pixels(), kPanelPixels); }

// Depth entries [first, stop) of the block, one row each; entry = tap * channels + channel. `source` is the group's
// first channel. Columns up to the next multiple of the vector length are zeroed.
template <class T>
void pack_panel(const Correlation& part, const ConvKernels<T>& kernels, const T* source, const PixelBlock& block,
                Index first, Index stop, T* panel) noexcept;

// Whether channels are planes so far apart that what is copied from each is a short run, on lines of its own.
bool has_far_planes(const Grid& grid) noexcept;
// Whether a panel is copied from such planes, and they are worth fetching. Only of one tap: of more they are in a cache
// by then.
bool reads_far_runs(const Correlation& part) noexcept;
// Fetches what one channel of such a block is packed from.
template <class T>
void fetch_panel(const Correlation& part, const T* source, const PixelBlock& block, Index channel) noexcept;

// Address of a run's first pixel in the target, at row (channel) 0 of the group.
template <class T>
T* run_target(const Correlation& part, T* target, const Run& run) noexcept {
  T* address = target + part.target_offset + run.batch * part.target.batch_stride;
  for (int axis = 0; axis < kAxes; ++axis) address += run.position[axis] * part.target.axis_stride[axis];
  return address;
}

}  // namespace convpool
