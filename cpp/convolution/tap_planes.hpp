// Taps sorted by what Winograd tiles can join: a plane of taps reads source positions at one distance, so that taps and
// tiles meet each other's neighbours. There is a plane for every tap along z and, at a stride, for every stride phase
// of the source; the target is the sum over all of them.
#pragma once

#include <optional>
#include <vector>

#include "convolution/correlation.hpp"

namespace convpool {

constexpr Index kMostPlaneStep = 4;  // of a source or a target whose phases are worked on together

struct TapPlane {
  Index least[kAxes];  // source position of target position 0 through the first tap
  Index height, width;
  Index taps[kMostSideTaps][kMostSideTaps];  // [y][x]: the number of the tap in its correlation, -1 where there is none
};

struct TapPlanes {
  Index source_distance[kAxes], target_distance[kAxes];  // of neighbouring taps, and of the positions of a tile
  std::vector<TapPlane> planes;                          // by z, of each the largest first

  // Nothing where a plane has more taps along an axis than a tile can join.
  static std::optional<TapPlanes> find(const Correlation& part);
};

// Whether the weights of a channel follow each other in the array in the order of the taps, and then the channels.
bool has_dense_weights(const Correlation& part);

}  // namespace convpool
