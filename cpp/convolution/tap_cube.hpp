// Taps at regular distances: all of a box of source positions that is 3 wide, and 3 or 1 high.
#pragma once

#include <optional>
#include <vector>

#include "convolution/correlation.hpp"

namespace convpool {

struct TapCube {
  static constexpr Index kSide = 3;
  Index least[kAxes];     // source position of target position 0 through the first tap
  Index dilation[kAxes];  // distance of neighbouring taps
  Index depth, height;
  std::vector<Index> weight_offsets;  // [z][y][x]

  Index plane_taps() const { return height * kSide; }
  // Whether the taps of a channel, in their order, and then the channels follow each other in the weight array.
  bool has_dense_weights(const Correlation& part) const noexcept;
  static std::optional<TapCube> find(const Correlation& part);
};

}  // namespace convpool
