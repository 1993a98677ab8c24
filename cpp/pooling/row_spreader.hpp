// The horizontal step backwards: one row of output gradients, scaled, is spread over the input columns it came from;
// every input column sums the windows that cover it, from left to right.
//
//   channels  (inner > 1)  each column sums its windows; lanes are channels.
//   phases    (inner == 1) columns of one stride phase are covered by the same taps: each phase is a sum of runs of the
//                          zero-padded gradient row; the phases are joined again.
//   segments  (inner == 1) adaptive windows: the windows over a column are neighbours.
#pragma once

#include <algorithm>

#include "pooling/window_reduction.hpp"

namespace convpool {

// T: stored type, V: computed type. Scale: `void operator()(const T* gradients, z, y, column, column_step, count,
// V* scaled)`: count neighbours, the i-th of which belongs to window (z, y, column + i * column_step).
template <class T, class V, class Scale>
class RowSpreader {
 public:
  using P = LanePosition<V>;

  RowSpreader(const PoolView& view, const PoolKernels<V>& kernels, const Scale& scale);

  struct Scratch {
    V* line;         // scaled gradients
    V* joined;       // phases before they are joined
    Index* offsets;  // of each tap, channels only
    Range span;      // of the gradient columns read
  };
  Scratch carve(Carver& carver, const RowBlock& largest) const noexcept;
  void prepare(const RowBlock& block, Scratch& scratch) const noexcept;
  // Row (z, y) of the plane of output gradients.
  void reduce(const T* plane, Index z, Index y, const RowBlock& block, const Scratch& scratch, V* out,
              P*) const noexcept;

 private:
  // Columns whose padded position is phase, phase + stride, ...: the windows that cover them, as distances.
  struct Phase {
    Index first_tap, taps;  // in tap_distances_
  };

  static constexpr Index kMostJoined = 4;  // phases a kernel can join; more of them one element at a time

  void make_phases();
  void make_segments();
  bool is_phased() const noexcept { return view_.inner == 1 && !window_.is_adaptive; }
  // First window that any column of the block might touch, the zero padding before it included.
  Index first_window(const RowBlock& block) const noexcept {
    return (block.column + window_.pad_low) / window_.stride - reach_;
  }
  Index line_windows(Index columns) const noexcept { return columns / window_.stride + 2 + reach_; }
  void spread_channels(const RowBlock& block, const Scratch& scratch, V* out) const noexcept;
  void spread_phases(const RowBlock& block, const Scratch& scratch, V* out) const noexcept;
  void sum_phase(Index phase, Index skipped, Index count, const Scratch& scratch, V* out) const noexcept;

  const PoolView& view_;
  const Axis& window_;
  const PoolKernels<V>& kernels_;
  const Scale& scale_;
  Index reach_ = 0;  // how far back a window's last tap reaches, in windows
  std::vector<Phase> phases_;
  std::vector<Index> tap_distances_;   // window = quotient of the padded position + distance, ascending in each phase
  std::vector<Index> first_, counts_;  // of each segment
};

template <class T, class V, class Scale>
RowSpreader<T, V, Scale>::RowSpreader(const PoolView& view, const PoolKernels<V>& kernels, const Scale& scale)
    : view_(view), window_(view.axes[2].window), kernels_(kernels), scale_(scale) {
  if (is_phased()) make_phases();
  else if (view.inner == 1) make_segments();
}

// Window o reads padded position u = q * stride + phase through tap k if o * stride + k * dilation = u: the taps of a
// phase are those with k * dilation = phase (mod stride), and o = q + (phase - k * dilation) / stride.
template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::make_phases() {
  reach_ = window_.dilation * (window_.kernel - 1) / window_.stride + 1;
  for (Index phase = 0; phase < window_.stride; ++phase) {
    const Index before = static_cast<Index>(tap_distances_.size());
    for (Index tap = window_.kernel - 1; tap >= 0; --tap)
      if ((tap * window_.dilation - phase) % window_.stride == 0)
        tap_distances_.push_back(reach_ + (phase - tap * window_.dilation) / window_.stride);
    phases_.push_back({before, static_cast<Index>(tap_distances_.size()) - before});
  }
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::make_segments() {
  for (const Range& windows : view_.axes[2].reads) {
    first_.push_back(windows.first);
    counts_.push_back(windows.count);
  }
}

template <class T, class V, class Scale>
typename RowSpreader<T, V, Scale>::Scratch RowSpreader<T, V, Scale>::carve(Carver& carver,
                                                                           const RowBlock& largest) const noexcept {
  Scratch scratch{};
  const Index windows = is_phased() ? line_windows(largest.columns) : view_.axes[2].longest_span(largest.columns);
  scratch.line = carver.template take<V>(windows * largest.lanes + kernels_.lanes);
  scratch.joined = carver.template take<V>(is_phased() ? largest.columns + kMostJoined * (1 + kernels_.lanes) : 0);
  scratch.offsets = carver.template take<Index>(view_.inner > 1 ? view_.axes[2].most_reads : 0);
  return scratch;
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::prepare(const RowBlock& block, Scratch& scratch) const noexcept {
  scratch.span = view_.axes[2].span({block.column, block.columns});
  if (is_phased()) std::fill_n(scratch.line, line_windows(block.columns) + kernels_.lanes, V{0});
  if (view_.inner == 1) return;
  for (Index tap = 0; tap < view_.axes[2].most_reads; ++tap)
    scratch.offsets[tap] = tap * view_.axes[2].step * block.lanes;
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::reduce(const T* plane, Index z, Index y, const RowBlock& block, const Scratch& scratch,
                                      V* out, P*) const noexcept {
  const ViewAxis& columns = view_.axes[2];
  const Range& span = scratch.span;
  const T* row = plane + (z * view_.axes[1].sources + y) * columns.sources * view_.inner;
  V* line = scratch.line + (is_phased() && span.count > 0 ? span.first - first_window(block) : 0);
  for (Index column = 0; view_.inner > 1 && column < span.count; ++column)
    scale_(row + (span.first + column) * view_.inner + block.lane, z, y, span.first + column, 0, block.lanes,
           line + column * block.lanes);
  if (view_.inner == 1) scale_(row + span.first, z, y, span.first, 1, span.count, line);
  if (view_.inner > 1) return spread_channels(block, scratch, out);
  if (is_phased()) return spread_phases(block, scratch, out);
  if (columns.sources == 1) {
    std::fill_n(out, block.columns, line[0]);
    return;
  }
  kernels_.sum.segments(
      {block.columns, line, first_.data() + block.column, counts_.data() + block.column, span.first, out, 0, nullptr});
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::spread_channels(const RowBlock& block, const Scratch& scratch, V* out) const noexcept {
  for (Index column = 0; column < block.columns; ++column) {
    const Range& windows = view_.axes[2].of(block.column + column);
    V* target = out + column * block.lanes;
    if (windows.count == 0) std::fill_n(target, block.lanes, V{0});
    else
      kernels_.sum.in_row({block.lanes, windows.count,
                           scratch.line + (windows.first - scratch.span.first) * block.lanes, scratch.offsets, target});
  }
}

// target[i] = gradient of the column at padded position (quotient of the block's first + skipped + i) * stride + phase.
template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::sum_phase(Index phase, Index skipped, Index count, const Scratch& scratch,
                                         V* target) const noexcept {
  const Phase& reads = phases_[static_cast<std::size_t>(phase)];
  if (reads.taps == 0 || count <= 0) std::fill_n(target, std::max<Index>(count, 0), V{0});
  else
    kernels_.sum.in_row({count, reads.taps, scratch.line + skipped, tap_distances_.data() + reads.first_tap, target});
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::spread_phases(const RowBlock& block, const Scratch& scratch, V* out) const noexcept {
  const Index stride = window_.stride;
  const Index leading = (block.column + window_.pad_low) % stride;  // phase of the block's first column
  if (stride == 1) return sum_phase(0, 0, block.columns, scratch, out);
  const Index count = ceil_divide(block.columns, stride), pitch = count + kernels_.lanes;
  const bool is_joined = stride <= kMostJoined;
  for (Index i = 0; i < std::min(stride, block.columns); ++i) {
    V* target = scratch.joined + (is_joined ? i * pitch : 0);
    const Index own = ceil_divide(block.columns - i, stride);
    sum_phase((leading + i) % stride, leading + i >= stride, own, scratch, target);
    for (Index j = is_joined ? count - 1 : 0; j < own; ++j) out[i + j * stride] = target[j];
  }
  if (is_joined) kernels_.join_rows(count - 1, stride, scratch.joined, pitch, out);
}

}  // namespace convpool
