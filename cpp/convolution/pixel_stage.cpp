#include "convolution/pixel_stage.hpp"

#include <algorithm>

namespace convpool {

namespace {

constexpr Index kLine = 16;  // elements of a cache line, or of two

}  // namespace

template <class T>
void locate_pixels(const PixelBox& box, T* first, Index image_pitch, const Index* pitch, T** pixels,
                   PixelOrder order) noexcept {
  const bool is_by_image = order == PixelOrder::by_image;
  const Index images = is_by_image ? 1 : box.images;
  for (Index image = 0; image < box.images; image += images)
    for (Index z = 0; z < box.count[0]; ++z)
      for (Index y = 0; y < box.count[1]; ++y) {
        T* row = first + image * image_pitch + z * pitch[0] + y * pitch[1];
        for (Index x = 0; x < box.count[2]; ++x)
          for (Index i = 0; i < images; ++i) *pixels++ = row + x * pitch[2] + i * image_pitch;
      }
}

PixelCut::PixelCut(const Correlation& part, Index wanted) {
  const Index* extent = part.target.extent;
  const auto even_piece = [](Index total, Index most) { return ceil_divide(total, ceil_divide(total, most)); };
  const Index plane = extent[1] * extent[2], image = extent[0] * plane;
  std::copy(extent, extent + kAxes, extent_);
  images_ = 1;
  if (image <= wanted) {
    images_ = std::max<Index>(1, even_piece(std::max<Index>(part.batch, 1), std::max<Index>(1, wanted / image)));
  } else {
    extent_[0] = std::max<Index>(1, wanted / plane);
    extent_[0] = even_piece(extent[0], extent_[0]);
    if (extent_[0] == 1 && plane > wanted) {
      extent_[1] = even_piece(extent[1], std::max<Index>(1, wanted / extent[2]));
      if (extent_[1] == 1) extent_[2] = even_piece(extent[2], wanted);
    }
  }
  boxes_ = ceil_divide(part.batch, images_);
  for (int axis = 0; axis < kAxes; ++axis) boxes_ *= ceil_divide(extent[axis], extent_[axis]);
}

PixelBox PixelCut::box(const Correlation& part, Index index) const noexcept {
  PixelBox box;
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    const Index pieces = ceil_divide(part.target.extent[axis], extent_[axis]);
    box.first[axis] = index % pieces * extent_[axis];
    box.count[axis] = std::min(extent_[axis], part.target.extent[axis] - box.first[axis]);
    index /= pieces;
  }
  box.image = index * images_;
  box.images = std::min(images_, part.batch - box.image);
  return box;
}

PixelStage::PixelStage(const Correlation& part, const PixelCut& cut, Index first_tap, Index stop_tap, Index channels,
                       Place place)
    : first_tap_(first_tap), stop_tap_(stop_tap),
      is_in_place_(place == Place::anywhere && part.source.channel_stride == 1), images_(cut.images()) {
  for (int axis = 0; axis < kAxes; ++axis) {
    const auto [least, most] =
        std::minmax_element(part.taps.begin() + first_tap, part.taps.begin() + stop_tap,
                            [axis](const Tap& a, const Tap& b) { return a.offset[axis] < b.offset[axis]; });
    const Index span = most->offset[axis] - least->offset[axis];
    least_[axis] = least->offset[axis];
    is_in_place_ = is_in_place_ && least_[axis] >= 0 &&
                   (part.target.extent[axis] - 1) * part.step[axis] + most->offset[axis] < part.source.extent[axis];
    // Positions between those that one tap reads are left out, except in runs of elements.
    const bool skips = span == 0 && part.source.axis_stride[axis] != 1;
    source_step_[axis] = skips ? part.step[axis] : 1;
    pixel_step_[axis] = skips ? 1 : part.step[axis];
    extent_[axis] = (cut.extent()[axis] - 1) * pixel_step_[axis] + span + 1;
  }
  if (is_in_place_) {
    for (int axis = 0; axis < kAxes; ++axis) {
      source_step_[axis] = 1;
      pixel_step_[axis] = part.step[axis];
      axis_pitch_[axis] = part.source.axis_stride[axis];
    }
    image_pitch_ = part.source.batch_stride;
    return;
  }
  // Where no taps are neighbours, pixels lie an odd number of cache lines apart: they do not fall into the same sets.
  const bool has_neighbours = extent_[2] > (cut.extent()[2] - 1) * pixel_step_[2] + 1;
  axis_pitch_[2] = has_neighbours ? channels : ceil_divide(channels, kLine) / 2 * 2 * kLine + kLine;
  axis_pitch_[1] = extent_[2] * axis_pitch_[2];
  axis_pitch_[0] = extent_[1] * axis_pitch_[1];
  image_pitch_ = extent_[0] * axis_pitch_[0];
}

Index PixelStage::tap_offset(const Tap& tap) const noexcept {
  Index offset = 0;
  for (int axis = 0; axis < kAxes; ++axis) offset += (tap.offset[axis] - least_[axis]) * axis_pitch_[axis];
  return offset;
}

std::vector<Segment> PixelStage::segments(const Correlation& part, Index channels, Index first_tap,
                                          Index stop_tap) const {
  std::vector<Segment> segments;
  for (Index tap = first_tap; tap < stop_tap; ++tap) {
    const Index offset = tap_offset(part.taps[static_cast<std::size_t>(tap)]);
    const bool touches = !segments.empty() && segments.back().offset + segments.back().length == offset;
    if (touches && channels == part.channels) segments.back().length += channels;
    else segments.push_back({offset, channels});
  }
  return segments;
}

PixelStage::SourceRows PixelStage::source_rows(const Correlation& part, const PixelBox& box) const noexcept {
  SourceRows rows;
  for (int axis = 0; axis < kAxes; ++axis) rows.first[axis] = box.first[axis] * part.step[axis] + least_[axis];
  const Index step = source_step_[2], first = rows.first[2], extent = part.source.extent[2];
  rows.count = box.images * extent_[0] * extent_[1];
  rows.begin = std::min(extent_[2], first >= 0 ? 0 : ceil_divide(-first, step));
  rows.stop = std::clamp(first < extent ? ceil_divide(extent - first, step) : 0, rows.begin, extent_[2]);
  return rows;
}

bool PixelStage::locate_row(const Correlation& part, const PixelBox& box, const SourceRows& rows, Index row,
                            Index& offset) const noexcept {
  const Grid& grid = part.source;
  const Index y = rows.first[1] + row % extent_[1] * source_step_[1];
  const Index z = rows.first[0] + row / extent_[1] % extent_[0] * source_step_[0];
  if (z < 0 || z >= grid.extent[0] || y < 0 || y >= grid.extent[1] || rows.begin == rows.stop) return false;
  offset = (box.image + row / extent_[1] / extent_[0]) * grid.batch_stride + z * grid.axis_stride[0] +
           y * grid.axis_stride[1] + (rows.first[2] + rows.begin * source_step_[2]) * grid.axis_stride[2];
  return true;
}

// Channels first, a vector of channels is copied from all rows before the next one: so many planes are read as streams.
template <class T>
void PixelStage::fill(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channels,
                      const PixelBox& box, T* stage) const noexcept {
  if (is_in_place_) return;
  const Grid& grid = part.source;
  const SourceRows rows = source_rows(part, box);
  const Index columns = rows.stop - rows.begin, pitch = axis_pitch_[2],
              x_stride = grid.axis_stride[2] * source_step_[2];
  const bool is_one_run = grid.channel_stride == 1 && x_stride == channels && pitch == channels;
  Index offset;
  for (Index row = 0; row < rows.count; ++row) {
    T* target = stage + row * axis_pitch_[1];
    if (!locate_row(part, box, rows, row, offset)) {
      std::fill(target, target + axis_pitch_[1], T{0});
      continue;
    }
    std::fill(target, target + rows.begin * pitch, T{0});
    std::fill(target + rows.stop * pitch, target + axis_pitch_[1], T{0});
  }
  for (Index channel = 0, stop = 0; channel < channels; channel = stop) {
    stop = grid.channel_stride > 1 && channels - channel >= 2 * kernels.lanes ? channel + kernels.lanes : channels;
    for (Index row = 0; row < rows.count; ++row) {
      if (!locate_row(part, box, rows, row, offset)) continue;
      const T* from = source + offset + channel * grid.channel_stride;
      T* target = stage + row * axis_pitch_[1] + rows.begin * pitch + channel;
      if (is_one_run) kernels.move_block(1, columns * channels, from, 0, 1, target, 0, 1);
      else kernels.move_block(columns, stop - channel, from, x_stride, grid.channel_stride, target, pitch, 1);
    }
  }
}

template <class T>
void PixelStage::locate(const PixelBox& box, const T* source, const T* stage, const T** pixels,
                        PixelOrder order) const noexcept {
  const T* first = stage;
  Index pitch[kAxes];
  for (int axis = 0; axis < kAxes; ++axis) pitch[axis] = pixel_step_[axis] * axis_pitch_[axis];
  if (is_in_place_) {
    first = source + box.image * image_pitch_;
    for (int axis = 0; axis < kAxes; ++axis) first += box.first[axis] * pitch[axis] + least_[axis] * axis_pitch_[axis];
  }
  locate_pixels(box, first, image_pitch_, pitch, pixels, order);
}

template void PixelStage::fill(const Correlation&, const ConvKernels<float>&, const float*, Index, const PixelBox&,
                               float*) const noexcept;
template void PixelStage::locate(const PixelBox&, const float*, const float*, const float**, PixelOrder) const noexcept;
template void locate_pixels(const PixelBox&, float*, Index, const Index*, float**, PixelOrder) noexcept;
template void PixelStage::fill(const Correlation&, const ConvKernels<double>&, const double*, Index, const PixelBox&,
                               double*) const noexcept;
template void PixelStage::locate(const PixelBox&, const double*, const double*, const double**,
                                 PixelOrder) const noexcept;
template void locate_pixels(const PixelBox&, double*, Index, const Index*, double**, PixelOrder) noexcept;

}  // namespace convpool
