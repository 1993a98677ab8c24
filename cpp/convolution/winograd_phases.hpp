// The correlations that share Winograd tiles: one, or all phases of a strided target, whose pixels lie between each
// other. Each sums over its planes of taps; planes whose windows begin at the same place share a view, so that the
// source is transformed once for all of them.
#pragma once

#include <optional>
#include <vector>

#include "convolution/tap_planes.hpp"

namespace convpool {

// Source position of target position 0.
struct View {
  Index least[kAxes];
};

struct WinogradPhase {
  const Correlation* part;
  std::vector<TapPlane> planes;
  std::vector<Index> views;  // of the planes
};

struct WinogradPhases {
  Index height, width;  // most taps of a plane
  Index source_distance[kAxes], target_distance[kAxes];
  std::vector<WinogradPhase> phases;  // in the order of the parts: x phases of a row follow each other
  std::vector<View> views;            // by z

  // Nothing where the transforms cannot read or write the arrays, or cannot join the taps, or where phases are missing.
  static std::optional<WinogradPhases> find(const Correlation* parts, std::size_t count);

  // Whether every plane has all taps, so that all are multiplied at the same points.
  bool are_full() const;
};

}  // namespace convpool
