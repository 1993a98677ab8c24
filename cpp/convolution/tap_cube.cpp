#include "convolution/tap_cube.hpp"

#include <algorithm>

namespace convpool {

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
    extent[axis] = most->offset[axis] - least->offset[axis] + 1;
  }
  cube.depth = extent[0];
  cube.height = extent[1];
  const bool has_sides = extent[2] == kSide && (extent[1] == kSide || extent[1] == 1);
  if (!has_sides || static_cast<Index>(part.taps.size()) != cube.depth * cube.plane_taps()) return {};
  cube.weight_offsets.assign(part.taps.size(), -1);
  for (const Tap& tap : part.taps) {
    Index place = 0;
    for (int axis = 0; axis < kAxes; ++axis) place = place * extent[axis] + tap.offset[axis] - cube.least[axis];
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
