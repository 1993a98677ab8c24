// Taps that are neighbours: all of a box of depth x 3 x 3 source positions.
#pragma once

#include <optional>
#include <vector>

#include "convolution/correlation.hpp"

namespace convpool {

struct TapCube {
  static constexpr Index kSide = 3;
  Index least[kAxes];  // source position of target position 0 through the first tap
  Index depth;
  std::vector<Index> weight_offsets;  // [z][y][x]

  static std::optional<TapCube> find(const Correlation& part);
};

}  // namespace convpool
