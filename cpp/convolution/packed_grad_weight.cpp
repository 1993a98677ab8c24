// Gradients of weight and bias: the transposed product. Rows of the packed source panel (one for each tap and input
// channel) meet grad_output as [pixel][output channel]; the sums over all pixels stay in one buffer per task.
// The bias is the weight of one more input channel that is 1 everywhere, so its gradient is one more row.
#include <algorithm>

#include "convolution/packed_correlation.hpp"
#include "convolution/panel.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostRows = 320;         // of the panel that a task packs
constexpr Index kMostChannels = 256;     // output channels of a task
constexpr Index kDepth = 96;             // pixels summed in registers; their grad_output lies in the first-level cache
constexpr Index kWantedTasks = 16;       // enough for any thread count: the slices must not depend on it
constexpr Index kMostSliceElements = 1 << 21;

// How the sums [slice][group][row][channel] are cut into tasks.
struct Cut {
  Index first_row, rows;  // rows of the whole problem: taps * channels, then one for the bias
  Index row_block, row_blocks, channel_block, channel_blocks;
  Index pitch;            // of the sums, in elements
  Index groups, slices, blocks_per_slice;

  Index group_elements() const { return rows * pitch; }
  Index slice_elements() const { return groups * group_elements(); }
  Index tasks() const { return slices * groups * row_blocks * channel_blocks; }
};

template <class T>
Cut make_cut(const Correlation& part, const ConvKernels<T>& kernels, bool needs_weight, bool needs_bias) {
  Cut cut{};
  cut.first_row = needs_weight ? 0 : part.depth();
  cut.rows = (needs_weight ? part.depth() : 0) + (needs_bias ? 1 : 0);
  cut.row_block = ceil_divide(ceil_divide(cut.rows, ceil_divide(cut.rows, kMostRows)), kernels.gradient_rows) * kernels.gradient_rows;
  cut.row_blocks = ceil_divide(cut.rows, cut.row_block);
  cut.channel_block = std::min(kMostChannels, ceil_divide(part.rows, kernels.lanes) * kernels.lanes);
  cut.channel_blocks = ceil_divide(part.rows, cut.channel_block);
  cut.pitch = ceil_divide(part.rows, kernels.lanes) * kernels.lanes;
  cut.groups = part.groups;
  const Index blocks = pixel_blocks(part);
  const Index wanted = ceil_divide(kWantedTasks, cut.groups * cut.row_blocks * cut.channel_blocks);
  const Index affordable = std::max<Index>(1, kMostSliceElements / cut.slice_elements());
  cut.slices = std::max<Index>(1, std::min({wanted, affordable, blocks}));
  cut.blocks_per_slice = ceil_divide(blocks, cut.slices);
  return cut;
}

// grad_output of one block as [pixel][channel], channels [first, first + count) of the group.
template <class T>
void pack_grad_output(const Correlation& part, const ConvKernels<T>& kernels, const T* grad_output, const PixelBlock& block,
                      Index count, Index pitch, T* packed) noexcept {
  for (const Run& run : block)
    kernels.move_block(run.count, count, run_target(part, grad_output, run), part.target.axis_stride[2],
                       part.target.channel_stride, packed + run.column * pitch, pitch, 1);
}

// Panel rows [first, stop) of the whole problem; the row past the depth is the constant one of the bias.
template <class T>
void pack_rows(const Correlation& part, const ConvKernels<T>& kernels, const T* source, const PixelBlock& block, Index first,
               Index stop, T* panel) noexcept {
  const Index depth_stop = std::min(stop, part.depth());
  if (first < depth_stop) pack_panel(part, kernels, source, block, first, depth_stop, panel);
  if (stop > part.depth()) {
    T* ones = panel + (part.depth() - first) * kPanelPitch;
    std::fill(ones, ones + block.pixels(), T{1});
  }
}

template <class T>
void multiply_block(const ConvKernels<T>& kernels, const T* panel, Index rows, const T* packed, Index packed_pitch,
                    Index channels, Index pixels, T* sums, Index pitch) noexcept {
  const Index tile_channels = kernels.lanes * kernels.channel_vectors;
  for (Index pixel = 0; pixel < pixels; pixel += kDepth) {
    const Index depth = std::min(kDepth, pixels - pixel);
    for (Index channel = 0; channel < channels; channel += tile_channels) {
      const Index vectors = ceil_divide(std::min(tile_channels, channels - channel), kernels.lanes);
      for (Index row = 0; row < rows; row += kernels.gradient_rows) {
        const Index tile_rows = std::min<Index>(kernels.gradient_rows, rows - row);
        kernels.tile_from_block[tile_rows - 1][vectors - 1](panel + row * kPanelPitch + pixel,
                                                            packed + pixel * packed_pitch + channel, packed_pitch,
                                                            sums + row * pitch + channel, pitch, depth);
      }
    }
  }
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
void run_task(const Correlation& part, const ConvKernels<T>& kernels, const Cut& cut, const T* source, const T* grad_output,
              T* sums, Index task, const Scratch<T>& scratch) noexcept {
  const Index channel = task % cut.channel_blocks * cut.channel_block;
  const Index row = task / cut.channel_blocks % cut.row_blocks * cut.row_block;
  const Index group = task / cut.channel_blocks / cut.row_blocks % cut.groups;
  const Index slice = task / cut.channel_blocks / cut.row_blocks / cut.groups;
  const Index rows = std::min(cut.row_block, cut.rows - row);
  const Index channels = std::min(cut.channel_block, part.rows - channel);
  const Index padded_channels = ceil_divide(channels, kernels.lanes) * kernels.lanes;

  T* task_sums = sums + slice * cut.slice_elements() + group * cut.group_elements() + row * cut.pitch + channel;
  for (Index r = 0; r < rows; ++r) std::fill(task_sums + r * cut.pitch, task_sums + r * cut.pitch + padded_channels, T{0});
  const Index packed_pitch = Scratch<T>::scratch_pitch(cut);
  std::fill(scratch.packed, scratch.packed + kPanelPixels * packed_pitch, T{0});  // the lanes past the last channel

  const T* group_source = source + group * part.channels * part.source.channel_stride;
  const T* group_grad = grad_output + (group * part.rows + channel) * part.target.channel_stride;
  const Index stop_block = std::min((slice + 1) * cut.blocks_per_slice, pixel_blocks(part));
  for (Index index = slice * cut.blocks_per_slice; index < stop_block; ++index) {
    const PixelBlock block(part, index);
    pack_rows(part, kernels, group_source, block, cut.first_row + row, cut.first_row + row + rows, scratch.panel);
    pack_grad_output(part, kernels, group_grad, block, channels, packed_pitch, scratch.packed);
    multiply_block(kernels, scratch.panel, rows, scratch.packed, packed_pitch, padded_channels, block.pixels(), task_sums,
                   cut.pitch);
  }
}

// Adds the slices in their order.
template <class T>
T sum_slices(const Cut& cut, const T* sums) noexcept {
  T total = sums[0];
  for (Index slice = 1; slice < cut.slices; ++slice) total += sums[slice * cut.slice_elements()];
  return total;
}

// Writes output channels [first, stop) of one group.
template <class T>
void write_gradients(const Correlation& part, const Cut& cut, const T* sums, Index group, Index first, Index stop,
                     T* grad_weight, T* grad_bias) noexcept {
  const T* group_sums = sums + group * cut.group_elements();
  if (grad_bias != nullptr) {
    const T* bias_sums = group_sums + (cut.rows - 1) * cut.pitch;
    for (Index o = first; o < stop; ++o) grad_bias[group * part.rows + o] = sum_slices(cut, bias_sums + o);
  }
  if (grad_weight == nullptr) return;
  T* target = grad_weight + group * part.weight_group_stride;
  for (Index channel = 0; channel < part.channels; ++channel)
    for (std::size_t tap = 0; tap < part.taps.size(); ++tap) {
      const T* row = group_sums + (static_cast<Index>(tap) * part.channels + channel) * cut.pitch;
      T* of_tap = target + part.taps[tap].weight_offset + channel * part.weight_channel_stride;
      for (Index o = first; o < stop; ++o) of_tap[o * part.weight_row_stride] = sum_slices(cut, row + o);
    }
}

}  // namespace

template <class T>
void packed_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                        T* grad_weight, T* grad_bias, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Cut cut = make_cut(part, kernels, grad_weight != nullptr, grad_bias != nullptr);
  const Workspace sums_memory(1, static_cast<std::size_t>(cut.slices * cut.slice_elements()) * sizeof(T));
  T* sums = reinterpret_cast<T*>(sums_memory.of(0));
  const int workers = worker_count(num_threads, cut.tasks(), cut.slice_elements() * part.pixels() / 8);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), cut, measure));
  parallel_for(cut.tasks(), workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), cut, scratch);
    run_task(part, kernels, cut, source, grad_output, sums, task, scratch);
  });

  constexpr Index kChannelsAtOnce = 16;
  const Index pieces = ceil_divide(part.rows, kChannelsAtOnce);
  const int writers = worker_count(num_threads, part.groups * pieces, cut.slices * cut.slice_elements());
  parallel_for(part.groups * pieces, writers, [&](Index task, int) {
    const Index first = task % pieces * kChannelsAtOnce;
    write_gradients(part, cut, sums, task / pieces, first, std::min(first + kChannelsAtOnce, part.rows), grad_weight,
                    grad_bias);
  });
}

template void packed_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, float*, int);
template void packed_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, double*, int);

}  // namespace convpool
