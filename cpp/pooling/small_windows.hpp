// Channels first, small windows: every row of windows is reduced straight from the input, without anything kept in
// memory between. Rows that windows share stay in registers (square windows) or are read again from the cache, which
// costs less than to store what they reduced to.
#pragma once

#include "pooling/row_bands.hpp"
#include "pooling/window_reduction.hpp"

namespace convpool {

// The kernel for the windows of a forward view, or null where there is none.
template <class V>
auto small_windows_kernel(const PoolView& view, const ReductionKernels<V>& reduction) {
  constexpr Index kMostRows = 9;  // of one window
  const Axis& row = view.axes[2].window;
  const bool is_small = view.inner == 1 && !row.is_adaptive && row.dilation == 1 && row.kernel <= kMostSmallKernel &&
                        row.stride <= kMostSmallKernel && view.most_rows() <= kMostRows;
  return is_small ? reduction.windows.of[row.kernel - 1][row.stride - 1] : nullptr;
}

template <class V, class Sink>
class SmallWindowsPass {
 public:
  using P = LanePosition<V>;
  using Kernel = void (*)(const SmallWindows<V>&);

  SmallWindowsPass(const PoolView& view, Kernel kernel, V padding, bool has_positions, const Sink& sink, int threads)
      : view_(view), kernel_(kernel), padding_(padding), has_positions_(has_positions), sink_(sink),
        bands_(view, kBandElements, threads) {
    for (const Range& rows : view.axes[1].reads) {
      first_.push_back(rows.first * view.axes[2].sources);
      counts_.push_back(rows.count);
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
  static constexpr Index kBandElements = 8 * 1024;

  struct Scratch {
    V* results;  // where they cannot be written directly
    P* positions;
  };

  void reduce(const V* input, const RowBand& band, const Scratch& scratch) const noexcept {
    FinishedRows<V> rows = target_rows(band, scratch);
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1], &wide = view_.axes[2];
    const Index plane = high.sources * wide.sources, base = deep.of(band.z).first * plane;
    SmallWindows<V> windows{band.y.count,
                            wide.targets,
                            input + band.outer * view_.source_plane() + base,
                            wide.sources,
                            -wide.window.pad_low,
                            first_.data() + band.y.first,
                            counts_.data() + band.y.first,
                            high.length,
                            high.stride,
                            high.step * wide.sources,
                            deep.of(band.z).count,
                            deep.step * plane,
                            padding_,
                            rows.values,
                            rows.positions,
                            wide.targets,
                            base};
    sink_.prepare(windows, band.z, band.y.first);
    kernel_(windows);
    sink_.finish(rows);
  }

  Scratch carve(Carver& carver) const noexcept {
    const Index elements = bands_.rows() * view_.axes[2].targets;
    Scratch scratch{};
    if (sink_.place(0) == nullptr) scratch.results = carver.template take<V>(elements);
    if (has_positions_ && sink_.place_positions(0) == nullptr) scratch.positions = carver.template take<P>(elements);
    return scratch;
  }

  FinishedRows<V> target_rows(const RowBand& band, const Scratch& scratch) const noexcept {
    const Index columns = view_.axes[2].targets;
    const Index offset = band.outer * view_.target_plane() + (band.z * view_.axes[1].targets + band.y.first) * columns;
    V* values = sink_.place(offset);
    P* positions = has_positions_ ? sink_.place_positions(offset) : nullptr;
    return {band.z,
            band.y,
            {0, columns, 0, 1},
            offset,
            columns,
            values != nullptr ? values : scratch.results,
            columns,
            positions != nullptr ? positions : scratch.positions,
            columns};
  }

  const PoolView& view_;
  Kernel kernel_;
  V padding_;
  bool has_positions_;
  const Sink& sink_;
  RowBands bands_;
  std::vector<Index> first_, counts_;  // of every row of windows, the rows it reads
};

// All rows of a pass. `source` is the whole array; the kernel is one of small_windows_kernel().
template <class V, class Sink, class Kernel>
void run_small_windows(const PoolView& view, Kernel kernel, V padding, bool has_positions, const Sink& sink,
                       const V* source, int num_threads) {
  if (view.outers == 0) return;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const SmallWindowsPass<V, Sink> pass(view, kernel, padding, has_positions, sink, threads);
  const int workers = worker_count(threads, pass.tasks(), view.elements());
  const Workspace memory(workers, pass.scratch_bytes());
  parallel_for(pass.tasks(), workers, [&](Index task, int worker) { pass.run(source, task, memory.of(worker)); });
}

}  // namespace convpool
