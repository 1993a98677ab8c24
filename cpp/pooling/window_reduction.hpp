// A pooling pass, one axis after the other: source rows are reduced along x (by a Reducer such as RowReducer), the
// reduced rows from top to bottom, and these from front to back. Strict comparisons in this order find the first
// maximum in row-major order.
//
// A task is a tile of target rows (of several planes where planes are small); what it keeps between the steps stays in
// the caches next to the core. Tiles do not change the order of a reduction.
#pragma once

#include "pooling/row_reducer.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

// How the output of a pass is cut into tasks.
struct Tiling {
  Index outers, z, y, columns, lanes;  // extents of one tile
  Index z_span, y_span, x_span;        // input rows and columns that a tile may read
  Index planes;                        // reduced together
  bool is_chunked;                     // one window's rows are too many to keep

  Index tasks(const PoolView& view) const;
};

// element_bytes: of a value and its position.
Tiling make_tiling(const PoolView& view, Index element_bytes, int threads);

// One task's share of the output.
struct Tile {
  Range outers, z, y;
  RowBlock row;
};
Tile tile_at(const PoolView& view, const Tiling& tiling, Index task) noexcept;

// Finished rows of results, `pitch` elements apart, and where the first of them goes in the output.
template <class V>
struct FinishedRows {
  Index z;
  Range y;
  RowBlock block;
  Index offset, output_pitch;
  V* values;
  Index pitch;
  LanePosition<V>* positions;
  Index positions_pitch;
};

// Sink: where results go. `V* place(Index offset)` and `P* place_positions(offset)` return the final address if rows
// can be written there directly, else null; finish() is told of all finished rows.
template <class Reducer, class V, class Sink>
class WindowReduction {
 public:
  using P = LanePosition<V>;

  WindowReduction(const PoolView& view, const Reducer& reducer, const ReductionKernels<V>& reduction,
                  Index vector_lanes, bool has_positions, const Sink& sink, int threads)
      : view_(view), reducer_(reducer), reduction_(reduction), has_positions_(has_positions), sink_(sink),
        tiling_(make_tiling(view, static_cast<Index>(sizeof(V) + (has_positions ? sizeof(P) : 0)), threads)),
        along_z_(view.axes[0], reduction, vector_lanes, has_positions),
        along_y_(view.axes[1], reduction, vector_lanes, has_positions),
        pitch_(reducer.pitch({0, tiling_.columns, 0, tiling_.lanes})), has_z_(view.axes[0].most_reads > 1) {}

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
    reducer_.prepare(tile.row, pitch_, scratch.row);
    if (tiling_.is_chunked) return run_chunked(input, tile, scratch);
    along_y_.prepare(tile.y, pitch_, scratch.y);
    along_z_.prepare(tile.z, tile.y.count * pitch_, scratch.z);
    const Index rows = scratch.z.span.count * scratch.y.span.count;
    for (Index outer = tile.outers.first; outer < tile.outers.stop(); outer += tiling_.planes) {
      const Index planes = std::min(tiling_.planes, tile.outers.stop() - outer);
      reduce_sources(input, {outer, planes}, tile, scratch);
      for (Index plane = 0; plane < planes; ++plane) reduce_plane(outer + plane, plane * rows * pitch_, tile, scratch);
    }
  }

 private:
  struct Scratch {
    typename Reducer::Scratch row;
    typename AxisPass<V>::Scratch z, y;
    V *rows, *columns, *results;  // reduced along x; along y too; finished, where they cannot be written directly
    P *row_positions, *column_positions, *result_positions;
  };

  Scratch carve(Carver& carver) const noexcept {
    Scratch scratch{};
    scratch.row = reducer_.carve(carver, {0, tiling_.columns, 0, tiling_.lanes}, tiling_.x_span);
    scratch.z = along_z_.carve(carver, tiling_.z);
    scratch.y = along_y_.carve(carver, tiling_.y);
    const Index kept = (tiling_.planes * tiling_.z_span * tiling_.y_span + (tiling_.is_chunked ? 1 : 0)) * pitch_;
    const Index halves = has_z_ && !tiling_.is_chunked ? tiling_.z_span * tiling_.y * pitch_ : 0;
    const Index finished = std::max(tiling_.y, tiling_.z) * tiling_.columns * tiling_.lanes;
    scratch.rows = carver.template take<V>(kept);
    scratch.columns = carver.template take<V>(halves);
    scratch.results = carver.template take<V>(finished);
    if (!has_positions_) return scratch;
    scratch.row_positions = carver.template take<P>(kept);
    scratch.column_positions = carver.template take<P>(halves);
    scratch.result_positions = carver.template take<P>(finished);
    return scratch;
  }

  // Among the rows of all planes.
  Index source_row(Index outer, Index z, Index y) const noexcept {
    return (outer * view_.axes[0].sources + z) * view_.axes[1].sources + y;
  }
  static P* at(P* positions, Index offset) noexcept { return positions == nullptr ? nullptr : positions + offset; }

  // Reduces the source rows that a tile reads along x.
  template <class T>
  void reduce_sources(const T* input, Range planes, const Tile& tile, const Scratch& scratch) const noexcept {
    const Range &deep = scratch.z.span, &high = scratch.y.span;
    const auto reduce = [&](Index first, Index count, Index slot) {
      reducer_.reduce(input, first, count, tile.row, pitch_, scratch.row, scratch.rows + slot * pitch_,
                      at(scratch.row_positions, slot * pitch_));
    };
    const Index first = source_row(planes.first, deep.first, 0);
    if (planes.count > 1) return reduce(first, planes.count * deep.count * high.count, 0);
    for (Index z = 0; z < deep.count; ++z) {
      const Index base = first + z * view_.axes[1].sources, slot = z * high.count - high.first;
      if (!view_.axes[1].has_gaps()) {
        reduce(base + high.first, high.count, slot + high.first);
        continue;
      }
      for (Index y = tile.y.first; y < tile.y.stop(); ++y) {
        const Range& reads = view_.axes[1].of(y);
        reduce(base + reads.first, reads.count, slot + reads.first);
      }
    }
  }

  // From rows reduced along x, at `offset` of the scratch, to the output.
  void reduce_plane(Index outer, Index offset, const Tile& tile, const Scratch& scratch) const noexcept {
    if (has_z_) return reduce_deep_plane(outer, offset, tile, scratch);
    for (Index z = tile.z.first; z < tile.z.stop(); ++z) {
      FinishedRows<V> rows = target_rows(outer, z, tile.y, tile.row, scratch);
      const Range& deep = view_.axes[0].of(z);
      if (deep.count == 0) {
        fill_zeros(rows);
      } else {
        const Index plane = offset + (deep.first - scratch.z.span.first) * scratch.y.span.count * pitch_;
        AxisCall<V> call = last_call(rows, scratch.rows + plane, at(scratch.row_positions, plane));
        call.base = static_cast<P>(deep.first * view_.axes[1].sources * view_.axes[2].sources);
        call.unit = static_cast<P>(view_.axes[2].sources);
        along_y_.run(scratch.y, call);
      }
      sink_.finish(rows);
    }
  }

  void reduce_deep_plane(Index outer, Index offset, const Tile& tile, const Scratch& scratch) const noexcept {
    const Index pooled = tile.y.count * pitch_;
    for (Index z = 0; z < scratch.z.span.count; ++z) {
      const Index plane = offset + z * scratch.y.span.count * pitch_;
      AxisCall<V> call{tile.row.elements(), scratch.rows + plane, scratch.columns + z * pooled, pitch_};
      call.positions = at(scratch.row_positions, plane);
      call.out_positions = at(scratch.column_positions, z * pooled);
      call.out_positions_pitch = pitch_;
      call.unit = static_cast<P>(view_.axes[2].sources);
      along_y_.run(scratch.y, call);
    }
    for (Index y = 0; y < tile.y.count; ++y) {
      const Index row = tile.y.first + y;
      FinishedRows<V> first = target_rows(outer, tile.z.first, {row, 1}, tile.row, scratch);
      const Index next_z = view_.axes[1].targets * view_.axes[2].targets * view_.inner;
      const bool is_direct = sink_.place(first.offset) != nullptr;
      AxisCall<V> call = last_call(first, scratch.columns + y * pitch_, at(scratch.column_positions, y * pitch_));
      call.unit = static_cast<P>(view_.axes[1].sources * view_.axes[2].sources);
      call.out_pitch = is_direct ? next_z : tile.row.elements();
      call.out_positions_pitch = sink_.place_positions(first.offset) != nullptr ? next_z : tile.row.elements();
      along_z_.run(scratch.z, call);
      for (Index z = 0; z < tile.z.count; ++z) {
        FinishedRows<V> rows = target_rows(outer, tile.z.first + z, {row, 1}, tile.row, scratch);
        rows.values = call.out + z * call.out_pitch;
        rows.positions = at(call.out_positions, z * call.out_positions_pitch);
        sink_.finish(rows);
      }
    }
  }

  // Where rows `y` of output plane z are to be made.
  FinishedRows<V> target_rows(Index outer, Index z, Range y, const RowBlock& block,
                              const Scratch& scratch) const noexcept {
    const Index row = view_.axes[2].targets * view_.inner;
    const Index offset = outer * view_.target_plane() + (z * view_.axes[1].targets + y.first) * row +
                         block.column * view_.inner + block.lane;
    FinishedRows<V> rows{z, y, block, offset, row, sink_.place(offset), row, nullptr, row};
    if (rows.values == nullptr) {
      rows.values = scratch.results;
      rows.pitch = block.elements();
    }
    if (has_positions_) rows.positions = sink_.place_positions(offset);
    if (has_positions_ && rows.positions == nullptr) {
      rows.positions = scratch.result_positions;
      rows.positions_pitch = block.elements();
    }
    return rows;
  }

  AxisCall<V> last_call(const FinishedRows<V>& rows, const V* values, const P* positions) const noexcept {
    AxisCall<V> call{rows.block.elements(), values, rows.values, rows.pitch};
    call.positions = positions;
    call.out_positions = rows.positions;
    call.out_positions_pitch = rows.positions_pitch;
    call.column_labels = has_positions_ ? reducer_.column_labels(rows.block) : nullptr;
    return call;
  }

  void fill_zeros(const FinishedRows<V>& rows) const noexcept {
    for (Index y = 0; y < rows.y.count; ++y) std::fill_n(rows.values + y * rows.pitch, rows.block.elements(), V{0});
  }

  // Windows of more rows than a tile can keep: each row of windows for itself, in chunks; what a chunk reduces to is
  // the first row of the next.
  template <class T>
  void run_chunked(const T* input, const Tile& tile, Scratch& scratch) const noexcept {
    for (Index outer = tile.outers.first; outer < tile.outers.stop(); ++outer)
      for (Index z = tile.z.first; z < tile.z.stop(); ++z)
        for (Index y = tile.y.first; y < tile.y.stop(); ++y) {
          FinishedRows<V> rows = target_rows(outer, z, {y, 1}, tile.row, scratch);
          reduce_in_chunks(input, outer, rows, scratch);
          sink_.finish(rows);
        }
  }

  template <class T>
  void reduce_in_chunks(const T* input, Index outer, const FinishedRows<V>& rows,
                        const Scratch& scratch) const noexcept {
    const Range &deep = view_.axes[0].of(rows.z), &high = view_.axes[1].of(rows.y.first);
    const Index most = tiling_.y_span;
    const Index taps = deep.count * high.count;
    if (taps == 0) return fill_zeros(rows);
    Index kept = 0;
    for (Index tap = 0; tap < taps; ++tap) {
      const Index z = deep.first + tap / high.count * view_.axes[0].step;
      const Index y = high.first + tap % high.count * view_.axes[1].step;
      const Index slot = kept * pitch_, origin = z * view_.axes[1].sources + y;
      reducer_.reduce(input, source_row(outer, z, y), 1, rows.block, pitch_, scratch.row, scratch.rows + slot,
                      at(scratch.row_positions, slot));
      for (Index i = 0; has_positions_ && i < rows.block.elements(); ++i)
        scratch.row_positions[slot + i] += static_cast<P>(origin * view_.axes[2].sources);
      const bool is_last = tap + 1 == taps;
      if (++kept < most && !is_last) continue;
      if (is_interrupted()) return;
      reduce_chunk(kept, is_last, rows, scratch);
      kept = 1;
    }
  }

  void reduce_chunk(Index count, bool is_last, const FinishedRows<V>& rows, const Scratch& scratch) const noexcept {
    AxisCall<V> call = last_call(rows, scratch.rows, scratch.row_positions);
    if (!is_last) {
      const Index spare = tiling_.y_span * pitch_;  // a reduction must not read where it writes
      call.out = scratch.rows + spare;
      call.out_positions = at(scratch.row_positions, spare);
      call.column_labels = nullptr;
    }
    const Index first = 0;
    const P label = 0;
    const RowPass<V> pass{1,
                          call.columns,
                          call.values,
                          &first,
                          &count,
                          pitch_,
                          call.out,
                          call.out_pitch,
                          call.positions,
                          &label,
                          0,
                          call.column_labels,
                          call.out_positions,
                          call.out_positions_pitch};
    (has_positions_ ? reduction_.nested_rows : reduction_.rows)(pass);
    if (is_last) return;
    std::copy_n(call.out, call.columns, scratch.rows);
    if (has_positions_) std::copy_n(call.out_positions, call.columns, scratch.row_positions);
  }

  const PoolView& view_;
  const Reducer& reducer_;
  const ReductionKernels<V>& reduction_;
  bool has_positions_;
  const Sink& sink_;
  Tiling tiling_;
  AxisPass<V> along_z_, along_y_;
  Index pitch_;  // elements between reduced rows
  bool has_z_;
};

// All tasks of a pass. `source` is the whole array.
template <class V, class Reducer, class Sink, class T>
void run_windows(const PoolView& view, const Reducer& reducer, const ReductionKernels<V>& reduction, Index vector_lanes,
                 bool has_positions, const Sink& sink, const T* source, int num_threads) {
  if (view.outers == 0) return;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const WindowReduction<Reducer, V, Sink> pass(view, reducer, reduction, vector_lanes, has_positions, sink, threads);
  constexpr Index kTall = 7;
  // In elements moved: what is summed in another type is converted on both sides, tall windows are gone through twice.
  const Index cost = !std::is_same_v<T, V> ? 4 : view.most_rows() > kTall ? 2 : 1;
  const int workers = worker_count(threads, pass.tasks(), cost * view.elements());
  const Workspace memory(workers, pass.scratch_bytes());
  parallel_for(pass.tasks(), workers, [&](Index task, int worker) { pass.run(source, task, memory.of(worker)); });
}

}  // namespace convpool
