// Input columns by stride phase: those of one phase are covered by the same taps, so the windows over neighbouring
// columns of a phase are neighbours too.
#pragma once

#include <vector>

#include "pooling/pool_view.hpp"

namespace convpool {

class StridePhases {
 public:
  // Window o reads padded position u = q * stride + phase through tap k if o * stride + k * dilation = u: the taps of a
  // phase are those with k * dilation = phase (mod stride), and o = q + (phase - k * dilation) / stride.
  explicit StridePhases(const Axis& window) : stride_(window.stride), pad_low_(window.pad_low) {
    reach_ = window.dilation * (window.kernel - 1) / stride_ + (stride_ > 1);
    for (Index phase = 0; phase < stride_; ++phase) {
      phases_.emplace_back();
      for (Index tap = window.kernel - 1; tap >= 0; --tap)
        if ((tap * window.dilation - phase) % stride_ == 0)
          phases_.back().push_back(reach_ + (phase - tap * window.dilation) / stride_);
    }
  }

  // The taps that cover column `column + i` (and its successors, `stride` apart): ascending distances from the line's
  // first window. `skipped` windows more lie before the first of them.
  const std::vector<Index>& taps(Index column, Index i) const noexcept {
    return phases_[static_cast<std::size_t>((leading(column) + i) % stride_)];
  }
  Index skipped(Index column, Index i) const noexcept { return (leading(column) + i) / stride_; }

  // A line of windows for a block of columns: the first that any of them might touch, and how many, those beyond the
  // border included.
  Index first_window(Index column) const noexcept { return (column + pad_low_) / stride_ - reach_; }
  Index line_windows(Index columns) const noexcept { return columns / stride_ + 2 + reach_; }

 private:
  Index leading(Index column) const noexcept { return (column + pad_low_) % stride_; }

  Index stride_, pad_low_;
  Index reach_;  // how far back a window's last tap reaches, in windows
  std::vector<std::vector<Index>> phases_;
};

}  // namespace convpool
