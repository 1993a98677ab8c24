// Gradients of the weight: the transposed product. Rows of the packed source panel (one for each tap and input
// channel) meet grad_output as [pixel][output channel]; the sums over all pixels stay in one buffer per task.
#include <algorithm>

#include "convolution/fetch_ahead.hpp"
#include "convolution/packed_correlation.hpp"
#include "convolution/panel.hpp"
#include "convolution/weight_sums.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostRows = 480;      // of the panel that a task packs
constexpr Index kMostChannels = 256;  // output channels of a task
constexpr Index kDepth = 96;          // pixels summed in registers; their grad_output lies in the first-level cache

// How the sums are cut into tasks.
struct Cut {
  WeightSums sums;
  Index row_block, row_blocks, channel_block, channel_blocks;
  Index blocks_per_slice;

  Index tasks() const { return sums.slices * sums.groups * row_blocks * channel_blocks; }
};

template <class T>
Cut make_cut(const Correlation& part, const ConvKernels<T>& kernels) {
  Cut cut{};
  cut.sums = WeightSums(part, kernels.lanes);
  const Index rows = cut.sums.rows;
  cut.row_block =
      ceil_divide(ceil_divide(rows, ceil_divide(rows, kMostRows)), kernels.gradient_rows) * kernels.gradient_rows;
  cut.row_blocks = ceil_divide(rows, cut.row_block);
  cut.channel_block = std::min(kMostChannels, cut.sums.pitch);
  cut.channel_blocks = ceil_divide(part.rows, cut.channel_block);
  cut.blocks_per_slice = cut.sums.slice(pixel_blocks(part), part.groups * cut.row_blocks * cut.channel_blocks);
  return cut;
}

// grad_output of one block as [pixel][channel], channels [first, first + count) of the group.
template <class T>
void pack_grad_output(const Correlation& part, const ConvKernels<T>& kernels, const T* grad_output,
                      const PixelBlock& block, Index count, Index pitch, T* packed) noexcept {
  for (const Run& run : block)
    kernels.move_block(run.count, count, run_target(part, grad_output, run), part.target.axis_stride[2],
                       part.target.channel_stride, packed + run.column * pitch, pitch, 1);
}

template <class T>
void multiply_block(const ConvKernels<T>& kernels, const T* panel, Index rows, const T* packed, Index packed_pitch,
                    Index channels, Index pixels, T* sums, Index pitch, FetchAhead& ahead) noexcept {
  const Index tile_channels = kernels.lanes * kernels.channel_vectors;
  for (Index pixel = 0; pixel < pixels; pixel += kDepth) {
    const Index depth = std::min(kDepth, pixels - pixel);
    for (Index channel = 0; channel < channels; channel += tile_channels) {
      const Index vectors = ceil_divide(std::min(tile_channels, channels - channel), kernels.lanes);
      for (Index row = 0; row < rows; row += kernels.gradient_rows) {
        const Index tile_rows = std::min<Index>(kernels.gradient_rows, rows - row);
        ahead.next();
        kernels.tile_from_block[tile_rows - 1][vectors - 1](panel + row * kPanelPitch + pixel,
                                                            packed + pixel * packed_pitch + channel, packed_pitch,
                                                            sums + row * pitch + channel, pitch, depth, nullptr);
      }
    }
  }
}

template <class T>
Index tile_calls(const ConvKernels<T>& kernels, Index rows, Index channels, Index pixels) noexcept {
  return ceil_divide(pixels, kDepth) * ceil_divide(channels, kernels.lanes * kernels.channel_vectors) *
         ceil_divide(rows, kernels.gradient_rows);
}

template <class T>
struct Scratch {
  T* panel;
  T* packed;
  static std::size_t carve(Carver carver, const Cut& cut, Scratch& scratch) {
    scratch.panel = carver.take<T>(cut.row_block * kPanelPitch);
    scratch.packed = carver.take<T>(kPanelPixels * scratch_pitch(cut));
    return carver.used();
  }
  // One cache line more than the channels: rows then do not fall into the same sets.
  static Index scratch_pitch(const Cut& cut) { return cut.channel_block + static_cast<Index>(kAlignment / sizeof(T)); }
};

template <class T>
void run_task(const Correlation& part, const ConvKernels<T>& kernels, const Cut& cut, const T* source,
              const T* grad_output, T* sums, Index task, const Scratch<T>& scratch) noexcept {
  const Index channel = task % cut.channel_blocks * cut.channel_block;
  const Index row = task / cut.channel_blocks % cut.row_blocks * cut.row_block;
  const Index group = task / cut.channel_blocks / cut.row_blocks % part.groups;
  const Index slice = task / cut.channel_blocks / cut.row_blocks / part.groups;
  const Index rows = std::min(cut.row_block, cut.sums.rows - row);
  const Index channels = std::min(cut.channel_block, part.rows - channel);
  const Index padded_channels = ceil_divide(channels, kernels.lanes) * kernels.lanes;

  const Index pitch = cut.sums.pitch;
  T* task_sums = sums + slice * cut.sums.slice_elements() + group * cut.sums.group_elements() + row * pitch + channel;
  for (Index r = 0; r < rows; ++r) std::fill(task_sums + r * pitch, task_sums + r * pitch + padded_channels, T{0});
  const Index packed_pitch = Scratch<T>::scratch_pitch(cut);
  std::fill(scratch.packed, scratch.packed + kPanelPixels * packed_pitch, T{0});  // the lanes past the last channel

  const T* group_source = source + group * part.channels * part.source.channel_stride;
  const T* group_grad = grad_output + (group * part.rows + channel) * part.target.channel_stride;
  const Index panel_runs = reads_far_runs(part) ? rows : 0, target_runs = has_far_planes(part.target) ? channels : 0;
  const Index stop_block = std::min((slice + 1) * cut.blocks_per_slice, pixel_blocks(part));
  for (Index index = slice * cut.blocks_per_slice; index < stop_block && !is_interrupted(); ++index) {
    const PixelBlock block(part, index, PixelBlock::Side::source);
    const Index next = std::min(index + 1, stop_block - 1);
    const PixelBlock next_source(part, next, PixelBlock::Side::source);
    const PixelBlock next_target(part, next, PixelBlock::Side::target);
    const auto fetch = [&](Index channel) {
      if (channel < panel_runs) return fetch_panel(part, group_source, next_source, row + channel);
      for (const Run& run : next_target)
        fetch_run(run_target(part, group_grad, run) + (channel - panel_runs) * part.target.channel_stride, run.count);
    };
    FetchAhead ahead(next > index ? panel_runs + target_runs : 0,
                     tile_calls(kernels, rows, padded_channels, block.pixels()), fetch);
    pack_panel(part, kernels, group_source, block, row, row + rows, scratch.panel);
    pack_grad_output(part, kernels, group_grad, PixelBlock(part, index, PixelBlock::Side::target), channels,
                     packed_pitch, scratch.packed);
    multiply_block(kernels, scratch.panel, rows, scratch.packed, packed_pitch, padded_channels, block.pixels(),
                   task_sums, pitch, ahead);
  }
}

}  // namespace

template <class T>
void packed_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                        T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Cut cut = make_cut(part, kernels);
  const Workspace sums_memory(1, static_cast<std::size_t>(cut.sums.elements()) * sizeof(T));
  T* sums = reinterpret_cast<T*>(sums_memory.of(0));
  const int workers = worker_count(num_threads, cut.tasks(), cut.sums.slice_elements() * part.pixels() / 16);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), cut, measure));
  parallel_for(cut.tasks(), workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), cut, scratch);
    run_task(part, kernels, cut, source, grad_output, sums, task, scratch);
  });
  write_weights(part, kernels, cut.sums, sums, grad_weight, num_threads);
}

template void packed_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void packed_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);

}  // namespace convpool
