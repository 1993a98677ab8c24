#include "convolution/tap_cube.hpp"

#include <algorithm>

namespace convpool {

std::optional<TapCube> TapCube::find(const Correlation& part) {
  TapCube cube{};
  const Index taps = static_cast<Index>(part.taps.size());
  if (taps == 0 || taps % (kSide * kSide) != 0) return {};
  for (int axis = 0; axis < kAxes; ++axis) {
    if (part.step[axis] != 1) return {};
    cube.least[axis] = std::min_element(part.taps.begin(), part.taps.end(), [axis](const Tap& a, const Tap& b) {
                         return a.offset[axis] < b.offset[axis];
                       })->offset[axis];
  }
  cube.depth = taps / (kSide * kSide);
  const Index extent[kAxes] = {cube.depth, kSide, kSide};
  cube.weight_offsets.assign(part.taps.size(), -1);
  for (const Tap& tap : part.taps) {
    Index place = 0;
    for (int axis = 0; axis < kAxes; ++axis) {
      const Index position = tap.offset[axis] - cube.least[axis];
      if (position >= extent[axis]) return {};
      place = place * extent[axis] + position;
    }
    cube.weight_offsets[static_cast<std::size_t>(place)] = tap.weight_offset;
  }
  const bool is_full =
      std::none_of(cube.weight_offsets.begin(), cube.weight_offsets.end(), [](Index offset) { return offset < 0; });
  if (!is_full) return {};
  return cube;
}

}  // namespace convpool
