// The sums that gradients of the weight are made of: [slice][group][row][output channel], a row for each tap and input
// channel. Pixels are cut into slices, which are added in order.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

struct WeightSums {
  Index rows = 0;   // taps * channels
  Index pitch = 0;  // whole vectors of output channels
  Index groups = 0, slices = 1;

  WeightSums() = default;
  WeightSums(const Correlation& part, Index lanes)
      : rows(part.depth()), pitch(ceil_divide(part.rows, lanes) * lanes), groups(part.groups) {}

  Index group_elements() const { return rows * pitch; }
  Index slice_elements() const { return groups * group_elements(); }
  Index elements() const { return slices * slice_elements(); }

  // Cuts `blocks` of pixels into slices, where a slice is `tasks` tasks, for enough tasks in all; returns the blocks of
  // a slice. The number of slices must not depend on the threads: their sums do.
  Index slice(Index blocks, Index tasks);
};

// Sums of some channels and outputs of a group, [tap][channel][output], perhaps in slices.
template <class T>
struct SumBlock {
  const T* sums;          // of the first tap, channel and output
  Index pitch, tap_rows;  // from channel to channel, and rows from tap to tap
  Index slices, slice_elements;
  Index channel, channels, output, outputs;
};

// Adds the slices of a block in their order and writes it to the gradient of its group. `gathered` has
// write_elements().
template <class T>
void write_block(const Correlation& part, const ConvKernels<T>& kernels, const SumBlock<T>& block, T* gathered,
                 T* grad_weight) noexcept;
Index write_elements(const Correlation& part) noexcept;

// All of them, in parallel.
template <class T>
void write_weights(const Correlation& part, const ConvKernels<T>& kernels, const WeightSums& layout, const T* sums,
                   T* grad_weight, int num_threads);

}  // namespace convpool
