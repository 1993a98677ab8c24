#include <algorithm>

#include "convolution/job_list.hpp"
#include "convolution/output_tiles.hpp"
#include "convolution/pixel_stage.hpp"
#include "convolution/pixel_tiles.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// Products summed in a register before they are added to the target: bounds the rounding error, and the weights of a
// tile and chunk lie in the first-level cache.
constexpr Index kDepthChunk = 128;
constexpr Index kPixels = 256;      // of a box, about
constexpr Index kManyPixels = 512;  // where the weights do not lie in the second-level cache
constexpr std::size_t kManyWeightBytes = 1 << 20;
constexpr std::size_t kMostStageBytes = 1280 << 10;
constexpr Index kMostBlockColumns = 256;  // output channels of a result that is not written in place
constexpr Index kFewBoxes = 2;            // up to so many pack weights in runs for themselves: nothing leaves the cache
constexpr Index kMostPixelRows = kMostTileRows;

// Part of the depth that one call of a tile sums: `segments` runs of `length` elements.
struct Piece {
  Index first_segment, segments, length, depth;
};

// Taps that are staged together.
struct TapGroup {
  PixelStage stage;
  std::vector<Index> offsets;
  std::vector<Piece> pieces;
};

// Long runs are cut evenly, short ones of one length summed together.
void cut_depth(const Correlation& part, TapGroup& group) {
  Index depth = group.stage.first_tap() * part.channels;
  for (const Segment& segment : group.stage.segments(part, part.channels)) {
    const Index cuts = ceil_divide(segment.length, kDepthChunk), most = ceil_divide(segment.length, cuts);
    for (Index first = 0; first < segment.length; first += most) {
      const Index length = std::min(most, segment.length - first);
      const auto joins = [&](const Piece& last) {
        return last.length == length && (last.segments + 1) * length <= kDepthChunk;
      };
      if (!group.pieces.empty() && joins(group.pieces.back())) ++group.pieces.back().segments;
      else group.pieces.push_back({static_cast<Index>(group.offsets.size()), 1, length, depth});
      group.offsets.push_back(segment.offset + first);
      depth += length;
    }
  }
}

// One correlation, cut into tasks of (group, box of pixels, block of tiles of output channels).
struct Job {
  const Correlation* part;
  PixelCut cut;
  std::vector<TapGroup> groups;
  OutputTiles tiles;
  bool is_direct;     // targets are written where they lie
  bool packs_ahead;   // else each task packs the weights of a tile and piece as it needs them
  Index block_tiles;  // whose results are held at once
  Index task_tiles, tile_tasks;
  Index packed_offset, first_task;

  Index tasks() const { return part->groups * cut.boxes() * tile_tasks; }
  Index packed_elements() const { return packs_ahead ? part->groups * tiles.packed_elements(part->depth()) : 0; }
  Index piece_elements() const {
    return packs_ahead ? 0 : ceil_divide(tiles.vectors, tiles.tiles) * tiles.lanes * (1 + kDepthChunk);
  }
  Index stage_elements() const {
    Index most = 0;
    for (const TapGroup& group : groups) most = std::max(most, group.stage.elements());
    return most;
  }
  Index result_columns() const {
    return is_direct ? 0
                     : std::min(block_tiles * ceil_divide(tiles.vectors, tiles.tiles) + 1, tiles.vectors) * tiles.lanes;
  }
  Index result_elements() const { return result_columns() * cut.most_pixels(); }
};

Index stage_elements(const Correlation& part, Index wanted) {
  return PixelStage(part, PixelCut(part, wanted), 0, static_cast<Index>(part.taps.size()), part.channels,
                    PixelStage::Place::anywhere)
      .elements();
}

// The box whose stage fits its bound; at least a few pixels, which taps that reach far may exceed.
PixelCut make_cut(const Correlation& part, std::size_t element_bytes) {
  const bool has_many_weights = static_cast<std::size_t>(part.rows * part.depth()) * element_bytes > kManyWeightBytes;
  Index wanted = has_many_weights ? kManyPixels : kPixels;
  while (wanted > kMostPixelRows &&
         static_cast<std::size_t>(stage_elements(part, wanted)) * element_bytes > kMostStageBytes)
    wanted /= 2;
  return PixelCut(part, wanted);
}

template <class T>
Job make_job(const Correlation& part, const ConvKernels<T>& kernels, int threads) {
  Job job{&part,
          make_cut(part, sizeof(T)),
          {},
          OutputTiles(part.rows, kernels.lanes, kernels.output_vectors),
          part.target.channel_stride == 1 && part.rows >= kernels.lanes,
          false,
          0,
          0,
          0,
          0,
          0};
  const Index taps = static_cast<Index>(part.taps.size());
  const PixelStage whole(part, job.cut, 0, taps, part.channels, PixelStage::Place::anywhere);
  const Index step = static_cast<std::size_t>(whole.elements()) * sizeof(T) <= kMostStageBytes ? taps : 1;
  for (Index tap = 0; tap < taps; tap += step) {
    job.groups.push_back(
        {PixelStage(part, job.cut, tap, tap + step, part.channels, PixelStage::Place::anywhere), {}, {}});
    cut_depth(part, job.groups.back());
  }
  const Index tile_columns = ceil_divide(job.tiles.vectors, job.tiles.tiles) * kernels.lanes;
  job.block_tiles = job.is_direct ? job.tiles.tiles : std::max<Index>(1, kMostBlockColumns / tile_columns);
  const bool has_runs = part.weight_row_stride == 1 || part.weight_channel_stride == 1;
  job.packs_ahead = job.cut.boxes() > kFewBoxes || !has_runs;
  const Index other_tasks = std::max<Index>(1, part.groups * job.cut.boxes());
  const Index cuts = std::min(job.tiles.tiles, ceil_divide(3 * static_cast<Index>(threads), other_tasks));
  job.task_tiles = ceil_divide(job.tiles.tiles, cuts);
  job.tile_tasks = ceil_divide(job.tiles.tiles, job.task_tiles);
  return job;
}

template <class T>
struct Scratch {
  const T** pixels;
  T** targets;
  T* stage;
  T* result;
  T* weights;  // of one tile and piece

  static std::size_t carve(Carver carver, const std::vector<Job>& jobs, Scratch& scratch) {
    Index pixels = 0, stage = 0, result = 0, weights = 0;
    for (const Job& job : jobs) {
      pixels = std::max(pixels, job.cut.most_pixels() + kMostPixelRows);
      stage = std::max(stage, job.stage_elements());
      result = std::max(result, job.result_elements());
      weights = std::max(weights, job.piece_elements());
    }
    scratch.pixels = carver.take<const T*>(pixels);
    scratch.targets = carver.take<T*>(pixels);
    scratch.stage = carver.take<T>(stage);
    scratch.result = carver.take<T>(result);
    scratch.weights = carver.take<T>(weights);
    return carver.used();
  }
};

// Weights and bias of one group: packed, or as they were given.
template <class T>
struct Weights {
  const T *packed, *weight, *bias;
};

// All pixels of the box and all pieces of one group of taps, for one tile of output channels. `base`: channel that the
// first column of the targets is.
template <class T>
void multiply_tile(const Job& job, const ConvKernels<T>& kernels, const TapGroup& group, const Weights<T>& weights,
                   Index tile, Index base, Index pixels, const Scratch<T>& scratch) noexcept {
  const Index vectors = job.tiles.vectors_of(tile), width = vectors * kernels.lanes;
  const Index rows = kernels.pixel_rows[vectors - 1];
  const T* packed =
      job.packs_ahead ? weights.packed + job.tiles.packed_offset(tile, job.part->depth()) : scratch.weights;
  if (!job.packs_ahead) pack_output_bias(job.tiles, weights.bias, tile, scratch.weights);
  PixelTile<T> call{};
  call.column = job.tiles.first_column(tile) - base;
  call.last_column = job.tiles.column(job.tiles.first_vector(tile + 1) - 1) - base;
  for (const Piece& piece : group.pieces) {
    call.offsets = group.offsets.data() + piece.first_segment;
    call.segments = piece.segments;
    call.length = piece.length;
    call.weights = packed + (job.packs_ahead ? 1 + piece.depth : 1) * width;
    if (!job.packs_ahead)
      pack_output_depth(*job.part, job.tiles, kernels, weights.weight, tile, piece.depth,
                        piece.depth + piece.segments * piece.length, scratch.weights + width);
    call.start = piece.depth == 0 ? packed : nullptr;
    for (Index pixel = 0; pixel < pixels; pixel += rows) {
      call.pixels = scratch.pixels + pixel;
      call.targets = scratch.targets + pixel;
      kernels.pixel_tile[vectors - 1](call);
    }
  }
}

// Moves result[pixel][column] to the targets.
template <class T>
void store_result(const Correlation& part, const ConvKernels<T>& kernels, const PixelBox& box, const T* result,
                  Index pitch, Index columns, T* target) noexcept {
  for_each_target_run(part, box, target, [&](T* run, Index first, Index count) {
    kernels.move_block(count, columns, result + first * pitch, pitch, 1, run, part.target.axis_stride[2],
                       part.target.channel_stride);
  });
}

template <class T>
void repeat_last(T* values, Index count) noexcept {
  std::fill(values + count, values + count + kMostPixelRows, values[count - 1]);
}

template <class T>
void run_task(const Job& job, const ConvKernels<T>& kernels, const T* source, Weights<T> weights, T* target, Index task,
              const Scratch<T>& scratch) noexcept {
  const Correlation& part = *job.part;
  const PixelBox box = job.cut.box(part, task % job.cut.boxes());
  const Index first_tile = task / job.cut.boxes() % job.tile_tasks * job.task_tiles;
  const Index stop_tile = std::min(first_tile + job.task_tiles, job.tiles.tiles);
  const Index group = task / job.cut.boxes() / job.tile_tasks, pixels = box.pixels();
  source += group * part.channels * part.source.channel_stride;
  weights.packed += job.packed_offset + group * job.tiles.packed_elements(part.depth());
  weights.weight += group * part.weight_group_stride;
  if (weights.bias != nullptr) weights.bias += group * part.rows;
  target += part.target_offset + group * part.rows * part.target.channel_stride;
  for (Index block = first_tile; block < stop_tile; block += job.block_tiles) {
    const Index stop = std::min(block + job.block_tiles, stop_tile);
    const Index base = job.is_direct ? 0 : job.tiles.first_column(block), pitch = job.result_columns();
    if (job.is_direct) locate_targets(part, box, target, scratch.targets);
    else
      for (Index i = 0; i < pixels; ++i) scratch.targets[i] = scratch.result + i * pitch;
    repeat_last(scratch.targets, pixels);
    for (const TapGroup& taps : job.groups) {
      if (is_interrupted()) return;
      if (block == first_tile || job.groups.size() > 1) {
        taps.stage.fill(part, kernels, source, part.channels, box, scratch.stage);
        taps.stage.locate(box, source, scratch.stage, scratch.pixels);
        repeat_last(scratch.pixels, pixels);
      }
      for (Index tile = block; tile < stop; ++tile)
        multiply_tile(job, kernels, taps, weights, tile, base, pixels, scratch);
    }
    if (!job.is_direct)
      store_result(part, kernels, box, scratch.result, pitch, job.tiles.stop_column(stop - 1) - base,
                   target + base * part.target.channel_stride);
  }
}

}  // namespace

// Channels first, bringing channels together and apart again pays where several taps read the same copy, unless there
// are so few channels that their transposes are mostly empty.
bool pixel_tiles_accept(const Correlation& part) {
  constexpr Index kFewChannels = 3, kLeastRows = 8;  // fewer fill no vector of output channels
  return (part.is_channels_last() && part.rows >= kLeastRows) ||
         (part.taps.size() > 1 && part.channels > kFewChannels && part.target.axis_stride[2] == 1);
}

template <class T>
void run_pixel_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                     const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const int threads = num_threads > 0 ? num_threads : default_threads();
  std::vector<Job> jobs;
  Index packed_elements = 0, tasks = 0, work = 0;
  for (const Correlation& part : parts) {
    jobs.push_back(make_job(part, kernels, threads));
    jobs.back().packed_offset = packed_elements;
    jobs.back().first_task = tasks;
    packed_elements += jobs.back().packed_elements();
    tasks += jobs.back().tasks();
    work += part.groups * part.rows * part.depth() * part.pixels() / 16;
  }
  if (tasks == 0) return;
  const Workspace packed_memory(1, static_cast<std::size_t>(packed_elements) * sizeof(T));
  T* packed = reinterpret_cast<T*>(packed_memory.of(0));
  for (const Job& job : jobs)
    if (job.packs_ahead)
      pack_output_tiles(*job.part, job.tiles, kernels, weight, bias, packed + job.packed_offset, threads);

  const int workers = worker_count(threads, tasks, work);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), jobs, measure));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), jobs, scratch);
    const Job& job = job_of(jobs, task);
    run_task(job, kernels, source, Weights<T>{packed, weight, bias}, target, task - job.first_task, scratch);
  });
}

template void run_pixel_tiles(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                              const float*, float*, int);
template void run_pixel_tiles(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                              const double*, double*, int);

}  // namespace convpool
