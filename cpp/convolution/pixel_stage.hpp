// Target pixels in boxes, and the source pixels that a box needs with their channels side by side: where they lie, or
// copied into scratch memory with zeros in place of the padding. The channels of a tap are then one run of elements at
// a fixed distance from the pixel, in either layout.
#pragma once

#include <algorithm>
#include <vector>

#include "convolution/correlation.hpp"

namespace convpool {

// Target positions [first, first + count) of images [image, image + images).
struct PixelBox {
  Index image, images;
  Index first[kAxes], count[kAxes];

  Index pixels() const noexcept { return images * count[0] * count[1] * count[2]; }
};

// One image after the other, or every position in all images: neighbours then have the same taps in the padding.
enum class PixelOrder { by_image, by_position };

// The targets of a correlation cut into boxes of about `wanted` pixels: whole images, rows of one plane, or a piece of
// one row.
class PixelCut {
 public:
  PixelCut() = default;
  PixelCut(const Correlation& part, Index wanted);

  Index boxes() const noexcept { return boxes_; }
  Index most_pixels() const noexcept { return images_ * extent_[0] * extent_[1] * extent_[2]; }
  PixelBox box(const Correlation& part, Index index) const noexcept;
  const Index* extent() const noexcept { return extent_; }
  Index images() const noexcept { return images_; }

 private:
  Index images_ = 0, extent_[kAxes] = {0, 0, 0};  // of the largest box
  Index boxes_ = 0;
};

// A run of elements at a fixed distance from the pixel: the channels of a tap, or of taps that touch.
struct Segment {
  Index offset, length;
};

// Taps [first_tap, stop_tap) of a correlation, and where they find the pixels of a box.
class PixelStage {
 public:
  enum class Place { anywhere, scratch };
  // channels: of a group, that are staged together.
  PixelStage(const Correlation& part, const PixelCut& cut, Index first_tap, Index stop_tap, Index channels,
             Place place);

  bool is_in_place() const noexcept { return is_in_place_; }
  Index elements() const noexcept { return is_in_place_ ? 0 : images_ * image_pitch_; }
  Index first_tap() const noexcept { return first_tap_; }
  Index stop_tap() const noexcept { return stop_tap_; }
  // Where taps [first_tap, stop_tap), or all that are staged, find `channels` channels each, in order.
  std::vector<Segment> segments(const Correlation& part, Index channels, Index first_tap, Index stop_tap) const;
  std::vector<Segment> segments(const Correlation& part, Index channels) const {
    return segments(part, channels, first_tap_, stop_tap_);
  }

  // Copies `channels` channels from `source`, the first of them, unless they are read in place.
  template <class T>
  void fill(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channels,
            const PixelBox& box, T* stage) const noexcept;

  // The address of each pixel of the box, at tap offset 0; `source` and `stage` as above.
  template <class T>
  void locate(const PixelBox& box, const T* source, const T* stage, const T** pixels,
              PixelOrder order = PixelOrder::by_image) const noexcept;

 private:
  // The source rows of a box. Columns [begin, stop) of each lie inside the source, if the row does.
  struct SourceRows {
    Index count;  // of all images
    Index first[kAxes];
    Index begin, stop;
  };

  Index tap_offset(const Tap& tap) const noexcept;
  SourceRows source_rows(const Correlation& part, const PixelBox& box) const noexcept;
  // Where column `begin` of a row lies in the source; false where all of it is padding.
  bool locate_row(const Correlation& part, const PixelBox& box, const SourceRows& rows, Index row,
                  Index& offset) const noexcept;

  Index first_tap_, stop_tap_;
  bool is_in_place_;
  Index images_;
  Index least_[kAxes];        // smallest tap offset
  Index source_step_[kAxes];  // between staged positions
  Index pixel_step_[kAxes];   // between neighbouring target pixels, in staged positions
  Index extent_[kAxes];       // staged positions of the largest box
  Index axis_pitch_[kAxes], image_pitch_;
};

// Walks the pixels of a box in order, through any array: one address each.
template <class T>
void locate_pixels(const PixelBox& box, T* first, Index image_pitch, const Index* pitch, T** pixels,
                   PixelOrder order = PixelOrder::by_image) noexcept;

// visit(address, first pixel, count) for each run of the box's pixels that are equally far apart in an array of
// targets.
template <class T, class Visit>
void for_each_target_run(const Grid& grid, const PixelBox& box, T* target, Visit&& visit) noexcept {
  target += box.image * grid.batch_stride;
  for (int axis = 0; axis < kAxes; ++axis) target += box.first[axis] * grid.axis_stride[axis];
  const bool joins_rows = box.count[2] == grid.extent[2] && grid.axis_stride[1] == grid.extent[2] * grid.axis_stride[2];
  const Index runs = joins_rows ? 1 : box.count[1], length = box.count[1] * box.count[2] / runs;
  Index pixel = 0;
  for (Index image = 0; image < box.images; ++image)
    for (Index z = 0; z < box.count[0]; ++z)
      for (Index y = 0; y < runs; ++y, pixel += length)
        visit(target + image * grid.batch_stride + z * grid.axis_stride[0] + y * grid.axis_stride[1], pixel, length);
}

}  // namespace convpool
