#include "pooling/half_scatter.hpp"

#include "pooling/half.hpp"
#include "pooling/index_runs.hpp"
#include "pooling/plane_scatter.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kBandElements = 64 * 1024;  // sums of a thread

// Adds gradients of a run of pooled positions to the sums of a band, `lanes` sums a position.
template <class T, class I>
void add_run(const ScatterTask& task, const Range& run, const T* grad_output, const I* indices, float* sums) noexcept {
  const Index positions = task.band_stop - task.band_first;
  grad_output += task.pooled_offset + run.first * task.pitch;
  indices += task.pooled_offset + run.first * task.pitch;
  for (Index i = 0; i < run.count; ++i, grad_output += task.pitch, indices += task.pitch)
    for (Index lane = 0; lane < task.lanes; ++lane) {
      const Index position = indices[lane] - task.band_first;
      if (static_cast<std::size_t>(position) < static_cast<std::size_t>(positions))
        AddGradient{}(sums[position * task.lanes + lane], grad_output[lane], position);
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
  const ScatterTasks tasks(geometry.input, geometry.output, num_threads, full / 2 + pooled,
                           {kBandElements, kBandElements});
  const IndexRuns<I> runs(geometry.output, indices, tasks, num_threads);
  const std::size_t band = static_cast<std::size_t>(tasks.most_positions() * tasks.most_lanes()) * sizeof(float);
  const Workspace memory(tasks.workers(), band);
  parallel_for(tasks.count(), tasks.workers(), [&](Index task, int worker) {
    float* sums = reinterpret_cast<float*>(memory.of(worker));
    tasks.run(task, [&](const ScatterTask& part) {
      std::fill_n(sums, (part.band_stop - part.band_first) * part.lanes, 0.0f);
      runs.each(part, [&](const Range& run) { add_run(part, run, grad_output, indices, sums); });
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
