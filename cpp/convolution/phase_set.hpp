// The stride phases of a gradient as one problem: over the positions that they have in common, from a source that they
// share, to a target between whose elements theirs lie. Any other correlation is its own only phase.
#pragma once

#include "convolution/pixel_stage.hpp"

namespace convpool {

struct Phase {
  Correlation part;           // without taps where no window reads the phase: its targets are the bias
  Index first_tap, stop_tap;  // among the taps of all phases

  // The pixels of a box that the phase has: later phases may end a position earlier.
  PixelBox clipped(PixelBox box) const noexcept;
};

struct PhaseSet {
  Correlation common;  // the taps of all phases, at all positions that some phase has
  Grid target;
  Index target_offset;
  std::vector<Phase> phases;

  // Phases of one gradient, all that some tap meets, or one correlation.
  PhaseSet(const Correlation* first, const Correlation* last);

  // The targets of all phases at the positions of a box.
  PixelBox targets(const PixelBox& box) const noexcept;
  Index most_targets(const PixelCut& cut) const noexcept;
};

// How many phases there are, with and without taps.
Index phase_count(const Correlation& part) noexcept;

}  // namespace convpool
