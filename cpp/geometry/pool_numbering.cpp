#include "geometry/pool_numbering.hpp"

#include "geometry/error.hpp"

namespace convpool {

namespace {

constexpr std::int64_t kNone = -1;

// One pooled element: which image and channel it is of, and which window.
struct Place {
  std::int64_t batch, channel;
  Triple window;
};

// number = batch * image + channel * plane + position * step
struct LinearNumbering {
  std::int64_t image, plane, step;

  std::int64_t start(const Place& place) const { return place.batch * image + place.channel * plane; }
};

LinearNumbering linear(Numbering numbering, const Extents& input) {
  if (numbering == Numbering::onnx) return {input.channels * input.plane(), input.plane(), 1};
  if (numbering == Numbering::tensorflow) return {0, 1, input.channels};
  return {0, 0, 1};
}

// The taps of one window along one axis, those in the padding too: first, first + step, ... (count of them).
struct Taps {
  std::int64_t first, count, step;
};

Taps taps_of(const Axis& axis, std::int64_t window) {
  if (!axis.is_adaptive) return {window * axis.stride - axis.pad_low, axis.kernel, axis.dilation};
  const WindowTaps taps = axis.taps(window);
  return {taps.first, taps.count, 1};
}

// Position in the plane of the tap with this number, or kNone.
std::int64_t position_of_tap(const PoolGeometry& geometry, const Place& place, std::int64_t number) {
  std::int64_t position = 0, row = 1;
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    const Taps taps = taps_of(geometry.axes[axis], place.window[axis]);
    const std::int64_t extent = geometry.input.spatial[axis];
    const std::int64_t along = taps.first + number % taps.count * taps.step;
    if (along < 0 || along >= extent) return kNone;
    position += along * row;
    row *= extent;
    number /= taps.count;
  }
  return number == 0 ? position : kNone;
}

// Number of the tap at this position of the plane, or kNone.
std::int64_t tap_at_position(const PoolGeometry& geometry, const Place& place, std::int64_t position) {
  std::int64_t number = 0, taps_within = 1;
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    const Taps taps = taps_of(geometry.axes[axis], place.window[axis]);
    const std::int64_t extent = geometry.input.spatial[axis];
    const std::int64_t distance = position % extent - taps.first;
    const std::int64_t tap = floor_divide(distance, taps.step);
    if (tap < 0 || tap >= taps.count || tap * taps.step != distance) return kNone;
    number += tap * taps_within;
    taps_within *= taps.count;
    position /= extent;
  }
  return number;
}

// Position in its plane that a number means, or kNone.
std::int64_t to_position(const PoolGeometry& geometry, Numbering numbering, const Place& place, std::int64_t number) {
  if (number < 0) return kNone;
  if (numbering == Numbering::window) return position_of_tap(geometry, place, number);
  const LinearNumbering numbers = linear(numbering, geometry.input);
  const std::int64_t offset = number - numbers.start(place);
  const bool is_inside = offset >= 0 && offset % numbers.step == 0 && offset / numbers.step < geometry.input.plane();
  return is_inside ? offset / numbers.step : kNone;
}

// The number of a position in its plane, or kNone.
std::int64_t to_number(const PoolGeometry& geometry, Numbering numbering, const Place& place, std::int64_t position) {
  if (numbering == Numbering::window) return tap_at_position(geometry, place, position);
  const LinearNumbering numbers = linear(numbering, geometry.input);
  return numbers.start(place) + position * numbers.step;
}

// body(place, offset in a C-contiguous array) for every pooled element.
template <class Body>
void for_each_place(const Extents& pooled, Body&& body) {
  for (std::int64_t n = 0; n < pooled.batch; ++n)
    for (std::int64_t c = 0; c < pooled.channels; ++c)
      for (std::int64_t z = 0; z < pooled.spatial[0]; ++z)
        for (std::int64_t y = 0; y < pooled.spatial[1]; ++y)
          for (std::int64_t x = 0; x < pooled.spatial[2]; ++x)
            body(Place{n, c, {z, y, x}}, n * pooled.batch_stride() + c * pooled.channel_stride() +
                                             z * pooled.axis_stride(0) + y * pooled.axis_stride(1) +
                                             x * pooled.axis_stride(2));
}

}  // namespace

std::int64_t largest_window_taps(const char* function, const PoolGeometry& geometry) {
  Shape largest;
  for (const Axis& axis : geometry.axes) {
    std::int64_t taps = axis.kernel;
    for (std::int64_t window = 0; axis.is_adaptive && window < axis.output; ++window)
      taps = std::max(taps, axis.taps(window).count);
    largest.push_back(taps);
  }
  return checked_product(function, "kernel_size", largest);
}

template <class From>
void convert_indices(const char* function, const PoolGeometry& geometry, Numbering source, Numbering target,
                     const From* indices, std::int64_t* converted) {
  for_each_place(geometry.output, [&](const Place& place, std::int64_t offset) {
    const From index = indices[offset];
    const std::int64_t position = to_position(geometry, source, place, static_cast<std::int64_t>(index));
    if (position == kNone)
      reject(function, "indices", "of elements of their own plane, as the source numbers them", std::to_string(index));
    const std::int64_t number = to_number(geometry, target, place, position);
    if (number == kNone) reject(function, "indices", "inside their windows", std::to_string(index));
    converted[offset] = number;
  });
}

#define CONVPOOL_CONVERT_INDICES(From) \
  template void convert_indices(const char*, const PoolGeometry&, Numbering, Numbering, const From*, std::int64_t*);
CONVPOOL_CONVERT_INDICES(std::int8_t)
CONVPOOL_CONVERT_INDICES(std::int16_t)
CONVPOOL_CONVERT_INDICES(std::int32_t)
CONVPOOL_CONVERT_INDICES(std::int64_t)
CONVPOOL_CONVERT_INDICES(std::uint8_t)
CONVPOOL_CONVERT_INDICES(std::uint16_t)
CONVPOOL_CONVERT_INDICES(std::uint32_t)
CONVPOOL_CONVERT_INDICES(std::uint64_t)

}  // namespace convpool
