#include "pooling/half_scatter.hpp"

#include <vector>

#include "pooling/half.hpp"
#include "pooling/plane_scatter.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kBandElements = 64 * 1024;  // sums of a thread
constexpr Index kRunElements = 1024;        // indices that are passed over together

// Pooled positions of a plane in runs, and the least and largest index of each. Neighbours name places near each other,
// so a band of a plane need not look at most of the runs. Channels last, a run is one of all channels.
template <class I>
class IndexRuns {
 public:
  IndexRuns(const Extents& pooled, const I* indices, int num_threads)
      : plane_(pooled.plane()), width_(pooled.layout == Layout::channels_first ? 1 : pooled.channels),
        positions_(std::max<Index>(kRunElements / width_, 1)), count_(ceil_divide(plane_, positions_)) {
    const Index runs = pooled.elements() / (plane_ * width_) * count_;
    ranges_.resize(static_cast<std::size_t>(runs));
    const int workers = worker_count(num_threads, runs, pooled.elements());
    parallel_for(runs, workers, [&](Index run, int) {
      const I* first = indices + (run / count_ * plane_ + run % count_ * positions_) * width_;
      const I* last = first + std::min(positions_, plane_ - run % count_ * positions_) * width_;
      Bounds bounds{*first, *first};
      for (; first < last; ++first) bounds = {std::min(bounds.least, *first), std::max(bounds.largest, *first)};
      ranges_[static_cast<std::size_t>(run)] = bounds;
    });
  }

  // body(first pooled position, positions) for the runs that may name a position of the band.
  template <class Body>
  void each(const ScatterTask& task, Body&& body) const noexcept {
    const Index plane = task.pooled_offset / (plane_ * width_);
    for (Index run = 0; run < count_; ++run) {
      const Bounds& bounds = ranges_[static_cast<std::size_t>(plane * count_ + run)];
      if (bounds.largest >= task.band_first && bounds.least < task.band_stop)
        body(run * positions_, std::min(positions_, plane_ - run * positions_));
    }
  }

 private:
  struct Bounds {
    I least, largest;
  };
  Index plane_, width_, positions_, count_;
  std::vector<Bounds> ranges_;
};

// Adds gradients of pooled positions [first, first + count) to the sums of a band, `lanes` sums a position.
template <class T, class I>
void add_run(const ScatterTask& task, Index first, Index count, const T* grad_output, const I* indices,
             float* sums) noexcept {
  const Index positions = task.band_stop - task.band_first;
  grad_output += task.pooled_offset + first * task.pitch;
  indices += task.pooled_offset + first * task.pitch;
  for (Index i = 0; i < count; ++i, grad_output += task.pitch, indices += task.pitch)
    for (Index lane = 0; lane < task.lanes; ++lane) {
      const Index position = indices[lane] - task.band_first;
      if (static_cast<std::size_t>(position) < static_cast<std::size_t>(positions))
        sums[position * task.lanes + lane] += grad_output[lane];
    }
}

template <class T>
void round_sums(const ScatterTask& task, const float* sums, T* grad_input) noexcept {
  const Index positions = task.band_stop - task.band_first;
  grad_input += task.full_offset + task.band_first * task.pitch;
  if (task.lanes == task.pitch) return convert(sums, positions * task.lanes, grad_input);
  for (Index position = 0; position < positions; ++position)
    convert(sums + position * task.lanes, task.lanes, grad_input + position * task.pitch);
}

}  // namespace

template <class T, class I>
void scatter_halves(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                    int num_threads) {
  const Index full = geometry.input.elements(), pooled = geometry.output.elements();
  const int threads = worker_count(num_threads, full, full / 2 + pooled);
  const ScatterTasks tasks(geometry.input, geometry.output, threads, kBandElements);
  const int workers = static_cast<int>(std::min<Index>(threads, tasks.count()));
  const bool is_cut = tasks.bands() > 1;
  const IndexRuns<I> runs(is_cut ? geometry.output : Extents{}, indices, threads);
  const std::size_t band = static_cast<std::size_t>(tasks.most_positions() * tasks.most_lanes()) * sizeof(float);
  const Workspace memory(workers, band);
  parallel_for(tasks.count(), workers, [&](Index task, int worker) {
    float* sums = reinterpret_cast<float*>(memory.of(worker));
    tasks.run(task, [&](const ScatterTask& part) {
      const auto add = [&](Index first, Index count) { add_run(part, first, count, grad_output, indices, sums); };
      std::fill_n(sums, (part.band_stop - part.band_first) * part.lanes, 0.0f);
      if (is_cut) runs.each(part, add);
      else add(0, geometry.output.plane());
      round_sums(part, sums, grad_input);
    });
  });
}

#define CONVPOOL_SCATTER_HALVES(T, I) template void scatter_halves(const PoolGeometry&, const T*, const I*, T*, int);
CONVPOOL_SCATTER_HALVES(Float16, std::int32_t)
CONVPOOL_SCATTER_HALVES(Float16, std::int64_t)
CONVPOOL_SCATTER_HALVES(BFloat16, std::int32_t)
CONVPOOL_SCATTER_HALVES(BFloat16, std::int64_t)

}  // namespace convpool
