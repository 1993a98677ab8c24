#include "convolution/phase_set.hpp"

#include <algorithm>

namespace convpool {

namespace {

Index phases_along(const Correlation& part, int axis) noexcept {
  return std::min(part.target_step[axis], part.whole_extent[axis]);
}

// Phase `index` of those that `part` is one of, without taps.
Correlation empty_phase(const Correlation& part, Index index) {
  Correlation phase = part;
  phase.taps.clear();
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    const Index step = part.target_step[axis], place = index % phases_along(part, axis);
    index /= phases_along(part, axis);
    phase.target_phase[axis] = place;
    phase.target.extent[axis] = ceil_divide(part.whole_extent[axis] - place, step);
    phase.target_offset += (place - part.target_phase[axis]) * (part.target.axis_stride[axis] / step);
  }
  return phase;
}

}  // namespace

PixelBox Phase::clipped(PixelBox box) const noexcept {
  for (int axis = 0; axis < kAxes; ++axis)
    box.count[axis] = std::clamp<Index>(part.target.extent[axis] - box.first[axis], 0, box.count[axis]);
  return box;
}

PhaseSet::PhaseSet(const Correlation* first, const Correlation* last)
    : common(*first), target(first->target), target_offset(first->target_offset) {
  if (!first->is_phase()) {
    phases.push_back({*first, 0, static_cast<Index>(first->taps.size())});
    return;
  }
  common.taps.clear();
  for (int axis = 0; axis < kAxes; ++axis) {
    target.axis_stride[axis] /= first->target_step[axis];
    target.extent[axis] = first->whole_extent[axis];
    target_offset -= first->target_phase[axis] * target.axis_stride[axis];
    common.target.extent[axis] = ceil_divide(target.extent[axis], first->target_step[axis]);
  }
  for (Index index = 0; index < phase_count(*first); ++index) {
    const Correlation empty = empty_phase(*first, index);
    const Correlation* part = std::find_if(first, last, [&](const Correlation& candidate) {
      return std::equal(candidate.target_phase, candidate.target_phase + kAxes, empty.target_phase);
    });
    const Index taps = static_cast<Index>(common.taps.size());
    phases.push_back({part == last ? empty : *part, taps, taps});
    const std::vector<Tap>& own = phases.back().part.taps;
    common.taps.insert(common.taps.end(), own.begin(), own.end());
    phases.back().stop_tap += static_cast<Index>(own.size());
  }
}

PixelBox PhaseSet::targets(const PixelBox& box) const noexcept {
  PixelBox whole = box;
  for (int axis = 0; axis < kAxes; ++axis) {
    const Index step = common.target_step[axis];
    whole.first[axis] = box.first[axis] * step;
    whole.count[axis] = std::min(box.count[axis] * step, target.extent[axis] - whole.first[axis]);
  }
  return whole;
}

Index PhaseSet::most_targets(const PixelCut& cut) const noexcept {
  Index targets = cut.images();
  for (int axis = 0; axis < kAxes; ++axis)
    targets *= std::min(cut.extent()[axis] * common.target_step[axis], target.extent[axis]);
  return targets;
}

Index phase_count(const Correlation& part) noexcept {
  return phases_along(part, 0) * phases_along(part, 1) * phases_along(part, 2);
}

}  // namespace convpool
