// What lies beyond the ends of an axis: which element of the array a position in the padding stands for.
//
// Positions are counted from the first real element. Passes that read the array map positions while they pack it, the
// gradient of the input adds what reached a position to the element that it stands for: both ask here.
#pragma once

#include <array>

#include "geometry/axis.hpp"

namespace convpool {

enum class PaddingMode { zeros, reflect, replicate, circular };

// The element that a position stands for; -1 for a zero. One reflection or one turn is all that valid padding needs:
// positions further out, seen only where a tile is rounded up, are zeros.
inline std::int64_t source_position(PaddingMode mode, std::int64_t extent, std::int64_t position) {
  if (position >= 0 && position < extent) return position;
  std::int64_t source = -1;
  switch (mode) {
    case PaddingMode::zeros: break;
    case PaddingMode::reflect: source = position < 0 ? -position : 2 * (extent - 1) - position; break;
    case PaddingMode::replicate: source = position < 0 ? 0 : extent - 1; break;
    case PaddingMode::circular: source = position < 0 ? position + extent : position - extent; break;
  }
  return source < extent ? source : -1;
}

// Positions [first, stop) of a row that stand for elements source, source + step, ...
struct PaddedRun {
  std::int64_t first, stop;
  std::int64_t source, step;
  bool is_real;  // in the array itself, not in the padding
};

// At most three: the padding before the array, the array, the padding behind it. Positions of no run are zeros.
class PaddedRuns {
 public:
  // The row is the positions start, start + step, ... (count of them), step > 0.
  PaddedRuns(PaddingMode mode, std::int64_t extent, std::int64_t start, std::int64_t step, std::int64_t count) {
    const std::int64_t first = std::min(count, start >= 0 ? 0 : ceil_divide(-start, step));
    const std::int64_t stop = std::clamp(extent > start ? ceil_divide(extent - start, step) : 0, first, count);
    const auto source = [&](std::int64_t number) { return source_position(mode, extent, start + number * step); };
    if (mode != PaddingMode::zeros && first > 0) add({0, first, source(0), border_step(mode, step), false});
    if (first < stop) add({first, stop, start + first * step, step, true});
    if (mode == PaddingMode::zeros || stop == count) return;
    std::int64_t end = count;  // rows that are rounded up go on past everything that a reflection or a turn reaches
    if (mode == PaddingMode::reflect) end = std::min(end, ceil_divide(2 * extent - 1 - start, step));
    if (mode == PaddingMode::circular) end = std::min(end, ceil_divide(2 * extent - start, step));
    if (stop < end) add({stop, end, source(stop), border_step(mode, step), false});
  }

  const PaddedRun* begin() const { return runs_.data(); }
  const PaddedRun* end() const { return runs_.data() + count_; }

 private:
  static std::int64_t border_step(PaddingMode mode, std::int64_t step) {
    if (mode == PaddingMode::reflect) return -step;
    return mode == PaddingMode::replicate ? 0 : step;
  }
  void add(const PaddedRun& run) { runs_[count_++] = run; }

  std::array<PaddedRun, 3> runs_;
  std::size_t count_ = 0;
};

}  // namespace convpool
