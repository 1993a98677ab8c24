// Small windows: every row of windows is reduced straight from the input, without anything kept in memory between.
// Channels first, rows that windows share stay in registers (square windows) or are read again from the cache, which
// costs less than to store what they reduced to; channels last, a window reads all of its elements.
#pragma once

#include "pooling/row_bands.hpp"
#include "pooling/window_reduction.hpp"

namespace convpool {

constexpr Index kMostSmallRows = 9;  // of one window

template <class V>
using SmallWindowsKernel = void (*)(const SmallWindows<V>&);

// Whether windows read whole cost less than one axis after the other: where few rows are shared, loads and stores of
// what rows reduced to are more than those of elements read again. Both add in the same order, so the number of images
// and channels may decide.
inline bool pays_whole_windows(const PoolView& view, Index lanes) noexcept {
  constexpr Index kLeastRows = 8, kMostRow = 1 << 20;  // rows of windows, which are the tasks, and elements of one
  const auto& [deep, high, wide] = view.axes;
  const bool is_narrow = view.inner <= lanes && wide.window.stride == 1;
  for (const ViewAxis& axis : view.axes)
    if (axis.window.is_adaptive || pays_running(axis)) return false;
  if (is_narrow || wide.most_reads > kMostSmallKernel || view.most_rows() > kMostSmallRows ||
      view.outers * deep.targets * high.targets < kLeastRows || wide.targets * view.inner > kMostRow)
    return false;
  const Index z_stride = std::min(deep.window.stride, deep.most_reads);  // no axis reads what lies between windows
  const Index y_stride = std::min(high.window.stride, high.most_reads);
  const Index planes = deep.most_reads > 1 ? z_stride * (high.most_reads + 1) + deep.most_reads : high.most_reads;
  return wide.most_reads * view.most_rows() <= z_stride * y_stride * (wide.most_reads + 1) + planes;
}

// The kernel for the windows of a forward view, or null where there is none.
template <class V>
SmallWindowsKernel<V> small_windows_kernel(const PoolView& view, const SmallWindowsKernels<V>& kernels, Index lanes) {
  if (view.inner > 1) return pays_whole_windows(view, lanes) ? kernels.channels : nullptr;
  const Axis& row = view.axes[2].window;
  const bool is_small = !row.is_adaptive && row.dilation == 1 && row.kernel <= kMostSmallKernel &&
                        row.stride <= kMostSmallKernel && view.most_rows() <= kMostSmallRows;
  return is_small ? kernels.of[row.kernel - 1][row.stride - 1] : nullptr;
}

// Positions that the sink converts wait in scratch memory, a row of windows at least: not for rows that are too long.
template <class Sink>
bool has_scratch_positions(const Sink& sink, bool has_positions) noexcept {
  return has_positions && sink.place_positions(0) == nullptr;
}
template <class Sink>
bool fits_scratch(const PoolView& view, const Sink& sink, bool has_positions) noexcept {
  constexpr Index kMostRow = 64 * 1024;
  return !has_scratch_positions(sink, has_positions) || view.axes[2].targets * view.inner <= kMostRow;
}

template <class V, class Sink>
class SmallWindowsPass {
 public:
  using P = LanePosition<V>;

  SmallWindowsPass(const PoolView& view, SmallWindowsKernel<V> kernel, V padding, bool has_positions, const Sink& sink,
                   int threads)
      : view_(view), kernel_(kernel), padding_(padding), has_positions_(has_positions), sink_(sink),
        bands_(view, most_elements(), threads) {
    for (const Range& rows : view.axes[1].reads) {
      first_.push_back(rows.first * view.axes[2].sources * view.inner);
      counts_.push_back(rows.count);
    }
    if (view.inner == 1) return;
    for (const Range& columns : view.axes[2].reads) {
      column_first_.push_back(columns.first);
      column_counts_.push_back(columns.count);
    }
  }

  Index tasks() const noexcept { return bands_.tasks(); }
  std::size_t scratch_bytes() const noexcept {
    Carver measure;
    carve(measure);
    return measure.used();
  }

  void run(const V* input, Index task, std::byte* memory) const noexcept {
    Carver carver(memory);
    const Scratch scratch = carve(carver);
    bands_.each(task, [&](const RowBand& band) { reduce(input, band, scratch); });
  }

 private:
  struct Scratch {
    V* results;  // where they cannot be written directly
    P* positions;
  };

  void reduce(const V* input, const RowBand& band, const Scratch& scratch) const noexcept {
    FinishedRows<V> rows = target_rows(band, scratch);
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1], &wide = view_.axes[2];
    const Index row = wide.sources * view_.inner, plane = high.sources * row;
    SmallWindows<V> windows{band.y.count,
                            wide.targets,
                            input + band.outer * view_.source_plane() + deep.of(band.z).first * plane,
                            wide.sources,
                            -wide.window.pad_low,
                            first_.data() + band.y.first,
                            counts_.data() + band.y.first,
                            high.length,
                            high.stride,
                            high.step * row,
                            deep.of(band.z).count,
                            deep.step * plane,
                            padding_,
                            rows.values,
                            rows.positions,
                            wide.targets * view_.inner,
                            deep.of(band.z).first * high.sources * wide.sources};
    windows.source_ahead = source_ahead();
    if (is_far_ && view_.inner == 1 && bands_.rows() > 1) windows.out_ahead = bands_.rows() * wide.targets;
    windows.channels = view_.inner;
    windows.x_step = wide.step;
    windows.column_first = column_first_.data();
    windows.column_counts = column_counts_.data();
    sink_.prepare(windows, band.z, band.y.first);
    kernel_(windows);
    sink_.finish(rows);
  }

  // Of a band.
  Index most_elements() const noexcept {
    constexpr Index kMostScratch = 64 << 10;
    const Index elements = strip_elements(view_, sizeof(V));
    return has_scratch_positions(sink_, has_positions_)
               ? std::min(elements, kMostScratch / static_cast<Index>(sizeof(P)))
               : elements;
  }

  Index source_ahead() const noexcept {
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1];
    const Index row = view_.axes[2].sources * view_.inner;
    const bool is_row_by_row = view_.inner > 1 && high.targets > 1;  // channels last, where rows are walked along
    if (view_.inner > 1 && !is_far_) return 0;
    if (is_row_by_row) return high.window.stride * row;
    const bool is_whole_plane = bands_.rows() > 1 && bands_.rows() >= high.targets;
    if (is_whole_plane) return (deep.targets > 1 ? deep.window.stride : deep.sources) * high.sources * row;
    return band_ahead(bands_.rows(), high.window.stride * row, sizeof(V));
  }

  Scratch carve(Carver& carver) const noexcept {
    const Index elements = bands_.rows() * view_.axes[2].targets * view_.inner;
    Scratch scratch{};
    if (sink_.place(0) == nullptr) scratch.results = carver.template take<V>(elements);
    if (has_scratch_positions(sink_, has_positions_)) scratch.positions = carver.template take<P>(elements);
    return scratch;
  }

  FinishedRows<V> target_rows(const RowBand& band, const Scratch& scratch) const noexcept {
    const Index columns = view_.axes[2].targets, row = columns * view_.inner;
    const Index offset = band.outer * view_.target_plane() + (band.z * view_.axes[1].targets + band.y.first) * row;
    V* values = sink_.place(offset);
    P* positions = has_positions_ ? sink_.place_positions(offset) : nullptr;
    return {band.z,
            band.y,
            {0, columns, 0, view_.inner},
            offset,
            row,
            values != nullptr ? values : scratch.results,
            row,
            positions != nullptr ? positions : scratch.positions,
            row};
  }

  const PoolView& view_;
  SmallWindowsKernel<V> kernel_;
  V padding_;
  bool has_positions_;
  const Sink& sink_;
  RowBands bands_;
  bool is_far_ = are_far(view_.elements() * static_cast<Index>(sizeof(V)));
  std::vector<Index> first_, counts_;                // of every row of windows, the rows it reads
  std::vector<Index> column_first_, column_counts_;  // channels last: of every column of windows, the columns
};

// All rows of a pass. `source` is the whole array; the kernel is one of small_windows_kernel().
template <class V, class Sink>
void run_small_windows(const PoolView& view, SmallWindowsKernel<V> kernel, V padding, bool has_positions,
                       const Sink& sink, const V* source, int num_threads) {
  if (view.outers == 0) return;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const SmallWindowsPass<V, Sink> pass(view, kernel, padding, has_positions, sink, threads);
  const int workers = worker_count(threads, pass.tasks(), view.elements());
  const Workspace memory(workers, pass.scratch_bytes());
  parallel_for(pass.tasks(), workers, [&](Index task, int worker) { pass.run(source, task, memory.of(worker)); });
}

}  // namespace convpool
