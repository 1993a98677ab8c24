// Gradients of the weight: each pixel's channels meet its gradients of the output channels, as outer products
// that are summed over pixels in registers, then in one buffer per task, or in one of all slices.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "convolution/pixel_stage.hpp"
#include "convolution/pixel_tiles.hpp"
#include "convolution/weight_sums.hpp"
#include "runtime/interruption.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kPixels = 256;      // of a box, about
constexpr Index kDepthChunk = 128;  // pixels summed in registers; their gradients lie in the first-level cache
constexpr Index kMostRows = 480;    // taps * input channels of a task
constexpr Index kMostOutputs = 256;
constexpr std::size_t kMostStageBytes = 1 << 20;
constexpr std::size_t kMostOwnBytes = 1 << 20;  // of a task's sums: half of a second-level cache

// How the sums are cut into tasks: a block of input channels with all taps (or one, where they reach far) meets a block
// of output channels.
struct Cut {
  WeightSums sums;
  PixelCut pixels;
  std::vector<PixelStage> stages;
  Index channel_block, channel_blocks, output_block, output_blocks;
  Index boxes_per_slice;
  bool is_direct;               // the weight's sums are made in the gradient itself
  bool is_own;                  // or in memory of the task, which writes them
  const MatrixKernels* matrix;  // products are of matrices; null: of vectors

  Index stage_count() const { return static_cast<Index>(stages.size()); }
  Index group_tasks() const { return stage_count() * channel_blocks * output_blocks; }
  Index tasks() const { return sums.slices * sums.groups * group_tasks(); }
  // Pitch of the weight's rows.
  Index pitch(const Correlation& part) const {
    return is_direct ? part.weight_channel_stride : is_own ? output_block : sums.pitch;
  }
  Index own_elements(const Correlation& part) const {
    return is_own ? static_cast<Index>(part.taps.size()) * channel_block * output_block : 0;
  }
};

PixelStage whole_stage(const Correlation& part, const PixelCut& cut, Index channels) {
  return PixelStage(part, cut, 0, static_cast<Index>(part.taps.size()), channels, PixelStage::Place::scratch);
}

template <class T>
Cut make_cut(const Correlation& part, const ConvKernels<T>& kernels, const MatrixKernels* matrix) {
  Cut cut{};
  cut.matrix = matrix;
  cut.sums = WeightSums(part, kernels.lanes);
  const Index taps = static_cast<Index>(part.taps.size());
  const Index rows = matrix == nullptr ? kernels.gradient_rows : kMatrixRows;
  const Index tiles = ceil_divide(part.channels, rows);  // of input channels
  const Index most_tiles = std::max<Index>(1, kMostRows / taps / rows);
  cut.channel_block = std::min(part.channels, ceil_divide(tiles, ceil_divide(tiles, most_tiles)) * rows);
  cut.channel_blocks = ceil_divide(part.channels, cut.channel_block);
  cut.output_block = std::min(kMostOutputs, cut.sums.pitch);
  cut.output_blocks = ceil_divide(part.rows, cut.output_block);
  const auto exceeds = [&] {
    return static_cast<std::size_t>(whole_stage(part, cut.pixels, cut.channel_block).elements()) * sizeof(T) >
           kMostStageBytes;
  };
  Index wanted = kPixels;
  cut.pixels = PixelCut(part, wanted);
  for (; wanted > kMostTileRows && exceeds(); cut.pixels = PixelCut(part, wanted)) wanted /= 2;
  const Index step = exceeds() ? 1 : taps;
  for (Index tap = 0; tap < taps; tap += step)
    cut.stages.emplace_back(part, cut.pixels, tap, tap + step, cut.channel_block, PixelStage::Place::scratch);
  cut.boxes_per_slice = cut.sums.slice(cut.pixels.boxes(), part.groups * cut.group_tasks());
  cut.is_direct = cut.sums.slices == 1 && part.weight_row_stride == 1 && part.rows % kernels.lanes == 0;
  const std::size_t own_bytes = static_cast<std::size_t>(taps * cut.channel_block * cut.output_block) * sizeof(T);
  cut.is_own = cut.sums.slices == 1 && cut.stages.size() == 1 && !cut.is_direct && own_bytes <= kMostOwnBytes;
  return cut;
}

template <class T>
struct Scratch {
  const T** pixels;
  T* stage;
  T* gradients;
  T *sums, *gathered;              // where they are the task's own
  T** rows;                        // of the sums
  MatrixElement *panel, *columns;  // of some pixels, split

  static std::size_t carve(Carver carver, const Correlation& part, const Cut& cut, Scratch& scratch) {
    Index stage = 0;
    for (const PixelStage& each : cut.stages) stage = std::max(stage, each.elements());
    scratch.pixels = carver.take<const T*>(cut.pixels.most_pixels());
    scratch.stage = carver.take<T>(stage);
    scratch.gradients = carver.take<T>(cut.pixels.most_pixels() * gradient_pitch(cut));
    scratch.sums = carver.take<T>(cut.own_elements(part));
    scratch.gathered = carver.take<T>(cut.is_own ? write_elements(part) : 0);
    const Index parts = cut.matrix == nullptr ? 0 : matrix_steps(kMostMatrixPiece) * cut.matrix->parts;
    const Index vectors = cut.output_block / kMatrixLanes;
    scratch.rows = carver.take<T*>(cut.matrix == nullptr ? 0 : static_cast<Index>(part.taps.size()) * part.channels);
    scratch.panel = carver.take<MatrixElement>(parts * kPanelStep);
    scratch.columns = carver.take<MatrixElement>(parts * vectors * kColumnStep);
    return carver.used();
  }
  // One cache line more than the channels: rows then do not fall into the same sets.
  static Index gradient_pitch(const Cut& cut) { return cut.output_block + static_cast<Index>(kAlignment / sizeof(T)); }
};

// sums[row][output] += for `rows` neighbouring channels at `offset` from the pixels, summed over [first, stop) of them.
template <class T>
void multiply_rows(const ConvKernels<T>& kernels, GradientTile<T> call, Index rows, Index vectors) noexcept {
  for (Index row = 0; row < rows; row += kernels.gradient_rows) {
    const Index tile_rows = std::min<Index>(kernels.gradient_rows, rows - row);
    kernels.gradient_tile[tile_rows - 1][vectors - 1](call);
    call.offset += tile_rows;
    call.sums += tile_rows * call.sums_pitch;
  }
}

// One box of one task: `outputs` is a whole number of vectors.
struct Task {
  Index slice, group, stage, channel, channels, output, outputs;
  Index row, tap_rows, column;  // where its sums begin, and the rows from tap to tap
};

// `sums` of a group and slice, or of the task: [row][output].
template <class T>
void multiply_box(const Cut& cut, const ConvKernels<T>& kernels, const Correlation& part, const Task& task,
                  const std::vector<Segment>& segments, Index pixels, const Scratch<T>& scratch, T* sums) noexcept {
  const Index tile_outputs = kernels.lanes * kernels.channel_vectors;
  const Index chunk = ceil_divide(pixels, ceil_divide(pixels, kDepthChunk));
  GradientTile<T> call{};
  call.pitch = Scratch<T>::gradient_pitch(cut);
  call.sums_pitch = cut.pitch(part);
  for (Index pixel = 0; pixel < pixels; pixel += chunk) {
    call.count = std::min(chunk, pixels - pixel);
    for (Index output = 0; output < task.outputs; output += tile_outputs) {
      const Index vectors = ceil_divide(std::min(tile_outputs, task.outputs - output), kernels.lanes);
      call.gradients = scratch.gradients + pixel * call.pitch + output;
      call.pixels = scratch.pixels + pixel;
      Index row = task.row;
      for (const Segment& segment : segments) {
        call.offset = segment.offset;
        call.sums = sums + row * call.sums_pitch + task.column + output;
        multiply_rows(kernels, call, segment.length, vectors);
        row += std::max(segment.length, task.tap_rows);
      }
    }
  }
}

// The same by products of matrices; false where a value cannot be split.
bool multiply_split(const Cut& cut, const Correlation& part, const Task& task, const std::vector<Segment>& segments,
                    Index pixels, const Scratch<float>& scratch, float* sums) noexcept {
  const Index gradient_pitch = Scratch<float>::gradient_pitch(cut), sums_pitch = cut.pitch(part);
  MatrixGradient call{};
  call.panel = scratch.panel;
  call.columns = scratch.columns;
  call.vectors = task.outputs / kMatrixLanes;
  call.targets = scratch.rows;
  call.column = task.column;
  call.last_column = task.column + task.outputs - kMatrixLanes;
  for (Index pixel = 0; pixel < pixels; pixel += kMostMatrixPiece) {
    call.pixels = scratch.pixels + pixel;
    call.pixel_count = std::min(kMostMatrixPiece, pixels - pixel);
    const Index vector_elements = matrix_steps(call.pixel_count) * cut.matrix->parts * kColumnStep;
    float least = std::numeric_limits<float>::max();
    for (Index v = 0; v < call.vectors; ++v)
      least = std::min(
          least, cut.matrix->split_column({scratch.gradients + pixel * gradient_pitch + v * kMatrixLanes,
                                           gradient_pitch, call.pixel_count, scratch.columns + v * vector_elements}));
    bool were_split = least > 0;
    call.least = were_split ? least_beside(least) : 0;
    Index row = task.row;
    for (const Segment& segment : segments) {
      call.offset = segment.offset;
      call.count = segment.length;
      for (Index i = 0; i < segment.length; ++i) scratch.rows[i] = sums + (row + i) * sums_pitch;
      were_split = were_split && cut.matrix->multiply_gradient(call);
      row += std::max(segment.length, task.tap_rows);
    }
    if (!were_split) return false;
  }
  return true;
}

// grad_output of a box as [pixel][output].
template <class T>
void pack_gradients(const Correlation& part, const ConvKernels<T>& kernels, const PixelBox& box, const T* grad_output,
                    Index count, Index pitch, T* packed) noexcept {
  for_each_target_run(part.target, box, grad_output, [&](const T* run, Index first, Index pixels) {
    kernels.move_block(pixels, count, run, part.target.axis_stride[2], part.target.channel_stride,
                       packed + first * pitch, pitch, 1);
  });
}

Task make_task(const Correlation& part, const Cut& cut, Index lanes, Index index) noexcept {
  Task task;
  task.output = index % cut.output_blocks * cut.output_block;
  index /= cut.output_blocks;
  task.channel = index % cut.channel_blocks * cut.channel_block;
  index /= cut.channel_blocks;
  task.stage = index % cut.stage_count();
  index /= cut.stage_count();
  task.group = index % part.groups;
  task.slice = index / part.groups;
  task.channels = std::min(cut.channel_block, part.channels - task.channel);
  task.outputs = ceil_divide(std::min(cut.output_block, part.rows - task.output), lanes) * lanes;
  task.tap_rows = cut.is_own ? task.channels : part.channels;
  task.row =
      cut.stages[static_cast<std::size_t>(task.stage)].first_tap() * task.tap_rows + (cut.is_own ? 0 : task.channel);
  task.column = cut.is_own ? 0 : task.output;
  return task;
}

// The sums of a task: its rows of every tap.
template <class T>
void clear_sums(const Correlation& part, const Cut& cut, const Task& task, T* sums) noexcept {
  const PixelStage& stage = cut.stages[static_cast<std::size_t>(task.stage)];
  for (Index tap = 0; tap < stage.stop_tap() - stage.first_tap(); ++tap)
    for (Index c = 0; c < task.channels; ++c)
      std::fill_n(sums + (task.row + tap * task.tap_rows + c) * cut.pitch(part) + task.column, task.outputs, T{0});
}

// False where matrices cannot multiply some value, then the sums are not complete.
template <class T>
bool run_task(const Correlation& part, const ConvKernels<T>& kernels, const Cut& cut, const Task& task,
              const std::vector<Segment>& segments, bool splits, const T* source, const T* grad_output, T* sums,
              const Scratch<T>& scratch) noexcept {
  const PixelStage& stage = cut.stages[static_cast<std::size_t>(task.stage)];
  const Index pitch = Scratch<T>::gradient_pitch(cut);
  source += (task.group * part.channels + task.channel) * part.source.channel_stride;
  grad_output += part.target_offset + (task.group * part.rows + task.output) * part.target.channel_stride;
  clear_sums(part, cut, task, sums);
  std::fill_n(scratch.gradients, cut.pixels.most_pixels() * pitch, T{0});  // the lanes past the last channel
  const Index stop = std::min((task.slice + 1) * cut.boxes_per_slice, cut.pixels.boxes());
  for (Index index = task.slice * cut.boxes_per_slice; index < stop && !is_interrupted(); ++index) {
    const PixelBox box = cut.pixels.box(part, index);
    stage.fill(part, kernels, source, task.channels, box, scratch.stage);
    stage.locate(box, source, scratch.stage, scratch.pixels);
    pack_gradients(part, kernels, box, grad_output, std::min(task.outputs, part.rows - task.output), pitch,
                   scratch.gradients);
    if (!splits) multiply_box(cut, kernels, part, task, segments, box.pixels(), scratch, sums);
    if constexpr (std::is_same_v<T, float>)
      if (splits && !multiply_split(cut, part, task, segments, box.pixels(), scratch, sums)) return false;
  }
  return true;
}

template <class T>
void write_own(const Correlation& part, const ConvKernels<T>& kernels, const Cut& cut, const Task& task,
               const Scratch<T>& scratch, T* grad_weight) noexcept {
  const Index outputs = std::min(cut.output_block, part.rows - task.output);
  SumBlock<T> block{};
  block.sums = scratch.sums;
  block.pitch = cut.pitch(part);
  block.tap_rows = task.tap_rows;
  block.slices = 1;
  block.channel = task.channel;
  block.channels = task.channels;
  block.output = task.output;
  block.outputs = outputs;
  write_block(part, kernels, block, scratch.gathered, grad_weight + task.group * part.weight_group_stride);
}

template <class T>
void run(const ConvKernels<T>& kernels, const MatrixKernels* matrix, const Correlation& part, const T* source,
         const T* grad_output, T* grad_weight, int num_threads) {
  const Cut cut = make_cut(part, kernels, matrix);
  // Of each stage, for whole blocks of channels and for the last.
  std::vector<std::vector<Segment>> segments;
  for (const PixelStage& stage : cut.stages)
    for (const Index channels : {cut.channel_block, part.channels - (cut.channel_blocks - 1) * cut.channel_block})
      segments.push_back(stage.segments(part, channels));
  const bool is_shared = !cut.is_direct && !cut.is_own;
  const Workspace sums_memory(1, is_shared ? static_cast<std::size_t>(cut.sums.elements()) * sizeof(T) : 0);
  T* sums = reinterpret_cast<T*>(sums_memory.of(0));
  const int workers =
      worker_count(num_threads, cut.tasks(), part.groups * part.rows * part.depth() * part.pixels() / 16);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), part, cut, measure));
  parallel_for(cut.tasks(), workers, [&](Index index, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), part, cut, scratch);
    const Task task = make_task(part, cut, kernels.lanes, index);
    const bool is_last = task.channel + cut.channel_block >= part.channels;
    T* group_sums = sums + task.slice * cut.sums.slice_elements() + task.group * cut.sums.group_elements();
    if (cut.is_direct) group_sums = grad_weight + task.group * part.weight_group_stride;
    if (cut.is_own) group_sums = scratch.sums;
    const std::vector<Segment>& own = segments[static_cast<std::size_t>(2 * task.stage + (is_last ? 1 : 0))];
    const auto sum = [&](bool splits) {
      return run_task(part, kernels, cut, task, own, splits, source, grad_output, group_sums, scratch);
    };
    if (matrix == nullptr || !sum(true)) sum(false);
    if (cut.is_own) write_own(part, kernels, cut, task, scratch, grad_weight);
  });
  if (is_shared) write_weights(part, kernels, cut.sums, sums, grad_weight, num_threads);
}

}  // namespace

template <class T>
void pixel_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                       T* grad_weight, int num_threads) {
  run(conv_kernels<T>(*table), nullptr, part, source, grad_output, grad_weight, num_threads);
}

template <class T, int Parts>
void matrix_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                        T* grad_weight, int num_threads) {
  const MatrixSets& sets = *usable_matrices(*table);
  run(conv_kernels<T>(*table), Parts == 2 ? &sets.three : &sets.six, part, source, grad_output, grad_weight,
      num_threads);
}

template void pixel_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void pixel_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);

template void matrix_grad_weight<float, 2>(const KernelTable*, const Correlation&, const float*, const float*, float*,
                                           int);
template void matrix_grad_weight<double, 2>(const KernelTable*, const Correlation&, const double*, const double*,
                                            double*, int);
template void matrix_grad_weight<float, 3>(const KernelTable*, const Correlation&, const float*, const float*, float*,
                                           int);
template void matrix_grad_weight<double, 3>(const KernelTable*, const Correlation&, const double*, const double*,
                                            double*, int);

}  // namespace convpool
