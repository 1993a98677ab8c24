#include "convolution/weight_sums.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostSliceElements = 1 << 21;
constexpr Index kWriteChannels = 16;  // output channels written at once
constexpr Index kWriteEntries = 256;  // weights of each that are gathered before they are written

// Rows of the sums, `pitch` apart, with the slices added in their order; target rows are kWriteChannels apart.
template <class T>
void sum_slices(const ConvKernels<T>& kernels, const WeightSums& layout, const T* sums, Index rows, Index pitch,
                Index count, T* target) noexcept {
  kernels.move_block(rows, count, sums, pitch, 1, target, kWriteChannels, 1);
  for (Index slice = 1; slice < layout.slices; ++slice)
    for (Index row = 0; row < rows; ++row)
      for (Index o = 0; o < count; ++o)
        target[row * kWriteChannels + o] += sums[slice * layout.slice_elements() + row * pitch + o];
}

// Output channels a move writes, and the input channels it holds so many taps of.
struct WriteBlock {
  Index group, first, count;
  Index channels_at_once;
};

// Weights [o][channel][tap] are gathered as [channel][tap][o] and then moved as one transposed block where the array
// has its taps innermost, or tap by tap where it has the output channels innermost.
template <class T>
void write_block(const Correlation& part, const ConvKernels<T>& kernels, const WeightSums& layout, const T* group_sums,
                 const WriteBlock& block, T* gathered, T* grad_weight) noexcept {
  const Index taps = static_cast<Index>(part.taps.size());
  T* target = grad_weight + block.group * part.weight_group_stride + block.first * part.weight_row_stride;
  for (Index channel = 0; channel < part.channels; channel += block.channels_at_once) {
    const Index channels = std::min(block.channels_at_once, part.channels - channel);
    for (Index c = 0; c < channels; ++c)
      sum_slices(kernels, layout, group_sums + (channel + c) * layout.pitch + block.first, taps,
                 part.channels * layout.pitch, block.count, gathered + c * taps * kWriteChannels);
    T* chunk = target + channel * part.weight_channel_stride;
    if (part.has_innermost_taps()) {
      kernels.move_block(block.count, channels * taps, gathered, 1, kWriteChannels, chunk, part.weight_row_stride, 1);
      continue;
    }
    for (Index tap = 0; tap < taps; ++tap)
      kernels.move_block(channels, block.count, gathered + tap * kWriteChannels, taps * kWriteChannels, 1,
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

template <class T>
void write_weights(const Correlation& part, const ConvKernels<T>& kernels, const WeightSums& layout, const T* sums,
                   T* grad_weight, int num_threads) {
  const Index pieces = ceil_divide(part.rows, kWriteChannels), taps = static_cast<Index>(part.taps.size());
  const Index channels_at_once = std::max<Index>(1, kWriteEntries / std::max<Index>(taps, 1));
  const int workers = worker_count(num_threads, part.groups * pieces, layout.slices * layout.slice_elements());
  const Workspace memory(workers, static_cast<std::size_t>(channels_at_once * taps * kWriteChannels) * sizeof(T));
  parallel_for(part.groups * pieces, workers, [&](Index task, int worker) {
    const Index first = task % pieces * kWriteChannels;
    const WriteBlock block{task / pieces, first, std::min(kWriteChannels, part.rows - first), channels_at_once};
    write_block(part, kernels, layout, sums + block.group * layout.group_elements(), block,
                reinterpret_cast<T*>(memory.of(worker)), grad_weight);
  });
}

template void write_weights(const Correlation&, const ConvKernels<float>&, const WeightSums&, const float*, float*,
                            int);
template void write_weights(const Correlation&, const ConvKernels<double>&, const WeightSums&, const double*, double*,
                            int);

}  // namespace convpool
