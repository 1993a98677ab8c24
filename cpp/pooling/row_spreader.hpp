// The horizontal step backwards: rows of output gradients, scaled, are spread over the input columns they came from;
// every input column sums the windows that cover it, from left to right.
//
//   phases    (one channel) columns of one stride phase are covered by the same taps: each phase is a sum of runs of
//   the
//             zero-padded gradient rows, several rows at once; the phases are joined again.
//   channels  each column sums its windows; lanes are channels.
//   segments  (one channel) adaptive windows: the windows over a column are neighbours.
#pragma once

#include <algorithm>

#include "pooling/stride_phases.hpp"
#include "pooling/window_reduction.hpp"

namespace convpool {

// T: stored type, V: computed type. Scale: `void operator()(const T* gradients, z, y, column, columns, lanes, V*
// scaled)` for neighbours: `lanes` channels of each of the windows (z, y, column), ... .
template <class T, class V, class Scale>
class RowSpreader {
 public:
  using P = LanePosition<V>;

  RowSpreader(const PoolView& view, const PoolKernels<V>& kernels, const Scale& scale);

  struct Scratch {
    V* line;     // scaled gradients
    V* joined;   // phases before they are joined
    V* windows;  // partial ones
    Index* offsets;
    typename AxisPass<V>::Scratch columns;
    Range span;  // of the gradient columns read
    Index line_pitch;
  };
  Index pitch(const RowBlock& largest) const noexcept;
  // `span`: most source columns that a block reads.
  Scratch carve(Carver& carver, const RowBlock& largest, Index span) const noexcept;
  void prepare(const RowBlock& block, Index pitch, Scratch& scratch) const noexcept;
  // Rows [first, first + count) of all output gradients.
  void reduce(const T* gradients, Index first, Index count, const RowBlock& block, Index pitch, const Scratch& scratch,
              V* out, P*) const noexcept;
  const P* column_labels(const RowBlock&) const noexcept { return nullptr; }

 private:
  static constexpr Index kLineBytes = 16 * 1024;

  bool is_phased() const noexcept { return view_.inner == 1 && !window_.is_adaptive; }
  Index line_rows(Index pitch) const noexcept {
    return std::max<Index>(kLineBytes / (pitch * static_cast<Index>(sizeof(V))), 1);
  }
  Index line_elements(Index pitch) const noexcept { return line_rows(pitch) * pitch + kernels_.lanes; }
  void scale_rows(const T* gradients, Index first, Index count, const RowBlock& block, const Scratch& scratch, V* line,
                  Index pitch) const noexcept;
  void spread_phases(Index count, const RowBlock& block, Index pitch, const Scratch& scratch, V* out) const noexcept;
  void sum_taps(const std::vector<Index>& taps, Index skipped, Index elements, const Scratch& scratch,
                V* target) const noexcept;
  void spread_row(const RowBlock& block, const Scratch& scratch, V* out) const noexcept;

  const PoolView& view_;
  const Axis& window_;
  const PoolKernels<V>& kernels_;
  const Scale& scale_;
  AxisPass<V> columns_;
  StridePhases phases_;
  std::vector<Index> first_, counts_;  // of each segment
  PartialWindows<V> partial_;          // at stride 1
};

template <class T, class V, class Scale>
RowSpreader<T, V, Scale>::RowSpreader(const PoolView& view, const PoolKernels<V>& kernels, const Scale& scale)
    : view_(view), window_(view.axes[2].window), kernels_(kernels), scale_(scale),
      columns_(view.axes[2], kernels.sum, kernels.lanes, false), phases_(window_),
      partial_(is_phased() && window_.stride == 1 ? window_.kernel : 0, window_.dilation, 0, false, false) {
  for (const Range& windows : view_.axes[2].reads) {
    first_.push_back(windows.first);
    counts_.push_back(windows.count);
  }
}

template <class T, class V, class Scale>
Index RowSpreader<T, V, Scale>::pitch(const RowBlock& largest) const noexcept {
  return is_phased() && window_.stride == 1 ? phases_.line_windows(largest.columns) : largest.elements();
}

template <class T, class V, class Scale>
typename RowSpreader<T, V, Scale>::Scratch RowSpreader<T, V, Scale>::carve(Carver& carver, const RowBlock& largest,
                                                                           Index span) const noexcept {
  Scratch scratch{};
  if (is_phased()) {
    scratch.line_pitch = phases_.line_windows(largest.columns);
    const Index line = line_elements(scratch.line_pitch);
    scratch.line = carver.template take<V>(line * (partial_.are_used() ? 2 : 1));
    scratch.windows = scratch.line == nullptr ? nullptr : scratch.line + line;
    scratch.joined = carver.template take<V>(window_.stride > 1 ? window_.stride * line : 0);
    scratch.offsets = carver.template take<Index>(partial_.are_used() ? partial_.offsets() : 0);
    return scratch;
  }
  scratch.line = carver.template take<V>(span * largest.lanes + kernels_.lanes);
  if (view_.inner > 1) scratch.columns = columns_.carve(carver, largest.columns);
  return scratch;
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::prepare(const RowBlock& block, Index, Scratch& scratch) const noexcept {
  scratch.span = view_.axes[2].span({block.column, block.columns});
  if (is_phased()) std::fill_n(scratch.line, line_elements(scratch.line_pitch), V{0});
  if (partial_.are_used()) partial_.prepare(scratch.windows - scratch.line, scratch.offsets);
  if (view_.inner > 1) columns_.prepare({block.column, block.columns}, block.lanes, scratch.columns);
}

// Scaled gradients of the rows' windows in the block's span, `pitch` elements apart.
template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::scale_rows(const T* gradients, Index first, Index count, const RowBlock& block,
                                          const Scratch& scratch, V* line, Index pitch) const noexcept {
  const Range& span = scratch.span;
  const Index sources = view_.axes[1].sources;
  for (Index row = first; row < first + count; ++row, line += pitch) {
    const Index y = row % sources, z = row / sources % view_.axes[0].sources;
    const T* source = gradients + (row * view_.axes[2].sources + span.first) * view_.inner + block.lane;
    if (block.lanes == view_.inner) {
      scale_(source, z, y, span.first, span.count, block.lanes, line);
      continue;
    }
    for (Index column = 0; column < span.count; ++column)
      scale_(source + column * view_.inner, z, y, span.first + column, 1, block.lanes, line + column * block.lanes);
  }
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::reduce(const T* gradients, Index first, Index count, const RowBlock& block, Index pitch,
                                      const Scratch& scratch, V* out, P*) const noexcept {
  const Index at_once = is_phased() ? line_rows(scratch.line_pitch) : 1;
  const Index shift =
      is_phased() && scratch.span.count > 0 ? scratch.span.first - phases_.first_window(block.column) : 0;
  for (Index row = 0; row < count; row += at_once) {
    const Index some = std::min(at_once, count - row);
    scale_rows(gradients, first + row, some, block, scratch, scratch.line + shift, scratch.line_pitch);
    if (is_phased()) spread_phases(some, block, pitch, scratch, out + row * pitch);
    else spread_row(block, scratch, out + row * pitch);
  }
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::spread_row(const RowBlock& block, const Scratch& scratch, V* out) const noexcept {
  if (view_.inner > 1) {
    columns_.run(scratch.columns, {block.lanes, scratch.line, out, block.lanes});
  } else if (view_.axes[2].sources == 1) {
    std::fill_n(out, block.columns, scratch.line[0]);
  } else {
    kernels_.sum.segments({block.columns, scratch.line, first_.data() + block.column, counts_.data() + block.column,
                           scratch.span.first, out});
  }
}

// target[i] = sum over the taps of windows `skipped` + i of the line; rows follow each other at the pitch of the line.
template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::sum_taps(const std::vector<Index>& taps, Index skipped, Index elements,
                                        const Scratch& scratch, V* target) const noexcept {
  if (taps.empty()) std::fill_n(target, elements, V{0});
  else if (partial_.are_used())
    partial_.reduce(kernels_.sum, scratch.line, elements, scratch.offsets, scratch.windows, nullptr, target, nullptr);
  else kernels_.sum.taps({elements, static_cast<Index>(taps.size()), scratch.line + skipped, taps.data(), target});
}

template <class T, class V, class Scale>
void RowSpreader<T, V, Scale>::spread_phases(Index count, const RowBlock& block, Index pitch, const Scratch& scratch,
                                             V* out) const noexcept {
  const Index stride = window_.stride, line = scratch.line_pitch, step = line_elements(line);
  for (Index i = 0; i < std::min(stride, block.columns); ++i) {
    const Index own = (block.columns - i - 1) / stride + 1;
    sum_taps(phases_.taps(block.column, i), phases_.skipped(block.column, i), (count - 1) * line + own, scratch,
             stride == 1 ? out : scratch.joined + i * step);
  }
  for (Index row = 0; row < count && stride > 1; ++row)
    kernels_.join_rows(block.columns, stride, scratch.joined + row * line, step, out + row * pitch);
}

}  // namespace convpool
