#include "convolution/packed_correlation.hpp"

#include <algorithm>

#include "convolution/fetch_ahead.hpp"
#include "convolution/job_list.hpp"
#include "convolution/packed_weights.hpp"
#include "convolution/panel.hpp"
#include "convolution/weight_tiles.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// Products summed in a register before they are added to the tile: bounds the rounding error, and a panel of this depth
// lies in the first-level cache one tile of pixels at a time.
constexpr Index kDepthChunk = 128;
constexpr Index kMostTaskRows = 256;  // target channels a task keeps in its result block

// One correlation, cut into tasks of (group, block of rows, block of pixels).
struct Job {
  const Correlation* part;
  RowTiles tiles;
  Index packed_offset;  // of its weights in the packed buffer
  Index task_rows;      // multiple of the tile's rows
  Index row_tasks, pixel_tasks;
  Index first_task;

  Index tasks() const { return part->groups * row_tasks * pixel_tasks; }
};

Index rows_per_task(const Correlation& part, const RowTiles& tiles, int threads) {
  const Index wanted_tasks = 3 * static_cast<Index>(threads);
  const Index other_tasks = std::max<Index>(part.groups * pixel_blocks(part), 1);
  const Index cuts = std::max(ceil_divide(wanted_tasks, other_tasks), ceil_divide(part.rows, kMostTaskRows));
  const Index tile_count = ceil_divide(part.rows, tiles.tile_rows);
  return ceil_divide(tile_count, std::min(cuts, tile_count)) * tiles.tile_rows;
}

std::vector<Job> make_jobs(const std::vector<Correlation>& parts, Index largest_rows, int threads) {
  std::vector<Job> jobs;
  Index packed = 0, tasks = 0;
  for (const Correlation& part : parts) {
    const RowTiles tiles(part.rows, largest_rows);
    const Index task_rows = rows_per_task(part, tiles, threads);
    jobs.push_back({&part, tiles, packed, task_rows, ceil_divide(part.rows, task_rows), pixel_blocks(part), tasks});
    packed += packed_weight_elements(part);
    tasks += jobs.back().tasks();
  }
  return jobs;
}

// Where the rows of a block are summed: in a result block, or in the target itself.
template <class T>
struct Result {
  T* rows;
  Index pitch;
};

// A block that is one run of whole vectors is summed where it lies.
template <class T>
Result<T> place_result(const Correlation& part, const ConvKernels<T>& kernels, const PixelBlock& targets, T* target,
                       T* scratch) noexcept {
  const bool is_direct =
      targets.end() - targets.begin() == 1 && part.target.axis_stride[2] == 1 && targets.pixels() % kernels.lanes == 0;
  if (!is_direct) return {scratch, kPanelPitch};
  return {run_target(part, target, *targets.begin()), part.target.channel_stride};
}

// result[row][pixel] += packed weights * panel, for one chunk of the depth; the first one adds to the bias instead.
template <class T>
void multiply_chunk(const Job& job, const ConvKernels<T>& kernels, const T* packed, const T* panel, const T* bias,
                    Index first_row, Index stop_row, Index first_depth, Index depth, Index pixels,
                    const Result<T>& result, FetchAhead& ahead) noexcept {
  static constexpr T kZeros[kMostTileRows] = {};
  const Index whole_depth = job.part->depth();
  const Index tile_pixels = kernels.lanes * kernels.pixel_vectors;
  for (Index pixel = 0; pixel < pixels; pixel += tile_pixels) {
    const Index vectors = ceil_divide(std::min(tile_pixels, pixels - pixel), kernels.lanes);
    for (Index row = first_row; row < stop_row; row += job.tiles.tile_rows) {
      const Index rows = job.tiles.rows_at(row);
      ahead.next();
      const T* start = first_depth > 0 ? nullptr : bias == nullptr ? kZeros : bias + row;
      kernels.tile_from_weights[rows - 1][vectors - 1](
          packed + row * whole_depth + first_depth * rows, panel + pixel, kPanelPitch,
          result.rows + (row - first_row) * result.pitch + pixel, result.pitch, depth, start);
    }
  }
}

template <class T>
void run_task(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* packed, const T* bias, T* target,
              Index task, T* panel, T* scratch) noexcept {
  const Correlation& part = *job.part;
  const PixelBlock block(part, task % job.pixel_tasks, PixelBlock::Side::source);
  const PixelBlock targets(part, task % job.pixel_tasks, PixelBlock::Side::target);
  const Index group = task / job.pixel_tasks / job.row_tasks;
  const Index first_row = task / job.pixel_tasks % job.row_tasks * job.task_rows;
  const Index stop_row = std::min(first_row + job.task_rows, part.rows);
  const T* group_source = source + group * part.channels * part.source.channel_stride;
  const T* group_packed = packed + job.packed_offset + group * part.rows * part.depth();
  const T* group_bias = bias == nullptr ? nullptr : bias + group * part.rows;
  T* task_target = target + (group * part.rows + first_row) * part.target.channel_stride;
  const Result<T> result = place_result(part, kernels, targets, task_target, scratch);
  const Index next = task % job.pixel_tasks + 1, depth = part.depth();
  const PixelBlock next_block(part, std::min(next, job.pixel_tasks - 1), PixelBlock::Side::source);
  // Not where targets are much larger than the source: they are fetched, too.
  const bool fetches = reads_far_runs(part) && 2 * part.step[2] * part.channels >= part.rows;
  const Index tiles = ceil_divide(block.pixels(), kernels.lanes * kernels.pixel_vectors) *
                      ceil_divide(stop_row - first_row, job.tiles.tile_rows);
  for (Index first = 0; first < depth && !is_interrupted(); first += kDepthChunk) {
    const Index stop = std::min(first + kDepthChunk, depth), next_first = stop < depth ? stop : 0;
    const bool has_next = stop < depth || next < job.pixel_tasks;
    const auto fetch = [&](Index channel) {
      fetch_panel(part, group_source, stop < depth ? block : next_block, next_first + channel);
    };
    FetchAhead ahead(fetches && has_next ? std::min(kDepthChunk, depth - next_first) : 0, tiles, fetch);
    pack_panel(part, kernels, group_source, block, first, stop, panel);
    multiply_chunk(job, kernels, group_packed, panel, group_bias, first_row, stop_row, first, stop - first,
                   block.pixels(), result, ahead);
  }
  if (result.rows != scratch) return;
  for (const Run& run : targets)
    kernels.move_block(stop_row - first_row, run.count, scratch + run.column, kPanelPitch, 1,
                       run_target(part, task_target, run), part.target.channel_stride, part.target.axis_stride[2]);
}

}  // namespace

template <class T>
void run_packed(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const std::vector<Job> jobs = make_jobs(parts, kernels.weight_rows, threads);
  const Index tasks = jobs.back().first_task + jobs.back().tasks();
  if (tasks == 0) return;
  Index work = 0, most_rows = 0;
  for (const Job& job : jobs) {
    work += packed_weight_elements(*job.part) * job.part->pixels() / 16;
    most_rows = std::max(most_rows, job.task_rows);
  }
  PackedWeights<T> packed(PackedForm::packed_tiles, kernels, parts, weight);
  packed.pack(jobs.back().packed_offset + packed_weight_elements(*jobs.back().part), [&](T* memory) {
    for (const Job& job : jobs)
      pack_weights(*job.part, kernels, job.tiles.tile_rows, job.part->channels, weight, memory + job.packed_offset,
                   threads);
  });

  const int workers = worker_count(threads, tasks, work);
  const auto carve = [most_rows](Carver carver, T*& panel, T*& result) {
    panel = carver.take<T>(kDepthChunk * kPanelPitch);
    result = carver.take<T>(most_rows * kPanelPitch);
    return carver.used();
  };
  T *panel, *result;
  const Workspace scratch(workers, carve(Carver(), panel, result));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    T *worker_panel, *worker_result;
    carve(Carver(scratch.of(worker)), worker_panel, worker_result);
    const Job& job = job_of(jobs, task);
    run_task(job, kernels, source, packed.data(), bias, target, task - job.first_task, worker_panel, worker_result);
  });
}

template void run_packed(const KernelTable*, const std::vector<Correlation>&, const float*, const float*, const float*,
                         float*, int);
template void run_packed(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                         const double*, double*, int);

}  // namespace convpool
