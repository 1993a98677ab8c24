#include "convolution/winograd_phases.hpp"

#include <algorithm>

namespace convpool {

namespace {

bool has_neighbours(const Grid& grid, Index distance) {
  return grid.channel_stride == 1 || grid.axis_stride[2] == distance;
}

// One for each place between the pixels of a phase.
bool are_all_phases(const std::vector<Correlation>& parts) {
  const Correlation& first = parts.front();
  const Index count = first.target_step[0] * first.target_step[1] * first.target_step[2];
  return static_cast<Index>(parts.size()) == count &&
         std::all_of(parts.begin(), parts.end(), [](const Correlation& part) { return part.is_phase(); });
}

Index view_number(std::vector<View>& views, const TapPlane& plane) {
  const auto is_same = [&](const View& view) { return std::equal(view.least, view.least + kAxes, plane.least); };
  const auto found = std::find_if(views.begin(), views.end(), is_same);
  const Index number = found - views.begin();
  if (found != views.end()) return number;
  View view;
  std::copy_n(plane.least, kAxes, view.least);
  views.push_back(view);
  return number;
}

}  // namespace

std::optional<WinogradPhases> WinogradPhases::find(const std::vector<Correlation>& parts) {
  if (parts.size() > 1 && !are_all_phases(parts)) return {};
  WinogradPhases result{};
  for (const Correlation& part : parts) {
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
  for (WinogradPhase& phase : result.phases)
    for (const TapPlane& plane : phase.planes) phase.views.push_back(view_number(result.views, plane));
  // Views are staged together, with all pixels between theirs: not where these are many.
  const bool are_far = std::max(result.source_distance[1], result.source_distance[2]) > kMostPlaneStep;
  const bool are_apart = std::any_of(result.views.begin(), result.views.end(), [&](const View& view) {
    return !std::equal(view.least + 1, view.least + kAxes, result.views.front().least + 1);
  });
  if (result.width < 2 || (are_far && are_apart)) return {};
  std::stable_sort(result.phases.begin(), result.phases.end(), [](const WinogradPhase& a, const WinogradPhase& b) {
    return std::lexicographical_compare(a.part->target_phase, a.part->target_phase + kAxes, b.part->target_phase,
                                        b.part->target_phase + kAxes);
  });
  return result;
}

bool WinogradPhases::are_full() const {
  const auto is_full = [&](const TapPlane& plane) { return plane.height == height && plane.width == width; };
  return std::all_of(phases.begin(), phases.end(), [&](const WinogradPhase& phase) {
    return std::all_of(phase.planes.begin(), phase.planes.end(), is_full);
  });
}

}  // namespace convpool
