#include "convolution/tap_planes.hpp"

#include <algorithm>

namespace convpool {

namespace {

using Numbers = std::vector<Index>;

Index least_offset(const Correlation& part, const Numbers& taps, int axis) {
  Index least = part.taps[static_cast<std::size_t>(taps.front())].offset[axis];
  for (const Index tap : taps) least = std::min(least, part.taps[static_cast<std::size_t>(tap)].offset[axis]);
  return least;
}

// The smallest distance from the first tap, 1 if there is no other.
Index tap_distance(const Correlation& part, int axis, Index least) {
  Index distance = 0;
  for (const Tap& tap : part.taps) {
    const Index each = tap.offset[axis] - least;
    if (each > 0 && (distance == 0 || each < distance)) distance = each;
  }
  return std::max<Index>(distance, 1);
}

TapPlane make_plane(const Correlation& part, const Numbers& taps, const Index (&distance)[kAxes]) {
  TapPlane plane{};
  std::fill_n(plane.taps[0], kMostSideTaps * kMostSideTaps, Index{-1});
  for (int axis = 0; axis < kAxes; ++axis) plane.least[axis] = least_offset(part, taps, axis);
  for (const Index tap : taps) {
    const Tap& each = part.taps[static_cast<std::size_t>(tap)];
    const Index y = (each.offset[1] - plane.least[1]) / distance[1];
    const Index x = (each.offset[2] - plane.least[2]) / distance[2];
    plane.taps[y][x] = tap;
    plane.height = std::max(plane.height, y + 1);
    plane.width = std::max(plane.width, x + 1);
  }
  return plane;
}

}  // namespace

std::optional<TapPlanes> TapPlanes::find(const Correlation& part) {
  if (part.taps.empty()) return {};
  TapPlanes result{};
  for (int axis = 0; axis < kAxes; ++axis) {
    const auto [least, most] =
        std::minmax_element(part.taps.begin(), part.taps.end(),
                            [axis](const Tap& a, const Tap& b) { return a.offset[axis] < b.offset[axis]; });
    const Index first = least->offset[axis], step = part.step[axis];
    result.source_distance[axis] = step > 1 ? step : tap_distance(part, axis, first);
    result.target_distance[axis] = result.source_distance[axis] / step;
    const Index extent = (most->offset[axis] - first) / result.source_distance[axis] + 1;
    if (axis > 0 && (step > kMostPlaneStep || extent > kMostSideTaps)) return {};
    const auto is_off = [&](const Tap& tap) { return (tap.offset[axis] - first) % result.source_distance[axis] != 0; };
    if (step == 1 && std::any_of(part.taps.begin(), part.taps.end(), is_off)) return {};
  }
  const auto is_same_plane = [&](const Tap& a, const Tap& b) {
    return a.offset[0] == b.offset[0] && (a.offset[1] - b.offset[1]) % result.source_distance[1] == 0 &&
           (a.offset[2] - b.offset[2]) % result.source_distance[2] == 0;
  };
  std::vector<Numbers> groups;
  std::size_t first_of_z = 0;  // taps come in the order of their z
  for (Index number = 0; number < static_cast<Index>(part.taps.size()); ++number) {
    const auto tap_of = [&](const Numbers& group) { return part.taps[static_cast<std::size_t>(group.front())]; };
    const Tap& tap = part.taps[static_cast<std::size_t>(number)];
    if (!groups.empty() && tap_of(groups.back()).offset[0] != tap.offset[0]) first_of_z = groups.size();
    const auto group = std::find_if(groups.begin() + static_cast<std::ptrdiff_t>(first_of_z), groups.end(),
                                    [&](const Numbers& each) { return is_same_plane(tap_of(each), tap); });
    if (group == groups.end()) groups.push_back({number});
    else group->push_back(number);
  }
  for (const Numbers& group : groups) result.planes.push_back(make_plane(part, group, result.source_distance));
  std::stable_sort(result.planes.begin(), result.planes.end(), [](const TapPlane& a, const TapPlane& b) {
    return a.least[0] != b.least[0] ? a.least[0] < b.least[0] : a.height * a.width > b.height * b.width;
  });
  return result;
}

bool has_dense_weights(const Correlation& part) {
  if (!part.has_innermost_taps()) return false;
  for (std::size_t tap = 0; tap < part.taps.size(); ++tap)
    if (part.taps[tap].weight_offset != static_cast<Index>(tap)) return false;
  return true;
}

}  // namespace convpool
