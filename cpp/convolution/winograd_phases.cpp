#include "convolution/winograd_phases.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace convpool {

namespace {

bool has_neighbours(const Grid& grid, Index distance) {
  return grid.channel_stride == 1 || grid.axis_stride[2] == distance;
}

bool are_all_phases(const Correlation* parts, std::size_t count) {
  const Index* step = parts->target_step;
  return static_cast<Index>(count) == step[0] * step[1] * step[2] &&
         std::all_of(parts, parts + count, [](const Correlation& part) { return part.is_one_of_all; });
}

// Views of all planes, by z and then as they are found; phases may share them.
void find_views(WinogradPhases& result) {
  std::map<std::array<Index, kAxes>, Index> numbers;
  std::vector<std::array<Index, kAxes>> found;
  const auto key_of = [](const TapPlane& plane) {
    return std::array<Index, kAxes>{plane.least[0], plane.least[1], plane.least[2]};
  };
  for (const WinogradPhase& phase : result.phases)
    for (const TapPlane& plane : phase.planes)
      if (numbers.emplace(key_of(plane), 0).second) found.push_back(key_of(plane));
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a[0] < b[0]; });
  for (const auto& key : found) {
    numbers[key] = static_cast<Index>(result.views.size());
    result.views.push_back({{key[0], key[1], key[2]}});
  }
  for (WinogradPhase& phase : result.phases)
    for (const TapPlane& plane : phase.planes) phase.views.push_back(numbers[key_of(plane)]);
}

// Views that differ along y or x are staged together, with all pixels between theirs: not where these are many.
bool are_close(const WinogradPhases& phases) {
  Index span = 0;
  for (int axis = 1; axis < kAxes; ++axis) {
    const auto [least, most] =
        std::minmax_element(phases.views.begin(), phases.views.end(),
                            [axis](const View& a, const View& b) { return a.least[axis] < b.least[axis]; });
    span = std::max(span, most->least[axis] - least->least[axis]);
  }
  const Index distance = std::max(phases.source_distance[1], phases.source_distance[2]);
  return span == 0 || (span < kMostPlaneStep && distance <= kMostPlaneStep);
}

}  // namespace

std::optional<WinogradPhases> WinogradPhases::find(const Correlation* parts, std::size_t count) {
  if (count > 1 && !are_all_phases(parts, count)) return {};
  WinogradPhases result{};
  for (std::size_t i = 0; i < count; ++i) {
    const Correlation& part = parts[i];
    const std::optional<TapPlanes> taps = TapPlanes::find(part);
    if (std::max(part.target_step[1], part.target_step[2]) > kMostPlaneStep) return {};
    if (!taps || !has_neighbours(part.source, 1) || !has_neighbours(part.target, part.target_step[2])) return {};
    if (result.phases.empty()) {
      std::copy_n(taps->source_distance, kAxes, result.source_distance);
      std::copy_n(taps->target_distance, kAxes, result.target_distance);
    }
    if (!std::equal(result.source_distance + 1, result.source_distance + kAxes, taps->source_distance + 1)) return {};
    for (const TapPlane& plane : taps->planes) {
      result.height = std::max(result.height, plane.height);
      result.width = std::max(result.width, plane.width);
    }
    result.phases.push_back({&part, taps->planes, {}});
  }
  if (result.width < 2) return {};
  find_views(result);
  if (!are_close(result)) return {};
  return result;
}

bool WinogradPhases::are_full() const {
  const auto is_full = [&](const TapPlane& plane) { return plane.height == height && plane.width == width; };
  return std::all_of(phases.begin(), phases.end(), [&](const WinogradPhase& phase) {
    return std::all_of(phase.planes.begin(), phase.planes.end(), is_full);
  });
}

}  // namespace convpool
