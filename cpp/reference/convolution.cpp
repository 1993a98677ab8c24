#include "reference/convolution.hpp"

#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"

namespace convpool::reference {

namespace {

constexpr Index kPixelsBetween = 256;  // questions whether to go on

bool shall_stop_at(Index pixel) noexcept { return pixel % kPixelsBetween == 0 && is_interrupted(); }

struct Point {
  Index batch;
  Index position[kAxes];
};

Point point_of(const Correlation& part, Index pixel) noexcept {
  const Index* extent = part.target.extent;
  const Index row = pixel / extent[2];
  return {row / extent[1] / extent[0], {row / extent[1] % extent[0], row % extent[1], pixel % extent[2]}};
}

// Source offset of (point, tap) in channel 0; -1 where the tap lies in a padding of zeros.
Index source_offset(const Correlation& part, const Point& point, const Tap& tap) noexcept {
  Index offset = point.batch * part.source.batch_stride;
  for (int axis = 0; axis < kAxes; ++axis) {
    const Index position = source_position(part.padding_mode, part.source.extent[axis],
                                           point.position[axis] * part.step[axis] + tap.offset[axis]);
    if (position < 0) return -1;
    offset += position * part.source.axis_stride[axis];
  }
  return offset;
}

Index target_offset(const Correlation& part, const Point& point) noexcept {
  Index offset = part.target_offset + point.batch * part.target.batch_stride;
  for (int axis = 0; axis < kAxes; ++axis) offset += point.position[axis] * part.target.axis_stride[axis];
  return offset;
}

// A tap in the padding is a zero like any other: times an infinite weight it is NaN.
template <class T>
T weighted_sum(const Correlation& part, const Point& point, const T* source, const T* weight) noexcept {
  T sum{0};
  for (const Tap& tap : part.taps) {
    const Index offset = source_offset(part, point, tap);
    for (Index channel = 0; channel < part.channels; ++channel)
      sum += weight[tap.weight_offset + channel * part.weight_channel_stride] *
             (offset < 0 ? T{0} : source[offset + channel * part.source.channel_stride]);
  }
  return sum;
}

template <class T>
T product_sum(const Correlation& part, const Tap& tap, const T* source, const T* grad_output) noexcept {
  T sum{0};
  for (Index pixel = 0; pixel < part.pixels() && !shall_stop_at(pixel); ++pixel) {
    const Point point = point_of(part, pixel);
    const Index offset = source_offset(part, point, tap);
    sum += (offset < 0 ? T{0} : source[offset]) * grad_output[target_offset(part, point)];
  }
  return sum;
}

}  // namespace

template <class T>
void correlate(const KernelTable*, const std::vector<Correlation>& parts, const T* source, const T* weight,
               const T* bias, T* target, int num_threads) {
  for (const Correlation& part : parts) {
    const Index channels = part.groups * part.rows;
    const int workers = worker_count(num_threads, channels, channels * part.pixels() * part.depth());
    parallel_for(channels, workers, [&](Index row, int) {
      const Index group = row / part.rows;
      const T* group_source = source + group * part.channels * part.source.channel_stride;
      const T* row_weight = weight + group * part.weight_group_stride + row % part.rows * part.weight_row_stride;
      for (Index pixel = 0; pixel < part.pixels() && !shall_stop_at(pixel); ++pixel) {
        const Point point = point_of(part, pixel);
        target[target_offset(part, point) + row * part.target.channel_stride] =
            weighted_sum(part, point, group_source, row_weight) + (bias == nullptr ? T{0} : bias[row]);
      }
    });
  }
}

template <class T>
void correlate_grad_weight(const KernelTable*, const Correlation& part, const T* source, const T* grad_output,
                           T* grad_weight, int num_threads) {
  const Index channels = part.groups * part.rows;
  const int workers = worker_count(num_threads, channels, channels * part.pixels() * part.depth());
  parallel_for(channels, workers, [&](Index row, int) {
    const Index group = row / part.rows;
    const T* row_grad = grad_output + row * part.target.channel_stride;
    T* row_weight = grad_weight + group * part.weight_group_stride + row % part.rows * part.weight_row_stride;
    for (const Tap& tap : part.taps)
      for (Index channel = 0; channel < part.channels; ++channel)
        row_weight[tap.weight_offset + channel * part.weight_channel_stride] =
            product_sum(part, tap, source + (group * part.channels + channel) * part.source.channel_stride, row_grad);
  });
}

template <class T>
void add_channels(const Extents& extents, const T* values, T* sums, int num_threads) {
  const Grid grid = make_grid(extents);
  const Index pixels = extents.batch * extents.plane();
  const int workers = worker_count(num_threads, extents.channels, extents.elements());
  parallel_for(extents.channels, workers, [&](Index channel, int) {
    T sum{0};
    for (Index pixel = 0; pixel < pixels && !shall_stop_at(pixel); ++pixel)
      sum += values[pixel / extents.plane() * grid.batch_stride + pixel % extents.plane() * grid.axis_stride[2] +
                    channel * grid.channel_stride];
    sums[channel] = sum;
  });
}

template void correlate(const KernelTable*, const std::vector<Correlation>&, const float*, const float*, const float*,
                        float*, int);
template void correlate(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                        const double*, double*, int);
template void correlate_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void correlate_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);
template void add_channels(const Extents&, const float*, float*, int);
template void add_channels(const Extents&, const double*, double*, int);

}  // namespace convpool::reference
