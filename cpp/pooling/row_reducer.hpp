// The horizontal step: one row of windows over one row of the input, for a block of columns and channels.
//
//   channels  (inner > 1)  each window reduces its real taps; lanes are channels.
//   phases    (inner == 1) the row is copied behind padding, split by stride phase, so that every tap of all windows is
//                          a run of neighbours; lanes are windows.
//   segments  (inner == 1) each window is a run of neighbours of its own: adaptive windows, few or far apart.
//
// Rows are converted to the type that is computed in on the way; a row that needs no change is read where it lies.
#pragma once

#include <algorithm>
#include <type_traits>

#include "pooling/pool_view.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

// Output columns [column, column + columns) and channels [lane, lane + lanes) of a row.
struct RowBlock {
  Index column, columns;
  Index lane, lanes;
  Index elements() const noexcept { return columns * lanes; }
};

// T: stored type, V: computed type. Convert has `V operator()(T) const` and `static constexpr bool kIsCopy`.
template <class T, class V, class Convert>
class RowReducer {
 public:
  using P = LanePosition<V>;

  RowReducer(const PoolView& view, const PoolKernels<V>& kernels, const ReductionKernels<V>& reduction, Convert convert,
             V padding);

  struct Phase {
    Index phase;        // position in the padded row, modulo the stride
    Index first, stop;  // real elements in the phase, for the prepared block
    Index source;       // input position of the first real one
  };

  struct Scratch {
    V* line;
    Phase* phases;
    Index* offsets;  // of each tap, for the prepared block
    Range span;      // of its input positions
  };

  Scratch carve(Carver& carver, const RowBlock& largest) const noexcept {
    V* line = carver.template take<V>(line_elements(largest));
    Phase* phases = carver.template take<Phase>(static_cast<Index>(phases_.size()));
    return {line, phases, carver.template take<Index>(taps_), {}};
  }
  void prepare(const RowBlock& block, Scratch& scratch) const noexcept;

  // Row (z, y) of the plane. Positions may be null.
  void reduce(const T* plane, Index z, Index y, const RowBlock& block, const Scratch& scratch, V* out,
              P* positions) const noexcept;

 private:
  enum class Method { channels, phases, segments };

  static Method choose(const PoolView& view) {
    const Axis& axis = view.axes[2].window;
    if (view.inner > 1) return Method::channels;
    if (axis.is_adaptive) return Method::segments;
    const bool is_sparse = axis.stride >= 16 || (axis.output < 4 && axis.kernel >= 16);
    return axis.dilation == 1 && is_sparse ? Method::segments : Method::phases;
  }
  Index line_elements(const RowBlock& largest) const noexcept;
  void make_phases();
  void prepare_phases(const RowBlock& block, Scratch& scratch) const noexcept;
  Index phase_length(Index columns) const noexcept { return columns + (taps_ - 1) * axis_.dilation / axis_.stride; }
  Index phase_pitch(Index columns) const noexcept { return phase_length(columns) + kernels_.lanes; }
  void split_phases(const T* row, const RowBlock& block, const Scratch& scratch) const noexcept;
  void reduce_phases(const T* row, const RowBlock& block, const Scratch& scratch, P base, V* out,
                     P* positions) const noexcept;
  void reduce_channels(const T* row, const RowBlock& block, const Scratch& scratch, P base, V* out,
                       P* positions) const noexcept;
  void reduce_segments(const T* row, const RowBlock& block, const Scratch& scratch, P base, V* out,
                       P* positions) const noexcept;
  void convert(const T* source, Index count, V* target) const noexcept {
    for (Index i = 0; i < count; ++i) target[i] = convert_(source[i]);
  }
  bool is_in_place(const RowBlock& block) const noexcept {
    return Convert::kIsCopy && (method_ == Method::segments || block.lanes >= kernels_.lanes);
  }

  const PoolView& view_;
  const Axis& axis_;
  const PoolKernels<V>& kernels_;
  const ReductionKernels<V>& reduction_;
  Convert convert_;
  V padding_;
  Method method_;
  Index taps_;                         // of a whole window
  std::vector<P> labels_;              // of each tap: its distance from the first
  std::vector<P> start_, least_;       // of each window: first position, first real position
  std::vector<Index> first_, counts_;  // of each segment
  std::vector<Phase> phases_;
  std::vector<Index> tap_phase_;  // index into phases_
};

template <class T, class V, class Convert>
RowReducer<T, V, Convert>::RowReducer(const PoolView& view, const PoolKernels<V>& kernels,
                                      const ReductionKernels<V>& reduction, Convert convert, V padding)
    : view_(view), axis_(view.axes[2].window), kernels_(kernels), reduction_(reduction), convert_(convert),
      padding_(padding), method_(choose(view)), taps_(axis_.is_adaptive ? axis_.largest_window() : axis_.kernel) {
  for (Index tap = 0; tap < taps_; ++tap) labels_.push_back(static_cast<P>(tap * axis_.dilation));
  if (method_ == Method::channels) return;
  for (Index window = 0; window < axis_.output; ++window) {
    const Range& reads = view.axes[2].of(window);
    start_.push_back(static_cast<P>(window * axis_.stride - axis_.pad_low));
    least_.push_back(static_cast<P>(reads.first));
    first_.push_back(reads.first);
    counts_.push_back(reads.count);
  }
  start_.resize(start_.size() + static_cast<std::size_t>(kernels.lanes));
  least_.resize(least_.size() + static_cast<std::size_t>(kernels.lanes));
  if (method_ == Method::phases) make_phases();
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::make_phases() {
  for (Index tap = 0; tap < taps_; ++tap) {
    const Index phase = tap * axis_.dilation % axis_.stride;
    const auto known =
        std::find_if(phases_.begin(), phases_.end(), [phase](const Phase& p) { return p.phase == phase; });
    tap_phase_.push_back(known - phases_.begin());
    if (known == phases_.end()) phases_.push_back({phase, 0, 0, 0});
  }
}

template <class T, class V, class Convert>
Index RowReducer<T, V, Convert>::line_elements(const RowBlock& largest) const noexcept {
  if (method_ != Method::phases) return view_.axes[2].longest_span(largest.columns) * largest.lanes + kernels_.lanes;
  const Index converted = Convert::kIsCopy ? 0 : axis_.input;  // a row converted before it is split
  return static_cast<Index>(phases_.size()) * phase_pitch(largest.columns) + converted + kernels_.lanes;
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::prepare(const RowBlock& block, Scratch& scratch) const noexcept {
  if (method_ == Method::phases) return prepare_phases(block, scratch);
  scratch.span = view_.axes[2].span({block.column, block.columns});
  const Index pitch = is_in_place(block) ? view_.inner : block.lanes;
  for (Index tap = 0; tap < taps_; ++tap) scratch.offsets[tap] = tap * axis_.dilation * pitch;
}

// The padding of each phase is written once for a block: rows only replace the real elements between.
template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::prepare_phases(const RowBlock& block, Scratch& scratch) const noexcept {
  const Index stride = axis_.stride, length = phase_length(block.columns), pitch = phase_pitch(block.columns);
  const Index begin = block.column * stride - axis_.pad_low;  // input position of the padded row's first element
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    Phase& phase = scratch.phases[i] = phases_[i];
    phase.first = std::clamp<Index>(ceil_divide(-begin - phase.phase, stride), 0, length);
    phase.stop = std::clamp<Index>(ceil_divide(axis_.input - begin - phase.phase, stride), phase.first, length);
    phase.source = begin + phase.phase + phase.first * stride;
    std::fill_n(scratch.line + static_cast<Index>(i) * pitch, pitch, padding_);
  }
  for (Index tap = 0; tap < taps_; ++tap)
    scratch.offsets[tap] = tap_phase_[static_cast<std::size_t>(tap)] * pitch + tap * axis_.dilation / stride;
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce(const T* plane, Index z, Index y, const RowBlock& block, const Scratch& scratch,
                                       V* out, P* positions) const noexcept {
  const Index origin = (z * view_.axes[1].sources + y) * view_.axes[2].sources;
  const T* row = plane + origin * view_.inner;
  const P base = static_cast<P>(origin);
  switch (method_) {
    case Method::channels: return reduce_channels(row, block, scratch, base, out, positions);
    case Method::phases: return reduce_phases(row, block, scratch, base, out, positions);
    case Method::segments: return reduce_segments(row, block, scratch, base, out, positions);
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::split_phases(const T* row, const RowBlock& block,
                                             const Scratch& scratch) const noexcept {
  const Index pitch = phase_pitch(block.columns);
  V* converted = scratch.line + static_cast<Index>(phases_.size()) * pitch;
  if constexpr (!Convert::kIsCopy) convert(row, axis_.input, converted);
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    const Phase& phase = scratch.phases[i];
    V* target = scratch.line + static_cast<Index>(i) * pitch + phase.first;
    if (phase.first == phase.stop) continue;
    if constexpr (Convert::kIsCopy)
      kernels_.split_row(phase.stop - phase.first, row + phase.source, axis_.stride, target);
    else kernels_.split_row(phase.stop - phase.first, converted + phase.source, axis_.stride, target);
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_phases(const T* row, const RowBlock& block, const Scratch& scratch, P base,
                                              V* out, P* positions) const noexcept {
  const V* values = scratch.line;
  const Phase& only = scratch.phases[0];
  const bool is_unpadded = axis_.stride == 1 && only.first == 0 && only.stop == phase_length(block.columns);
  if (is_unpadded && Convert::kIsCopy && block.columns >= kernels_.lanes) {
    values = reinterpret_cast<const V*>(row) + only.source;
  } else {
    split_phases(row, block, scratch);
  }
  reduction_.in_row({block.columns, taps_, values, scratch.offsets, out, labels_.data(), start_.data() + block.column,
                     least_.data() + block.column, base, nullptr, positions});
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_channels(const T* row, const RowBlock& block, const Scratch& scratch, P base,
                                                V* out, P* positions) const noexcept {
  const V* values = scratch.line;
  Index pitch = block.lanes, origin = scratch.span.first;
  if (is_in_place(block)) {
    values = reinterpret_cast<const V*>(row) + block.lane;
    pitch = view_.inner;
    origin = 0;
  } else {
    for (Index x = 0; x < scratch.span.count; ++x)
      convert(row + (origin + x) * view_.inner + block.lane, block.lanes, scratch.line + x * pitch);
  }
  for (Index column = 0; column < block.columns; ++column) {
    const Range& reads = view_.axes[2].of(block.column + column);
    const Index target = column * block.lanes;
    reduction_.in_row({block.lanes, reads.count, values + (reads.first - origin) * pitch, scratch.offsets, out + target,
                       labels_.data(), nullptr, nullptr, static_cast<P>(base + reads.first), nullptr,
                       positions == nullptr ? nullptr : positions + target});
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_segments(const T* row, const RowBlock& block, const Scratch& scratch, P base,
                                                V* out, P* positions) const noexcept {
  const V* values = scratch.line;
  Index shift = scratch.span.first;
  if constexpr (Convert::kIsCopy) {
    values = reinterpret_cast<const V*>(row);
    shift = 0;
  } else {
    convert(row + shift, scratch.span.count, scratch.line);
  }
  reduction_.segments({block.columns, values, first_.data() + block.column, counts_.data() + block.column, shift, out,
                       base, positions});
}

}  // namespace convpool
