#include "convolution/lane_weights.hpp"

#include <algorithm>

namespace convpool {

namespace {

// The products of a channel where they are a run of the array, in packed order or against it.
struct WeightRun {
  bool is_one, is_reversed;
  Index least, products;

  explicit WeightRun(const std::vector<Index>& offsets)
      : is_one(true), is_reversed(offsets.back() < offsets.front()), least(std::min(offsets.front(), offsets.back())),
        products(static_cast<Index>(offsets.size())) {
    const Index step = is_reversed ? -1 : 1;
    for (std::size_t i = 1; i < offsets.size(); ++i) is_one &= offsets[i] == offsets[i - 1] + step;
  }
  // The first element of a run of rows that are packed `pitch` apart, and their distance.
  template <class T>
  T* first(T* packed, Index pitch) const {
    return packed + (is_reversed ? (products - 1) * pitch : 0);
  }
  Index distance(Index pitch) const { return is_reversed ? -pitch : pitch; }
};

// body(offset of the channel's weights) for channels [first, first + count) of all groups.
template <class Body>
void each_channel(const Correlation& part, Index first, Index count, Body&& body) {
  for (Index channel = first; channel < first + count;) {
    const Index group = channel / part.rows, stop = std::min((group + 1) * part.rows, first + count);
    for (; channel < stop; ++channel)
      body(group * part.weight_group_stride + (channel - group * part.rows) * part.weight_row_stride);
  }
}

}  // namespace

template <class T>
void pack_lane_weights(const Correlation& part, const LaneWindow& window, const ConvKernels<T>& kernels,
                       const T* weight, T* packed) noexcept {
  const WeightRun run(window.weight_offsets());
  const Index channels = part.groups * part.rows;
  if (part.rows == 1 && run.is_one)
    return kernels.move_block(run.products, channels, weight + run.least, 1, part.weight_group_stride,
                              run.first(packed, channels), run.distance(channels), 1);
  for (const Index offset : window.weight_offsets()) {
    if (part.rows == 1) {
      kernels.move_block(1, channels, weight + offset, 0, part.weight_group_stride, packed, 0, 1);
      packed += channels;
    } else {
      each_channel(part, 0, channels, [&](Index channel) { *packed++ = weight[offset + channel]; });
    }
  }
}

template <class T>
void write_lane_weights(const Correlation& part, const LaneWindow& window, const ConvKernels<T>& kernels, const T* sums,
                        Index pitch, Index first_channel, Index channels, T* grad_weight) noexcept {
  const WeightRun run(window.weight_offsets());
  if (part.rows == 1 && run.is_one)
    return kernels.move_block(channels, run.products, run.first(sums, pitch), 1, run.distance(pitch),
                              grad_weight + run.least + first_channel * part.weight_group_stride,
                              part.weight_group_stride, 1);
  for (const Index offset : window.weight_offsets()) {
    if (part.rows == 1) {
      kernels.move_block(1, channels, sums, 0, 1, grad_weight + offset + first_channel * part.weight_group_stride, 0,
                         part.weight_group_stride);
    } else {
      const T* next = sums;
      each_channel(part, first_channel, channels, [&](Index channel) { grad_weight[offset + channel] = *next++; });
    }
    sums += pitch;
  }
}

#define CONVPOOL_LANE_WEIGHTS(T)                                                                                  \
  template void pack_lane_weights(const Correlation&, const LaneWindow&, const ConvKernels<T>&, const T*,         \
                                  T*) noexcept;                                                                   \
  template void write_lane_weights(const Correlation&, const LaneWindow&, const ConvKernels<T>&, const T*, Index, \
                                   Index, Index, T*) noexcept
CONVPOOL_LANE_WEIGHTS(float);
CONVPOOL_LANE_WEIGHTS(double);
#undef CONVPOOL_LANE_WEIGHTS

}  // namespace convpool
