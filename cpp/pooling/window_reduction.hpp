// A pooling pass in two steps: every source row is reduced along x once per tile (by a Reducer such as RowReducer),
// then the reduced rows that a target row reads are reduced from top to bottom. Strict comparisons in this order find
// the first maximum in row-major order.
//
// A task is a tile of target rows (of several planes where planes are small). The reduced rows a tile needs stay within
// kTileBytes, in slots by position; where not even those of one target row fit they are reduced in chunks, each row
// anew for every target row. Neither tiles nor chunks change the order of a reduction.
#pragma once

#include "pooling/row_reducer.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

constexpr Index kTileBytes = 256 * 1024;

// How the output of a pass is cut into tasks.
struct Tiling {
  Index outers, z, y, columns, lanes;  // extents of one tile
  Index z_span, y_span;                // input rows that a tile may read
  Index slots;                         // reduced rows kept
  bool is_chunked;                     // one window's rows do not fit the slots

  Index tasks(const PoolView& view) const;
};

struct SlotElement {
  Index bytes;         // of a value and its position
  Index vector_lanes;  // rows are whole vectors
};
Tiling make_tiling(const PoolView& view, const SlotElement& element, int threads);

// One task's share of the output.
struct Tile {
  Range outers, z, y;
  RowBlock row;
};
Tile tile_at(const PoolView& view, const Tiling& tiling, Index task) noexcept;

// Sink: where results go. `V* place(Index offset, row)` and `P* place_positions(...)` return the final address of a row
// if results can be written there directly, else null; finish() is told of every finished row.
template <class Reducer, class V, class Sink>
class WindowReduction {
 public:
  using P = LanePosition<V>;

  WindowReduction(const PoolView& view, const Reducer& reducer, const ReductionKernels<V>& reduction,
                  Index vector_lanes, bool has_positions, const Sink& sink, int threads)
      : view_(view), reducer_(reducer), reduction_(reduction), has_positions_(has_positions), sink_(sink),
        tiling_(make_tiling(view, {static_cast<Index>(sizeof(V) + (has_positions ? sizeof(P) : 0)), vector_lanes},
                            threads)),
        pitch_(ceil_divide(tiling_.columns * tiling_.lanes, vector_lanes) * vector_lanes),
        chunk_(tiling_.is_chunked ? tiling_.slots : std::min(tiling_.slots, view.most_rows())) {}

  std::size_t scratch_bytes() const noexcept {
    Carver measure;
    carve(measure);
    return measure.used();
  }
  Index tasks() const { return tiling_.tasks(view_); }

  template <class T>
  void run(const T* input, Index task, std::byte* memory) const noexcept {
    Carver carver(memory);
    Scratch scratch = carve(carver);
    const Tile tile = tile_at(view_, tiling_, task);
    reducer_.prepare(tile.row, scratch.row);
    scratch.z0 = view_.axes[0].span(tile.z).first;
    scratch.y0 = view_.axes[1].span(tile.y).first;
    for (Index outer = tile.outers.first; outer < tile.outers.stop(); ++outer) {
      std::fill_n(scratch.is_ready, tiling_.slots, false);
      for (Index z = tile.z.first; z < tile.z.stop(); ++z)
        for (Index y = tile.y.first; y < tile.y.stop(); ++y)
          reduce_row(input + outer * view_.source_plane(), outer, z, y, tile.row, scratch);
    }
  }

 private:
  struct Scratch {
    typename Reducer::Scratch row;
    V* values;  // slots, then two rows that carry a chunked result on, then a finished row
    P* positions;
    bool* is_ready;
    Index* offsets;
    Index z0, y0;  // input position of slot 0
  };

  Scratch carve(Carver& carver) const noexcept {
    const Index elements = (tiling_.slots + 3) * pitch_;
    Scratch scratch{};
    scratch.row = reducer_.carve(carver, {0, tiling_.columns, 0, tiling_.lanes});
    scratch.values = carver.template take<V>(elements);
    scratch.positions = carver.template take<P>(has_positions_ ? elements : 0);
    scratch.is_ready = carver.template take<bool>(tiling_.slots);
    scratch.offsets = carver.template take<Index>(chunk_ + 1);
    return scratch;
  }

  P* positions_at(const Scratch& scratch, Index offset) const noexcept {
    return has_positions_ ? scratch.positions + offset : nullptr;
  }

  // Reduces input row (z, y) into a slot unless it is there already; returns the slot's offset.
  template <class T>
  Index reduced_row(const T* plane, Index z, Index y, Index in_chunk, const RowBlock& block,
                    Scratch& scratch) const noexcept {
    const Index slot = tiling_.is_chunked ? in_chunk : (z - scratch.z0) * tiling_.y_span + (y - scratch.y0);
    const Index offset = slot * pitch_;
    if (!tiling_.is_chunked && scratch.is_ready[slot]) return offset;
    scratch.is_ready[slot] = true;
    row_at(plane, z, y, block, scratch, scratch.values + offset, positions_at(scratch, offset));
    return offset;
  }

  template <class T>
  void row_at(const T* plane, Index z, Index y, const RowBlock& block, const Scratch& scratch, V* out,
              P* positions) const noexcept {
    reducer_.reduce(plane, z, y, block, scratch.row, out, positions);
  }

  void reduce_slots(Index taps, Index elements, const Scratch& scratch, V* out, P* positions) const noexcept {
    reduction_.over_rows({elements, taps, scratch.values, scratch.offsets, out, nullptr, nullptr, nullptr, 0,
                          scratch.positions, positions});
  }

  template <class T>
  void reduce_row(const T* plane, Index outer, Index z, Index y, const RowBlock& block,
                  Scratch& scratch) const noexcept {
    const Index target = outer * view_.target_plane() +
                         ((z * view_.axes[1].targets + y) * view_.axes[2].targets + block.column) * view_.inner +
                         block.lane;
    const Index spare = (tiling_.slots + 2) * pitch_;
    V* out = sink_.place(target, block);
    P* positions = has_positions_ ? sink_.place_positions(target, block) : nullptr;
    if (out == nullptr) out = scratch.values + spare;
    if (positions == nullptr) positions = positions_at(scratch, spare);
    reduce_window_rows(plane, z, y, block, scratch, out, positions);
    sink_.finish(z, y, target, block, out, positions);
  }

  template <class T>
  void reduce_window_rows(const T* plane, Index z, Index y, const RowBlock& block, Scratch& scratch, V* out,
                          P* positions) const noexcept {
    const Range& deep = view_.axes[0].of(z);
    const Range& high = view_.axes[1].of(y);
    if (deep.count == 0 || high.count == 0) {
      std::fill_n(out, block.elements(), V{0});  // backward only: every window reads something
      return;
    }
    if (view_.most_rows() == 1) return row_at(plane, deep.first, high.first, block, scratch, out, positions);
    Index taps = 0, carry = 0;
    for (Index tz = 0; tz < deep.count; ++tz)
      for (Index ty = 0; ty < high.count; ++ty) {
        if (taps == chunk_) {
          // The two carry rows take turns: a reduction must not read where it writes.
          const Index offset = (tiling_.slots + carry) * pitch_;
          reduce_slots(taps, block.elements(), scratch, scratch.values + offset, positions_at(scratch, offset));
          scratch.offsets[0] = offset;
          taps = 1;
          carry = 1 - carry;
        }
        scratch.offsets[taps] = reduced_row(plane, deep.first + tz * view_.axes[0].step,
                                            high.first + ty * view_.axes[1].step, taps, block, scratch);
        ++taps;
      }
    reduce_slots(taps, block.elements(), scratch, out, positions);
  }

  const PoolView& view_;
  const Reducer& reducer_;
  const ReductionKernels<V>& reduction_;
  bool has_positions_;
  const Sink& sink_;
  Tiling tiling_;
  Index pitch_;  // elements between slots
  Index chunk_;  // rows reduced together
};

// All tasks of a pass. `source` is the whole array.
template <class V, class Reducer, class Sink, class T>
void run_windows(const PoolView& view, const Reducer& reducer, const ReductionKernels<V>& reduction, Index vector_lanes,
                 bool has_positions, const Sink& sink, const T* source, int num_threads) {
  if (view.outers == 0) return;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const WindowReduction<Reducer, V, Sink> pass(view, reducer, reduction, vector_lanes, has_positions, sink, threads);
  const int workers = worker_count(threads, pass.tasks(), view.elements());
  const Workspace memory(workers, pass.scratch_bytes());
  parallel_for(pass.tasks(), workers, [&](Index task, int worker) { pass.run(source, task, memory.of(worker)); });
}

// Calls body(first element in the row, offset in the output, count) for every stretch of neighbours of a row block.
template <class Body>
void for_each_stretch(const RowBlock& block, Index inner, Body&& body) noexcept {
  if (block.lanes == inner) return body(Index{0}, Index{0}, block.elements());
  for (Index column = 0; column < block.columns; ++column) body(column * block.lanes, column * inner, block.lanes);
}

}  // namespace convpool
