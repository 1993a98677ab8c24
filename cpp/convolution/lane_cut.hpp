// How a depthwise pass is cut: blocks of channels, and boxes of target pixels whose source stays in the cache.
//
// Where channels are not innermost, the source pixels of a box are brought side by side: a vector's worth of planes is
// transposed into scratch memory, and what comes of them back.
#pragma once

#include "convolution/fetch_ahead.hpp"
#include "convolution/lane_window.hpp"

namespace convpool {

// A target whose stride phases, one part each, lie between each other; or one part by itself.
struct LaneTarget {
  Grid grid;     // of the whole target, or of the only part
  Index offset;  // of the first element
  bool is_whole;

  explicit LaneTarget(const std::vector<Correlation>& parts);
  // Distance of a part's pixels, and the place of its first, in `grid`.
  Index step(const Correlation& part, int axis) const noexcept { return is_whole ? part.target_step[axis] : 1; }
  Index phase(const Correlation& part, int axis) const noexcept { return is_whole ? part.target_phase[axis] : 0; }
};

struct LaneCut {
  bool is_side_by_side;
  bool is_far;  // pixels lie beyond the caches, and are fetched ahead
  Index channels, channel_blocks;
  Index count[kAxes], boxes[kAxes];  // of the first part, the largest

  LaneCut(const Correlation& part, const LaneWindow& window, Index target_pixels, Index lanes,
          std::size_t element_bytes);
  Index boxes_of_image() const noexcept { return boxes[0] * boxes[1] * boxes[2]; }
  // Of any part; it may be empty.
  LaneBox box(const Correlation& part, Index index) const noexcept;
};

// What is fetched while some pixels of a row of a box are worked on: what as many below them, or, in a box of one row,
// further on in it, will read through the window, and what lies there on the other side (targets, or their gradients).
template <class T>
class PixelsAhead {
 public:
  PixelsAhead(const LaneWindow& window, const T* const* table, const LaneBox& box, const LaneBox& read, Index channels)
      : window_(window), table_(table), box_(box), read_(read), channels_(channels) {}

  // Pixels [x, x + count) of row (z, y), whose other side begins at `row`, its pixels and rows so far apart.
  void fetch(Index z, Index y, Index x, Index count, const T* row, Index row_pitch, Index pixel_pitch) const noexcept {
    constexpr Index kTilesAhead = 2;
    if (box_.count[1] > 1) {
      if (++y == box_.count[1]) return;
      row += row_pitch;
    } else {
      x += kTilesAhead * count;
      if (x + count > box_.count[2]) return;
    }
    window_.fetch_new(table_, read_, z, y, x, count, channels_);
    fetch_pixels(row + x * pixel_pitch, count, pixel_pitch, channels_);
  }

 private:
  const LaneWindow& window_;
  const T* const* table_;
  const LaneBox &box_, &read_;
  Index channels_;
};

// The part of a box that exists.
LaneBox clipped(const LaneBox& box, const Index (&extent)[kAxes]) noexcept;
// The smallest box that holds both.
LaneBox united(const LaneBox& a, const LaneBox& b) noexcept;

// Brings the pixels of a box from planes (array: the first of `channels`) to runs of `lanes` channels.
template <class T>
void bring_side_by_side(const ConvKernels<T>& kernels, const Grid& grid, const T* array, Index channels,
                        const LaneBox& box, T* pixels) noexcept;
// Takes them back.
template <class T>
void take_to_planes(const ConvKernels<T>& kernels, const T* pixels, Index channels, const LaneBox& box,
                    const Grid& grid, T* array) noexcept;
template <class T>
LanePixels<T> pixels_of(const LaneBox& box, Index lanes, T* data) noexcept {
  return {data,
          {box.count[1] * box.count[2] * lanes, box.count[2] * lanes, lanes},
          {box.first[0], box.first[1], box.first[2]}};
}

}  // namespace convpool
