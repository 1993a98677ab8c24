#include "convolution/tap_cube.hpp"

#include <algorithm>

namespace convpool {

namespace {

// The smallest distance from the first tap, 1 if there is no other.
Index tap_distance(const Correlation& part, int axis, Index least) {
  Index distance = 0;
  for (const Tap& tap : part.taps) {
    const Index each = tap.offset[axis] - least;
    if (each > 0 && (distance == 0 || each < distance)) distance = each;
  }
  return std::max<Index>(distance, 1);
}

}  // namespace

std::optional<TapCube> TapCube::find(const Correlation& part) {
  if (part.taps.empty()) return {};
  TapCube cube{};
  Index extent[kAxes];
  for (int axis = 0; axis < kAxes; ++axis) {
    if (part.step[axis] != 1) return {};
    const auto [least, most] =
        std::minmax_element(part.taps.begin(), part.taps.end(),
                            [axis](const Tap& a, const Tap& b) { return a.offset[axis] < b.offset[axis]; });
    cube.least[axis] = least->offset[axis];
    cube.dilation[axis] = tap_distance(part, axis, cube.least[axis]);
    extent[axis] = (most->offset[axis] - cube.least[axis]) / cube.dilation[axis] + 1;
  }
  cube.depth = extent[0];
  cube.height = extent[1];
  const bool has_sides = extent[2] == kSide && (extent[1] == kSide || extent[1] == 1);
  if (!has_sides || static_cast<Index>(part.taps.size()) != cube.depth * cube.plane_taps()) return {};
  cube.weight_offsets.assign(part.taps.size(), -1);
  for (const Tap& tap : part.taps) {
    Index place = 0;
    for (int axis = 0; axis < kAxes; ++axis) {
      const Index distance = tap.offset[axis] - cube.least[axis];
      if (distance % cube.dilation[axis] != 0) return {};
      place = place * extent[axis] + distance / cube.dilation[axis];
    }
    cube.weight_offsets[static_cast<std::size_t>(place)] = tap.weight_offset;
  }
  const bool is_full =
      std::none_of(cube.weight_offsets.begin(), cube.weight_offsets.end(), [](Index offset) { return offset < 0; });
  if (!is_full) return {};
  return cube;
}

bool TapCube::has_dense_weights(const Correlation& part) const noexcept {
  if (depth != 1 || part.weight_channel_stride != plane_taps()) return false;
  return std::is_sorted(weight_offsets.begin(), weight_offsets.end()) && weight_offsets.back() == plane_taps() - 1;
}

}  // namespace convpool
