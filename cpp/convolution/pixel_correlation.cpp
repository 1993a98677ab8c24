#include <algorithm>
#include <cmath>
#include <type_traits>

#include "convolution/job_list.hpp"
#include "convolution/packed_weights.hpp"
#include "convolution/pixel_matrix.hpp"
#include "convolution/pixel_tiles.hpp"
#include "runtime/interruption.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kRepeats = 2 * kMostTileRows;  // of the last pixel, for a partial tile and the one that it looks at

template <class T>
struct Scratch {
  const T** pixels;
  T** targets;
  T* stage;
  T* result;
  T* weights;             // of one tile: a piece, or some channels of all taps
  MatrixElement* panel;   // of a block of pixels and a piece
  TapSet *reached, *met;  // taps that reach the source from each position of a box, and from some pixel of each tile
  bool* has_begun;        // tiles whose targets hold a sum

  static std::size_t carve(Carver carver, const std::vector<PixelJob>& jobs, Scratch& scratch) {
    Index pixels = 0, stage = 0, result = 0, weights = 0, panel = 0, positions = 0;
    for (const PixelJob& job : jobs) {
      pixels = std::max(pixels, job.cut.most_pixels() + kRepeats);
      stage = std::max(stage, job.stage_elements());
      result = std::max(result, job.result_elements());
      weights = std::max(weights, job.tile_elements());
      panel = std::max(panel, panel_elements(job));
      positions = std::max(positions, job.cut.most_pixels() / job.cut.images());
    }
    scratch.pixels = carver.take<const T*>(pixels);
    scratch.targets = carver.take<T*>(pixels);
    scratch.stage = carver.take<T>(stage);
    scratch.result = carver.take<T>(result);
    scratch.weights = carver.take<T>(weights);
    scratch.panel = carver.take<MatrixElement>(panel);
    scratch.reached = carver.take<TapSet>(positions);
    scratch.met = carver.take<TapSet>(pixels);
    scratch.has_begun = carver.take<bool>(pixels);
    return carver.used();
  }
};

// Weights packed, those of all groups, or as they were given, and the packed bias of one group.
template <class T>
struct Weights {
  const T *packed, *weight, *bias;
  Index group;
};

// Padding is zeros that take part: they may be left out only where no weight is infinite or NaN. A sum that overflows
// only makes the tiles multiply them.
template <class T>
bool has_finite_sum(const ConvKernels<T>& kernels, const T* weights, Index count) noexcept {
  return std::isfinite(kernels.sum_run(weights, count));
}

bool skips_some(const Piece& piece, const TapSet* met, Index tiles) noexcept {
  return std::any_of(met, met + tiles, [&](TapSet taps) { return (taps & piece.taps) == 0; });
}

// All pixels of a box and all pieces of one phase, for one tile of output channels. `base`: channel that the first
// column of the targets is.
template <class T>
void multiply_tile(const PixelJob& job, const ConvKernels<T>& kernels, const TapGroup& group, const PhasePieces& phase,
                   const Weights<T>& weights, Index tile, Index base, const BoxPixels& pixels,
                   const Scratch<T>& scratch) noexcept {
  const Correlation& part = job.set.phases[phase.phase].part;
  const Index vectors = job.tiles.vectors_of(tile), width = vectors * kernels.lanes;
  const Index rows = kernels.pixel_rows[vectors - 1];
  const T* packed = scratch.weights;
  if (job.packing == Packing::ahead)
    packed = weights.packed + job.packed_offsets[phase.phase] +
             weights.group * job.tiles.packed_elements(part.depth()) + job.tiles.packed_offset(tile, part.depth());
  PixelTile<T> call{};
  call.are_far = group.stage.is_in_place();
  call.column = job.tiles.first_column(tile) - base;
  call.last_column = job.tiles.column(job.tiles.first_vector(tile + 1) - 1) - base;
  const T* bias = weights.bias + job.tiles.packed_offset(tile, 1);
  const Index tiles = ceil_divide(pixels.count, rows);
  if (pixels.reach_out) find_met(pixels, rows, scratch.reached, scratch.met);
  else std::fill_n(scratch.met, tiles, kAllTaps);
  std::fill_n(scratch.has_begun, tiles, phase.pieces.front().depth > 0);
  for (const Piece& piece : phase.pieces) {
    call.offsets = group.offsets.data() + piece.first_segment;
    call.segments = piece.segments;
    call.length = piece.length;
    call.weights = packed + place_weights(job, kernels, part, weights.weight, tile, piece, scratch.weights) * width;
    const bool may_skip =
        skips_some(piece, scratch.met, tiles) && has_finite_sum(kernels, call.weights, piece.elements() * width);
    for (Index pixel = 0, next = 0; pixel < pixels.count; pixel += rows, ++next) {
      if (may_skip && (scratch.met[next] & piece.taps) == 0) continue;
      call.start = scratch.has_begun[next] ? nullptr : bias;
      scratch.has_begun[next] = true;
      call.pixels = scratch.pixels + pixel;
      call.targets = scratch.targets + pixel;
      kernels.pixel_tile[vectors - 1](call);
    }
  }
}

// The address of each target of a phase: in the array itself, or among the results of the box.
template <class T>
void locate_targets(const PixelJob& job, const Phase& phase, const PixelBox& box, T* target,
                    const Scratch<T>& scratch) noexcept {
  const PixelBox own = phase.clipped(box), whole = job.set.targets(box);
  Grid grid = job.set.target;
  T* first = target;
  if (job.is_direct) {
    first += box.image * grid.batch_stride;
  } else {
    first = scratch.result;
    grid.axis_stride[2] = job.result_columns();
    grid.axis_stride[1] = whole.count[2] * grid.axis_stride[2];
    grid.axis_stride[0] = whole.count[1] * grid.axis_stride[1];
    grid.batch_stride = whole.count[0] * grid.axis_stride[0];
  }
  for (int axis = 0; axis < kAxes; ++axis) {
    first += ((job.is_direct ? whole.first[axis] : 0) + phase.part.target_phase[axis]) * grid.axis_stride[axis];
    grid.axis_stride[axis] *= phase.part.target_step[axis];
  }
  locate_pixels(own, first, grid.batch_stride, grid.axis_stride, scratch.targets, job.order());
}

// Moves result[target][column] to the targets.
template <class T>
void store_result(const PixelJob& job, const ConvKernels<T>& kernels, const PixelBox& box, const T* result,
                  Index columns, T* target) noexcept {
  const Grid& grid = job.set.target;
  const Index pitch = job.result_columns();
  for_each_target_run(grid, job.set.targets(box), target, [&](T* run, Index first, Index count) {
    kernels.move_block(count, columns, result + first * pitch, pitch, 1, run, grid.axis_stride[2], grid.channel_stride);
  });
}

template <class T>
void repeat_last(T* values, Index count) noexcept {
  std::fill(values + count, values + count + kRepeats, values[count - 1]);
}

// Tiles [first, stop) by products of matrices; false where some of the values cannot be split.
template <class T>
bool multiply_split(const PixelJob& job, const TapGroup& group, const PhasePieces& phase, const Weights<T>& weights,
                    Index pixels, Index base, Index first, Index stop, const Scratch<T>& scratch) noexcept {
  if constexpr (std::is_same_v<T, float>) {
    const float* packed = weights.packed + job.packed_offsets[phase.phase];
    const MatrixColumns columns = columns_of(job, phase.phase, packed, weights.group);
    const MatrixPixels box{scratch.pixels, scratch.targets, pixels, base};
    return columns.least > 0 &&
           multiply_matrices(job, group, phase, columns, weights.bias, box, first, stop, scratch.panel);
  }
  return false;
}

// Tiles [first, stop) of a box, whose source `scratch.stage` holds, and from one group of taps. Returns whether its
// pixels were split, if they may be.
template <class T>
bool multiply_group(const PixelJob& job, const ConvKernels<T>& kernels, const TapGroup& group, const PixelBox& box,
                    const T* source, const Weights<T>& weights, T* target, Index first, Index stop, bool may_split,
                    const Scratch<T>& scratch) noexcept {
  bool were_split = may_split;
  const Index base = job.is_direct ? 0 : job.tiles.first_column(first);
  for (const PhasePieces& pieces : group.phases) {
    const Phase& phase = job.set.phases[pieces.phase];
    const PixelBox own = phase.clipped(box);
    const BoxPixels pixels{own.pixels(), own.images,
                           job.skips_padding && reaches_out(phase.part, own.first, own.count)};
    if (pixels.count == 0) continue;
    group.stage.locate(own, source, scratch.stage, scratch.pixels, job.order());
    if (pixels.reach_out) find_reached(phase.part, own, scratch.reached);
    locate_targets(job, phase, box, target, scratch);
    repeat_last(scratch.pixels, pixels.count);
    repeat_last(scratch.targets, pixels.count);
    const bool splits =
        may_split && multiply_split(job, group, pieces, weights, pixels.count, base, first, stop, scratch);
    were_split &= splits;
    for (Index tile = first; tile < stop && !splits; ++tile)
      multiply_tile(job, kernels, group, pieces, weights, tile, base, pixels, scratch);
  }
  return were_split;
}

template <class T>
void run_task(const PixelJob& job, const ConvKernels<T>& kernels, const T* source, Weights<T> weights, T* target,
              Index task, const Scratch<T>& scratch) noexcept {
  const Correlation& part = job.part();
  const PixelBox box = job.cut.box(part, task % job.cut.boxes());
  const Index first_tile = task / job.cut.boxes() % job.tile_tasks * job.task_tiles;
  const Index stop_tile = std::min(first_tile + job.task_tiles, job.tiles.tiles);
  weights.group = task / job.cut.boxes() / job.tile_tasks;
  source += weights.group * part.channels * part.source.channel_stride;
  weights.weight += weights.group * part.weight_group_stride;
  weights.bias += weights.group * job.tiles.packed_elements(1);
  target += job.set.target_offset + weights.group * part.rows * part.target.channel_stride;
  const auto multiply = [&](const TapGroup& group, Index first, Index stop, bool is_filled, bool may_split) {
    if (!is_filled) group.stage.fill(part, kernels, source, part.channels, box, scratch.stage);
    return multiply_group(job, kernels, group, box, source, weights, target, first, stop, may_split, scratch);
  };
  // Sums over several groups of taps cannot begin anew, so all of their pixels are looked at first.
  bool may_split = job.matrix != nullptr;
  for (const TapGroup& group : job.groups)
    if (job.groups.size() > 1 && may_split) may_split = multiply(group, first_tile, first_tile, false, true);
  for (Index block = first_tile; block < stop_tile; block += job.block_tiles) {
    const Index stop = std::min(block + job.block_tiles, stop_tile);
    for (const TapGroup& group : job.groups) {
      if (is_interrupted()) return;
      multiply(group, block, stop, block > first_tile && job.groups.size() == 1, may_split);
    }
    const Index column = job.tiles.first_column(block);
    if (!job.is_direct)
      store_result(job, kernels, box, scratch.result, job.tiles.stop_column(stop - 1) - column,
                   target + column * part.target.channel_stride);
  }
}

// Phases become one job, other correlations one each.
template <class T>
std::vector<PixelJob> make_jobs(const std::vector<Correlation>& parts, const ConvKernels<T>& kernels,
                                const MatrixKernels* matrix, bool keeps_packed, int threads, Index& packed_elements,
                                Index& tasks) {
  std::vector<PixelJob> jobs;
  const std::size_t step = parts.front().is_phase() ? parts.size() : 1;
  for (std::size_t first = 0; first < parts.size(); first += step) {
    const PhaseSet phases(&parts[first], &parts[first] + step);
    jobs.push_back(make_pixel_job(phases, kernels, matrix, keeps_packed, threads));
    PixelJob& job = jobs.back();
    job.first_task = tasks;
    tasks += job.tasks();
    for (std::size_t phase = 0; phase < job.set.phases.size(); ++phase) {
      job.packed_offsets.push_back(packed_elements);
      packed_elements += matrix == nullptr ? job.packed_elements(phase) : column_elements(job, phase);
    }
  }
  return jobs;
}

// Columns for matrices lie piece by piece, and pieces depend on what the stages of a call look like.
PackingKey piece_key(const std::vector<PixelJob>& jobs) {
  PackingKey key;
  for (const PixelJob& job : jobs)
    for (const TapGroup& group : job.groups)
      for (const PhasePieces& phase : group.phases)
        for (const Piece& piece : phase.pieces)
          key.insert(key.end(), {static_cast<Index>(phase.phase), piece.depth, piece.segments, piece.length});
  return key;
}

template <class T>
void pack_phases(const std::vector<PixelJob>& jobs, const ConvKernels<T>& kernels, const T* weight, T* packed,
                 int threads) {
  for (const PixelJob& job : jobs)
    for (std::size_t i = 0; i < job.set.phases.size(); ++i) {
      T* phase = packed + job.packed_offsets[i];
      if constexpr (std::is_same_v<T, float>)
        if (job.matrix != nullptr) pack_columns(job, kernels, i, weight, phase, threads);
      if (job.packing == Packing::ahead)
        pack_output_tiles(job.set.phases[i].part, job.tiles, kernels, weight, phase, threads);
    }
}

template <class T>
void run(PackedForm form, const ConvKernels<T>& kernels, const MatrixKernels* matrix,
         const std::vector<Correlation>& parts, const T* source, const T* weight, const T* bias, T* target,
         int num_threads) {
  const int threads = num_threads > 0 ? num_threads : default_threads();
  Index packed_elements = 0, tasks = 0, work = 0;
  std::vector<PixelJob> jobs;
  const auto cut = [&](bool keeps_packed) {
    jobs = make_jobs(parts, kernels, matrix, keeps_packed, threads, packed_elements, tasks);
  };
  // Columns for matrices are always packed ahead, in an order that the cut decides; for vectors, the cut depends on
  // whether weights are.
  if (matrix != nullptr) cut(false);
  PackedWeights<T> packed(form, kernels, parts, weight, matrix == nullptr ? PackingKey{} : piece_key(jobs));
  if (matrix == nullptr) cut(packed.are_kept());
  for (const Correlation& part : parts) work += part.groups * part.rows * (part.depth() + 16) * part.pixels() / 16;
  if (tasks == 0) return;
  packed.pack(packed_elements, [&](T* memory) { pack_phases(jobs, kernels, weight, memory, threads); });
  // Parts of one pass have the same target channels.
  const Index groups = parts.front().groups;
  const OutputTiles& tiles = jobs.front().tiles;
  const Workspace bias_memory(1, static_cast<std::size_t>(groups * tiles.packed_elements(1)) * sizeof(T));
  T* packed_bias = reinterpret_cast<T*>(bias_memory.of(0));
  pack_output_bias(tiles, groups, bias, packed_bias);

  const int workers = worker_count(threads, tasks, work);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), jobs, measure));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), jobs, scratch);
    const PixelJob& job = job_of(jobs, task);
    run_task(job, kernels, source, Weights<T>{packed.data(), weight, packed_bias, 0}, target, task - job.first_task,
             scratch);
  });
}

}  // namespace

// Channels first, bringing channels together and apart again pays where several taps read the same copy, where several
// phases make whole rows, or where the weights are much and the pixels few: then each task packs its weights for
// itself. It does not where there are so few channels that their transposes are mostly empty.
bool pixel_tiles_accept(const Correlation& part) {
  constexpr Index kFewChannels = 3, kLeastRows = 8;  // fewer fill no vector of output channels
  constexpr Index kManyWeights = 1 << 16;
  if (phase_count(part) > kMostPhases) return false;
  const bool fills_vectors = part.rows >= kLeastRows;
  if (part.is_channels_last() && fills_vectors) return true;
  if (part.channels <= kFewChannels || part.target.axis_stride[2] != part.target_step[2]) return false;
  if (part.is_phase()) return fills_vectors;
  return part.taps.size() > 1 ||
         (part.rows * part.channels >= kManyWeights && part.pixels() <= kFewPixelBoxes * kBoxPixels);
}

template <class T>
void run_pixel_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                     const T* bias, T* target, int num_threads) {
  run(PackedForm::pixel_tiles, conv_kernels<T>(*table), nullptr, parts, source, weight, bias, target, num_threads);
}

// Of float32 only; a template like those of the other algorithms.
template <class T, int Parts>
void run_matrix_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads) {
  const MatrixSets& sets = *usable_matrices(*table);
  run(Parts == 2 ? PackedForm::bf16x3 : PackedForm::bf16x6, conv_kernels<T>(*table),
      Parts == 2 ? &sets.three : &sets.six, parts, source, weight, bias, target, num_threads);
}

template void run_pixel_tiles(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                              const float*, float*, int);
template void run_pixel_tiles(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                              const double*, double*, int);
template void run_matrix_tiles<float, 2>(const KernelTable*, const std::vector<Correlation>&, const float*,
                                         const float*, const float*, float*, int);
template void run_matrix_tiles<double, 2>(const KernelTable*, const std::vector<Correlation>&, const double*,
                                          const double*, const double*, double*, int);
template void run_matrix_tiles<float, 3>(const KernelTable*, const std::vector<Correlation>&, const float*,
                                         const float*, const float*, float*, int);
template void run_matrix_tiles<double, 3>(const KernelTable*, const std::vector<Correlation>&, const double*,
                                          const double*, const double*, double*, int);

}  // namespace convpool
