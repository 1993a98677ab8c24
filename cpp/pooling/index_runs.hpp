// Pooled positions of a plane in runs, and the least and largest index of each. Neighbours name places near each other,
// so a band of a plane need not look at most of the runs. Channels last, a run is one of all channels.
#pragma once

#include <algorithm>
#include <vector>

#include "geometry/shape.hpp"
#include "kernels/table.hpp"
#include "pooling/plane_scatter.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

// Least and largest of `count` numbers, at least one.
template <class I>
Bounds<I> bounds_of(const I* numbers, Index count) {
  const KernelTable* table = selected_kernels();
  if constexpr (std::is_same_v<I, std::int32_t>) {
    if (table != nullptr) return table->bounds_i32(count, numbers);
  } else if constexpr (std::is_same_v<I, std::int64_t>) {
    if (table != nullptr) return table->bounds_i64(count, numbers);
  }
  const auto [least, largest] = std::minmax_element(numbers, numbers + count);
  return {*least, *largest};
}

template <class I>
class IndexRuns {
 public:
  // Runs are looked at only where planes are cut into bands.
  IndexRuns(const Extents& pooled, const I* indices, const ScatterTasks& tasks, int num_threads)
      : plane_(pooled.plane()), width_(pooled.layout == Layout::channels_first ? 1 : pooled.channels) {
    if (tasks.bands() == 1 || pooled.elements() == 0) return;
    const Index planes = pooled.elements() / (plane_ * width_);
    positions_ = std::max<Index>({kRunElements / width_, ceil_divide(planes * plane_, kMostRuns), 1});
    count_ = ceil_divide(plane_, positions_);
    const Index runs = planes * count_;
    bounds_.resize(static_cast<std::size_t>(runs));
    const int workers = worker_count(num_threads, runs, pooled.elements());
    parallel_for(runs, workers, [&](Index run, int) {
      const Range positions = run_of(run % count_);
      const I* first = indices + (run / count_ * plane_ + positions.first) * width_;
      bounds_[static_cast<std::size_t>(run)] = bounds_of(first, positions.count * width_);
    });
  }

  // body(pooled positions) for the runs that may name a position of the band.
  template <class Body>
  void each(const ScatterTask& task, Body&& body) const noexcept {
    if (bounds_.empty()) return body(Range{0, plane_});
    const Index plane = task.pooled_offset / (plane_ * width_);
    for (Index run = 0; run < count_; ++run) {
      const Bounds<I>& bounds = bounds_[static_cast<std::size_t>(plane * count_ + run)];
      if (bounds.largest >= task.band_first && bounds.least < task.band_stop) body(run_of(run));
    }
  }

 private:
  static constexpr Index kRunElements = 1024, kMostRuns = 32 * 1024;

  Range run_of(Index run) const noexcept { return {run * positions_, std::min(positions_, plane_ - run * positions_)}; }

  Index plane_, width_, positions_ = 0, count_ = 0;
  std::vector<Bounds<I>> bounds_;
};

}  // namespace convpool
