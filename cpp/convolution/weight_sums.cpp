#include "convolution/weight_sums.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostSliceElements = 1 << 21;
constexpr Index kWriteOutputs = 16;   // output channels written at once
constexpr Index kWriteEntries = 256;  // weights of each that are gathered before they are written

// Rows of the sums with the slices added in their order; target rows are kWriteOutputs apart.
template <class T>
void sum_slices(const ConvKernels<T>& kernels, const SumBlock<T>& block, const T* sums, Index taps, Index count,
                T* target) noexcept {
  const Index tap_pitch = block.tap_rows * block.pitch;
  kernels.move_block(taps, count, sums, tap_pitch, 1, target, kWriteOutputs, 1);
  for (Index slice = 1; slice < block.slices; ++slice)
    for (Index tap = 0; tap < taps; ++tap)
      for (Index o = 0; o < count; ++o)
        target[tap * kWriteOutputs + o] += sums[slice * block.slice_elements + tap * tap_pitch + o];
}

Index gathered_channels(const Correlation& part) noexcept {
  return std::max<Index>(1, kWriteEntries / std::max<Index>(static_cast<Index>(part.taps.size()), 1));
}

// Some output channels. Weights [o][channel][tap] are gathered as [channel][tap][o] and then moved as one transposed
// block where the array has its taps innermost, or tap by tap where it has the output channels innermost.
template <class T>
void write_outputs(const Correlation& part, const ConvKernels<T>& kernels, const SumBlock<T>& block, Index output,
                   Index count, T* gathered, T* grad_weight) noexcept {
  const Index taps = static_cast<Index>(part.taps.size()), at_once = gathered_channels(part);
  for (Index channel = 0; channel < block.channels; channel += at_once) {
    const Index channels = std::min(at_once, block.channels - channel);
    for (Index c = 0; c < channels; ++c)
      sum_slices(kernels, block, block.sums + (channel + c) * block.pitch + output, taps, count,
                 gathered + c * taps * kWriteOutputs);
    T* chunk = grad_weight + (block.output + output) * part.weight_row_stride +
               (block.channel + channel) * part.weight_channel_stride;
    if (part.has_innermost_taps()) {
      kernels.move_block(count, channels * taps, gathered, 1, kWriteOutputs, chunk, part.weight_row_stride, 1);
      continue;
    }
    for (Index tap = 0; tap < taps; ++tap)
      kernels.move_block(channels, count, gathered + tap * kWriteOutputs, taps * kWriteOutputs, 1,
                         chunk + part.taps[static_cast<std::size_t>(tap)].weight_offset, part.weight_channel_stride,
                         part.weight_row_stride);
  }
}

}  // namespace

Index WeightSums::slice(Index blocks, Index tasks) {
  const Index affordable = std::max<Index>(1, kMostSliceElements / slice_elements());
  slices = std::max<Index>(1, std::min({ceil_divide(kWantedTasks, tasks), affordable, blocks}));
  return ceil_divide(blocks, slices);
}

Index write_elements(const Correlation& part) noexcept {
  return gathered_channels(part) * static_cast<Index>(part.taps.size()) * kWriteOutputs;
}

template <class T>
void write_block(const Correlation& part, const ConvKernels<T>& kernels, const SumBlock<T>& block, T* gathered,
                 T* grad_weight) noexcept {
  for (Index output = 0; output < block.outputs; output += kWriteOutputs)
    write_outputs(part, kernels, block, output, std::min(kWriteOutputs, block.outputs - output), gathered, grad_weight);
}

template <class T>
void write_weights(const Correlation& part, const ConvKernels<T>& kernels, const WeightSums& layout, const T* sums,
                   T* grad_weight, int num_threads) {
  const Index pieces = ceil_divide(part.rows, kWriteOutputs);
  const int workers = worker_count(num_threads, part.groups * pieces, layout.slices * layout.slice_elements());
  const Workspace memory(workers, static_cast<std::size_t>(write_elements(part)) * sizeof(T));
  parallel_for(part.groups * pieces, workers, [&](Index task, int worker) {
    const Index group = task / pieces, output = task % pieces * kWriteOutputs;
    SumBlock<T> block{};
    block.sums = sums + group * layout.group_elements() + output;
    block.pitch = layout.pitch;
    block.tap_rows = part.channels;
    block.slices = layout.slices;
    block.slice_elements = layout.slice_elements();
    block.channels = part.channels;
    block.output = output;
    block.outputs = std::min(kWriteOutputs, part.rows - output);
    write_block(part, kernels, block, reinterpret_cast<T*>(memory.of(worker)),
                grad_weight + group * part.weight_group_stride);
  });
}

template void write_block(const Correlation&, const ConvKernels<float>&, const SumBlock<float>&, float*,
                          float*) noexcept;
template void write_block(const Correlation&, const ConvKernels<double>&, const SumBlock<double>&, double*,
                          double*) noexcept;
template void write_weights(const Correlation&, const ConvKernels<float>&, const WeightSums&, const float*, float*,
                            int);
template void write_weights(const Correlation&, const ConvKernels<double>&, const WeightSums&, const double*, double*,
                            int);

}  // namespace convpool
