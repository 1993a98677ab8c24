// The horizontal step: rows of windows over rows of the input, for a block of columns and channels.
//
//   phases    rows are copied behind padding, split by stride phase, so that every tap of all windows is a run of
//             neighbours; several rows are then one long run. Lanes are windows (and channels, where there are few).
//   channels  each window reduces its real taps; lanes are channels.
//   segments  (one channel) each window is a run of neighbours of its own: adaptive windows, few or far apart.
//
// Rows are converted to the type that is computed in on the way; rows that need no change are read where they lie.
#pragma once

#include <type_traits>

#include "pooling/axis_pass.hpp"
#include "pooling/partial_windows.hpp"

namespace convpool {

// Output columns [column, column + columns) and channels [lane, lane + lanes) of a row.
struct RowBlock {
  Index column, columns;
  Index lane, lanes;
  Index elements() const noexcept { return columns * lanes; }
};

// T: stored type, V: computed type. Convert has `static constexpr bool kIsCopy` and `V operator()(T) const`, or for a
// run `void operator()(Index count, const T* source, V* target) const`.
template <class T, class V, class Convert>
class RowReducer {
 public:
  using P = LanePosition<V>;

  RowReducer(const PoolView& view, const PoolKernels<V>& kernels, const ReductionKernels<V>& reduction,
             bool has_positions, bool is_idempotent, Convert convert, V padding);

  struct Scratch {
    V* line;
    V* converted;
    V* windows;  // partial ones
    P* window_positions;
    V** targets;     // of each residue, where it goes in the line
    Index* offsets;  // of taps in the line
    typename AxisPass<V>::Scratch columns;
    Range span;  // of input columns
  };

  // Elements from one row of results to the next.
  Index pitch(const RowBlock& largest) const noexcept;
  // `span`: most source columns that a block reads.
  Scratch carve(Carver& carver, const RowBlock& largest, Index span) const noexcept;
  void prepare(const RowBlock& block, Index pitch, Scratch& scratch) const noexcept;

  // Rows [first, first + count) of the whole input. Positions may be null; they are columns, less column_labels().
  void reduce(const T* input, Index first, Index count, const RowBlock& block, Index pitch, const Scratch& scratch,
              V* out, P* positions) const noexcept;
  const P* column_labels(const RowBlock& block) const noexcept {
    return starts_.empty() ? nullptr : starts_.data() + block.column * width_;
  }

 private:
  enum class Method { phases, channels, segments };
  static constexpr Index kLineBytes = 8 * 1024;

  Method choose() const noexcept;
  void make_phases();
  Index phase_length(Index columns) const noexcept {
    return (columns + (taps_ - 1) * axis_.dilation / axis_.stride) * width_;
  }
  Index line_rows(Index pitch) const noexcept {
    const Index row_bytes = (phases_ * pitch + row_elements_) * static_cast<Index>(sizeof(V));
    return std::max<Index>(kLineBytes / row_bytes, 1);
  }
  Index phase_pitch(Index pitch) const noexcept { return line_rows(pitch) * pitch + kernels_.lanes; }
  bool is_in_place(const RowBlock& block, Index count, Index pitch) const noexcept {
    return Convert::kIsCopy && axis_.stride == 1 && !partial_.are_used() && axis_.pad_low == 0 &&
           phase_length(axis_.output) == row_elements_ && block.columns == axis_.output &&
           (count - 1) * pitch + block.elements() >= kernels_.lanes;
  }
  void prepare_phases(const RowBlock& block, Index pitch, Scratch& scratch) const noexcept;
  void reduce_phases(const T* rows, Index count, const RowBlock& block, Index pitch, const Scratch& scratch, V* out,
                     P* positions) const noexcept;
  void reduce_line(const V* line, Index elements, const Scratch& scratch, V* out, P* positions) const noexcept;
  void leave_padding(Index count, const RowBlock& block, Index pitch, P* positions) const noexcept;
  void reduce_channels(const T* row, const RowBlock& block, const Scratch& scratch, V* out,
                       P* positions) const noexcept;
  void reduce_segments(const T* row, const RowBlock& block, const Scratch& scratch, V* out,
                       P* positions) const noexcept;
  void convert(const T* source, Index count, V* target) const noexcept {
    if constexpr (std::is_invocable_v<Convert, Index, const T*, V*>) convert_(count, source, target);
    else
      for (Index i = 0; i < count; ++i) target[i] = convert_(source[i]);
  }
  // Those that a block reads, of some rows: whole rows are one long run.
  void convert_columns(const T* rows, Index count, const Scratch& scratch) const noexcept {
    const Index columns = scratch.span.count * width_;
    if (columns == row_elements_) return convert(rows, count * columns, scratch.converted);
    for (Index row = 0; row < count; ++row)
      convert(rows + row * row_elements_ + scratch.span.first * width_, columns, scratch.converted + row * columns);
  }

  const PoolView& view_;
  const Axis& axis_;
  const PoolKernels<V>& kernels_;
  const ReductionKernels<V>& reduction_;
  AxisPass<V> columns_;
  bool has_positions_;
  Convert convert_;
  V padding_;
  Index width_;         // channels of a column
  Index row_elements_;  // of the input
  Method method_;
  Index taps_;                         // of a whole window
  std::vector<Index> first_, counts_;  // of each segment
  // phases:
  Index phases_ = 0;                // those that any tap meets
  std::vector<Index> phase_slots_;  // of each phase, its place in the line, or -1
  std::vector<P> labels_;           // of each tap: its distance from the first
  std::vector<P> starts_;           // of each element of an output row: the first position of its window
  Index padded_columns_ = 0;        // leading windows that begin in the padding
  PartialWindows<V> partial_;       // at stride 1
};

template <class T, class V, class Convert>
RowReducer<T, V, Convert>::RowReducer(const PoolView& view, const PoolKernels<V>& kernels,
                                      const ReductionKernels<V>& reduction, bool has_positions, bool is_idempotent,
                                      Convert convert, V padding)
    : view_(view), axis_(view.axes[2].window), kernels_(kernels), reduction_(reduction),
      columns_(view.axes[2], reduction, kernels.lanes, has_positions), has_positions_(has_positions), convert_(convert),
      padding_(padding), width_(view.inner), row_elements_(view.axes[2].sources * view.inner), method_(choose()),
      taps_(axis_.is_adaptive ? axis_.largest_window() : axis_.kernel),
      partial_(method_ == Method::phases && axis_.stride == 1 ? taps_ : 0, axis_.dilation * width_,
               static_cast<P>(axis_.dilation), is_idempotent, has_positions) {
  if (method_ == Method::phases) make_phases();
  for (Index window = 0; window < axis_.output && method_ == Method::segments; ++window) {
    first_.push_back(view.axes[2].of(window).first);
    counts_.push_back(view.axes[2].of(window).count);
  }
}

template <class T, class V, class Convert>
typename RowReducer<T, V, Convert>::Method RowReducer<T, V, Convert>::choose() const noexcept {
  constexpr Index kFarApart = 16, kLongWindow = 4096;
  if (width_ > 1) {
    const bool is_narrow = width_ <= kernels_.lanes && axis_.stride == 1 && !axis_.is_adaptive;
    return is_narrow && axis_.kernel_extent() <= kLongWindow ? Method::phases : Method::channels;
  }
  if (axis_.is_adaptive) return Method::segments;
  const bool is_sparse = axis_.stride >= kFarApart || (axis_.output < 4 && axis_.kernel >= kFarApart);
  return axis_.dilation == 1 && (is_sparse || axis_.kernel > kLongWindow) ? Method::segments : Method::phases;
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::make_phases() {
  phase_slots_.assign(static_cast<std::size_t>(axis_.stride), -1);
  for (Index tap = 0; tap < taps_; ++tap) {
    Index& slot = phase_slots_[static_cast<std::size_t>(tap * axis_.dilation % axis_.stride)];
    if (slot < 0) slot = phases_++;
    labels_.push_back(static_cast<P>(tap * axis_.dilation));
  }
  for (Index window = 0; window < axis_.output; ++window) {
    const Index start = window * axis_.stride - axis_.pad_low;
    padded_columns_ += start < 0;
    starts_.insert(starts_.end(), static_cast<std::size_t>(width_), static_cast<P>(start));
  }
}

template <class T, class V, class Convert>
Index RowReducer<T, V, Convert>::pitch(const RowBlock& largest) const noexcept {
  return method_ == Method::phases ? phase_length(largest.columns) : largest.elements();
}

template <class T, class V, class Convert>
typename RowReducer<T, V, Convert>::Scratch RowReducer<T, V, Convert>::carve(Carver& carver, const RowBlock& largest,
                                                                             Index span) const noexcept {
  Scratch scratch{};
  if (method_ == Method::phases) {
    const Index length = pitch(largest), rows = line_rows(length), line = phases_ * phase_pitch(length);
    const Index windows = partial_.are_used() ? phase_pitch(length) : 0;
    scratch.line = carver.template take<V>(line + windows);  // one array: offsets reach from the first to the second
    scratch.windows = scratch.line == nullptr ? nullptr : scratch.line + line;
    scratch.window_positions = carver.template take<P>(has_positions_ ? windows : 0);
    scratch.converted = carver.template take<V>(Convert::kIsCopy ? 0 : rows * span * width_);
    scratch.targets = carver.template take<V*>(axis_.stride);
    scratch.offsets = carver.template take<Index>(partial_.are_used() ? partial_.offsets() : taps_);
    return scratch;
  }
  scratch.converted = carver.template take<V>(Convert::kIsCopy ? 0 : span * largest.lanes + kernels_.lanes);
  if (method_ == Method::channels) scratch.columns = columns_.carve(carver, largest.columns);
  return scratch;
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::prepare(const RowBlock& block, Index pitch, Scratch& scratch) const noexcept {
  scratch.span = view_.axes[2].span({block.column, block.columns});
  if (method_ == Method::phases) prepare_phases(block, pitch, scratch);
  if (method_ == Method::channels)
    columns_.prepare({block.column, block.columns}, Convert::kIsCopy ? width_ : block.lanes, scratch.columns);
}

// The padding is written once for a block: rows only replace the real elements between.
template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::prepare_phases(const RowBlock& block, Index pitch, Scratch& scratch) const noexcept {
  const Index stride = axis_.stride, step = phase_pitch(pitch);
  std::fill_n(scratch.line, phases_ * step, padding_);
  const Index begin = block.column * stride - axis_.pad_low;  // input position of the padded row's first element
  for (Index residue = 0; residue < stride; ++residue) {
    const Index place = scratch.span.first - begin + residue;
    const Index slot = phase_slots_[static_cast<std::size_t>(place % stride)];
    const bool is_read = slot >= 0 && residue < scratch.span.count;
    scratch.targets[residue] = !is_read ? nullptr : scratch.line + slot * step + place / stride * width_;
  }
  if (partial_.are_used()) return partial_.prepare(step, scratch.offsets);
  for (Index tap = 0; tap < taps_; ++tap) {
    const Index place = tap * axis_.dilation, slot = phase_slots_[static_cast<std::size_t>(place % stride)];
    scratch.offsets[tap] = slot * step + place / stride * width_;
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce(const T* input, Index first, Index count, const RowBlock& block, Index pitch,
                                       const Scratch& scratch, V* out, P* positions) const noexcept {
  const T* rows = input + first * row_elements_;
  if (method_ == Method::phases) return reduce_phases(rows, count, block, pitch, scratch, out, positions);
  for (Index row = 0; row < count; ++row) {
    P* places = positions == nullptr ? nullptr : positions + row * pitch;
    if (method_ == Method::channels)
      reduce_channels(rows + row * row_elements_, block, scratch, out + row * pitch, places);
    else reduce_segments(rows + row * row_elements_, block, scratch, out + row * pitch, places);
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_phases(const T* rows, Index count, const RowBlock& block, Index pitch,
                                              const Scratch& scratch, V* out, P* positions) const noexcept {
  const Index at_once = is_in_place(block, count, pitch) ? count : line_rows(pitch);
  for (Index row = 0; row < count; row += at_once) {
    const Index some = std::min(at_once, count - row);
    const T* source = rows + row * row_elements_;
    const V* line = scratch.line;
    if (at_once == count && is_in_place(block, count, pitch)) {
      line = reinterpret_cast<const V*>(source);
    } else {
      const Index columns = scratch.span.count * width_;
      const V* from = scratch.converted;
      if constexpr (Convert::kIsCopy) from = source + scratch.span.first * width_;
      else convert_columns(source, some, scratch);
      kernels_.split_rows({some, columns, from, Convert::kIsCopy ? row_elements_ : columns, axis_.stride,
                           scratch.targets, pitch, padding_});
    }
    P* places = positions == nullptr ? nullptr : positions + row * pitch;
    reduce_line(line, (some - 1) * pitch + block.elements(), scratch, out + row * pitch, places);
    if (places != nullptr) leave_padding(some, block, pitch, places);
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_line(const V* line, Index elements, const Scratch& scratch, V* out,
                                            P* positions) const noexcept {
  if (partial_.are_used())
    return partial_.reduce(reduction_, line, elements, scratch.offsets, scratch.windows, scratch.window_positions, out,
                           positions);
  reduction_.taps({elements, taps_, line, scratch.offsets, out, labels_.data(), nullptr, positions});
}

// A window that begins in the padding may have kept a padded tap (all its elements are as bad as padding): its first
// real element has the same value.
template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::leave_padding(Index count, const RowBlock& block, Index pitch,
                                              P* positions) const noexcept {
  for (Index column = block.column; column < std::min(padded_columns_, block.column + block.columns); ++column) {
    const Index least = view_.axes[2].of(column).first + axis_.pad_low - column * axis_.stride;
    for (Index row = 0; row < count; ++row)
      for (Index lane = 0; lane < width_; ++lane) {
        P& position = positions[row * pitch + (column - block.column) * width_ + lane];
        position = std::max(position, static_cast<P>(least));
      }
  }
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_channels(const T* row, const RowBlock& block, const Scratch& scratch, V* out,
                                                P* positions) const noexcept {
  const Range& span = scratch.columns.span;
  const V* values = scratch.converted;
  const T* source = row + span.first * width_ + block.lane;
  if constexpr (Convert::kIsCopy) {
    values = source;
  } else {
    for (Index x = 0; x < span.count; ++x)
      convert(source + x * width_, block.lanes, scratch.converted + x * block.lanes);
  }
  AxisCall<V> call{block.lanes, values, out, block.lanes};
  call.out_positions = positions;
  call.out_positions_pitch = block.lanes;
  columns_.run(scratch.columns, call);
}

template <class T, class V, class Convert>
void RowReducer<T, V, Convert>::reduce_segments(const T* row, const RowBlock& block, const Scratch& scratch, V* out,
                                                P* positions) const noexcept {
  const V* values = scratch.converted;
  Index shift = scratch.span.first;
  if constexpr (Convert::kIsCopy) {
    values = row;
    shift = 0;
  } else {
    convert(row + shift, scratch.span.count, scratch.converted);
  }
  reduction_.segments(
      {block.columns, values, first_.data() + block.column, counts_.data() + block.column, shift, out, 0, positions});
}

}  // namespace convpool
