// Long rows of evenly spaced taps in two steps: partial windows of about sqrt(taps) taps, then those that make a whole
// one. So 31 taps cost 12 operations. Each window is put together for itself: nothing of its neighbours enters it.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/table.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

template <class V>
class PartialWindows {
 public:
  using P = LanePosition<V>;

  // `spacing`: elements between taps; `unit`: positions between them. An idempotent reduction may count an element
  // twice.
  PartialWindows(Index taps, Index spacing, P unit, bool is_idempotent, bool has_positions)
      : spacing_(spacing), reach_(taps * spacing), has_positions_(has_positions) {
    constexpr Index kLeastTaps = 7;
    if (taps < kLeastTaps) return;
    length_ = static_cast<Index>(std::lround(std::sqrt(static_cast<double>(taps))));
    reach_ = (taps - length_) * spacing;
    for (Index tap = 0; tap + length_ <= taps; tap += length_) firsts_.push_back(tap);
    if (is_idempotent && taps % length_ != 0) firsts_.push_back(taps - length_);
    windows_ = static_cast<Index>(firsts_.size());
    for (Index tap = windows_ * length_; tap < taps; ++tap) firsts_.push_back(tap);  // single ones that are left
    for (Index tap = 0; tap < length_; ++tap) labels_.push_back(static_cast<P>(tap * unit));
    for (const Index first : firsts_) window_labels_.push_back(static_cast<P>(first * unit));
  }

  bool are_used() const noexcept { return windows_ > 0; }
  Index offsets() const noexcept { return length_ + static_cast<Index>(firsts_.size()); }

  // `gap`: elements from the line to where its partial windows are kept, in the same array.
  void prepare(Index gap, Index* offsets) const noexcept {
    for (Index tap = 0; tap < length_; ++tap) *offsets++ = tap * spacing_;
    for (Index i = 0; i < static_cast<Index>(firsts_.size()); ++i)
      *offsets++ = firsts_[static_cast<std::size_t>(i)] * spacing_ + (i < windows_ && !has_positions_ ? gap : 0);
  }

  void reduce(const ReductionKernels<V>& reduction, const V* line, Index elements, const Index* offsets, V* windows,
              P* window_positions, V* out, P* positions) const noexcept {
    reduction.taps({elements + reach_, length_, line, offsets, windows, labels_.data(), nullptr, window_positions});
    const Index taps = static_cast<Index>(firsts_.size());
    offsets += length_;
    if (has_positions_)
      reduction.nested_taps(
          {elements, taps, windows, offsets, out, window_labels_.data(), window_positions, positions});
    else reduction.taps({elements, taps, line, offsets, out});
  }

 private:
  Index spacing_, reach_;
  bool has_positions_;
  Index length_ = 0, windows_ = 0;
  std::vector<Index> firsts_;  // the first tap of each partial window, then the taps that are left over
  std::vector<P> labels_, window_labels_;
};

}  // namespace convpool
