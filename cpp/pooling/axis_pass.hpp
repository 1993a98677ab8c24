// A pass along one axis: rows (of whatever lies inside that axis) are reduced over the windows of a block of targets.
#pragma once

#include <algorithm>

#include "pooling/pool_view.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

// One call: source row i of the block's span lies at values + i * pitch.
template <class V>
struct AxisCall {
  Index columns;
  const V* values;
  V* out;
  Index out_pitch;
  // Positions: null where none are asked for. A source row adds base + its place along the axis * unit.
  const LanePosition<V>* positions = nullptr;  // that source rows bring along
  LanePosition<V>* out_positions = nullptr;
  Index out_positions_pitch = 0;
  LanePosition<V> base = 0, unit = 1;
  const LanePosition<V>* column_labels = nullptr;
};

// Where a running reduction costs less than one that reads every tap. It adds in an order of its own.
inline bool pays_running(const ViewAxis& axis) noexcept {
  constexpr Index kLeastLength = 7, kMostLength = 512;
  return axis.length >= kLeastLength * axis.stride && axis.length <= kMostLength;
}

template <class V>
class AxisPass {
 public:
  using P = LanePosition<V>;

  // A row of tap tables for the block, and the tails of running windows.
  struct Scratch {
    Index *first, *counts;
    P* labels;
    V* tails;
    P* tail_positions;
    Range targets, span;
    Index pitch;
  };

  AxisPass(const ViewAxis& axis, const ReductionKernels<V>& reduction, Index vector_lanes, bool has_positions)
      : axis_(axis), reduction_(reduction), vector_lanes_(vector_lanes), has_positions_(has_positions) {}

  bool is_running() const noexcept { return pays_running(axis_); }

  Scratch carve(Carver& carver, Index most_targets) const noexcept {
    Scratch scratch{};
    scratch.first = carver.template take<Index>(most_targets);
    scratch.counts = carver.template take<Index>(most_targets);
    scratch.labels = carver.template take<P>(has_positions_ ? most_targets : 0);
    const Index tails = is_running() ? axis_.length * kRunningVectors * vector_lanes_ : 0;
    scratch.tails = carver.template take<V>(tails);
    scratch.tail_positions = carver.template take<P>(has_positions_ ? tails : 0);
    return scratch;
  }

  // For a block of targets, whose source rows will lie `pitch` elements apart.
  void prepare(Range targets, Index pitch, Scratch& scratch) const noexcept {
    scratch.targets = targets;
    scratch.span = axis_.span(targets);
    scratch.pitch = pitch;
    for (Index i = 0; i < targets.count; ++i) {
      const Range& reads = axis_.of(targets.first + i);
      scratch.first[i] = (reads.first - scratch.span.first) * pitch;
      scratch.counts[i] = reads.count;
    }
  }

  void run(const Scratch& scratch, const AxisCall<V>& call) const noexcept {
    const bool is_nested = call.positions != nullptr;
    if (is_running()) (is_nested ? reduction_.nested_running : reduction_.running)(running_pass(scratch, call));
    else (is_nested ? reduction_.nested_rows : reduction_.rows)(row_pass(scratch, call));
  }

 private:
  RowPass<V> row_pass(const Scratch& scratch, const AxisCall<V>& call) const noexcept {
    for (Index i = 0; i < scratch.targets.count && has_positions_; ++i)
      scratch.labels[i] = static_cast<P>(call.base + axis_.of(scratch.targets.first + i).first * call.unit);
    return {scratch.targets.count,
            call.columns,
            call.values,
            scratch.first,
            scratch.counts,
            axis_.step * scratch.pitch,
            call.out,
            call.out_pitch,
            call.positions,
            scratch.labels,
            static_cast<P>(axis_.step * call.unit),
            call.column_labels,
            call.out_positions,
            call.out_positions_pitch};
  }

  RunningPass<V> running_pass(const Scratch& scratch, const AxisCall<V>& call) const noexcept {
    // Pieces are counted from the first window of the axis, so that a sum does not depend on the block.
    const Index start = scratch.targets.first * axis_.stride, first = axis_.begin - scratch.span.first;
    const auto label = static_cast<P>(call.base + scratch.span.first * call.unit);
    return {scratch.targets.count,
            call.columns,
            scratch.span.count,
            first + start,
            axis_.stride,
            axis_.length,
            first + start / axis_.length * axis_.length,
            call.values,
            scratch.pitch,
            call.out,
            call.out_pitch,
            scratch.tails,
            call.positions,
            label,
            call.unit,
            call.column_labels,
            call.out_positions,
            call.out_positions_pitch,
            scratch.tail_positions};
  }

  const ViewAxis& axis_;
  const ReductionKernels<V>& reduction_;
  Index vector_lanes_;
  bool has_positions_;
};

}  // namespace convpool
