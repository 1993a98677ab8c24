// The sums that gradients of weight and bias are made of: [slice][group][row][output channel], a row for each tap and
// input channel, then one for the bias, the weight of one more input channel that is 1 everywhere. Pixels are cut into
// slices, which are added in order.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

struct WeightSums {
  Index first_row = 0, rows = 0;  // of taps * channels + 1; without the weight only the last, without the bias not that
  Index pitch = 0;                // whole vectors of output channels
  Index groups = 0, slices = 1;

  WeightSums() = default;
  WeightSums(const Correlation& part, Index lanes, bool needs_weight, bool needs_bias)
      : first_row(needs_weight ? 0 : part.depth()), rows((needs_weight ? part.depth() : 0) + (needs_bias ? 1 : 0)),
        pitch(ceil_divide(part.rows, lanes) * lanes), groups(part.groups) {}

  Index group_elements() const { return rows * pitch; }
  Index slice_elements() const { return groups * group_elements(); }
  Index elements() const { return slices * slice_elements(); }

  // Cuts `blocks` of pixels into slices, where a slice is `tasks` tasks, for enough tasks in all; returns the blocks of
  // a slice. The number of slices must not depend on the threads: their sums do.
  Index slice(Index blocks, Index tasks);
};

// Either target may be null.
template <class T>
void write_gradients(const Correlation& part, const ConvKernels<T>& kernels, const WeightSums& layout, const T* sums,
                     T* grad_weight, T* grad_bias, int num_threads);

}  // namespace convpool
