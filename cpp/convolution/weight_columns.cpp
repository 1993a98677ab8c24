#include "convolution/weight_columns.hpp"

#include <algorithm>

namespace convpool {

namespace {

constexpr Index kMostElements = 4096;

// Each tap for itself: where rows or channels are runs of the array.
template <class T>
void pack_taps(const Correlation& part, const ConvKernels<T>& kernels, const T* weight, Index rows, Index channels,
               T* packed, Index pitch, Index tap_pitch) noexcept {
  for (const Tap& tap : part.taps) {
    kernels.move_block(channels, rows, weight + tap.weight_offset, part.weight_channel_stride, part.weight_row_stride,
                       packed, pitch, 1);
    packed += tap_pitch;
  }
}

// All taps together: rows, which are runs, become columns of a buffer, [channel][element of the run][row].
template <class T>
void pack_runs(const Correlation& part, const ConvKernels<T>& kernels, const T* weight, Index rows, Index channels,
               T* packed, Index pitch, Index tap_pitch) noexcept {
  T columns[kMostElements];
  const Index taps = part.weight_channel_stride;
  kernels.move_block(channels * taps, rows, weight, 1, part.weight_row_stride, columns, rows, 1);
  for (const Tap& tap : part.taps) {
    kernels.move_block(channels, rows, columns + tap.weight_offset * rows, taps * rows, 1, packed, pitch, 1);
    packed += tap_pitch;
  }
}

}  // namespace

template <class T>
void pack_weight_columns(const Correlation& part, const ConvKernels<T>& kernels, const T* weight, Index rows,
                         Index first, Index stop, T* packed, Index pitch, Index tap_pitch) noexcept {
  const Index run_elements = static_cast<Index>(part.taps.size()) * rows;
  const bool are_runs = part.has_innermost_taps() && part.taps.size() > 1 && run_elements <= kMostElements;
  const Index at_once = are_runs ? std::min(kMostElements / run_elements, kChannelsAtOnce) : kChannelsAtOnce;
  for (Index channel = first; channel < stop; channel += at_once) {
    const Index channels = std::min(at_once, stop - channel);
    const T* source = weight + channel * part.weight_channel_stride;
    T* target = packed + (channel - first) * pitch;
    if (are_runs) pack_runs(part, kernels, source, rows, channels, target, pitch, tap_pitch);
    else pack_taps(part, kernels, source, rows, channels, target, pitch, tap_pitch);
  }
}

template void pack_weight_columns(const Correlation&, const ConvKernels<float>&, const float*, Index, Index, Index,
                                  float*, Index, Index) noexcept;
template void pack_weight_columns(const Correlation&, const ConvKernels<double>&, const double*, Index, Index, Index,
                                  double*, Index, Index) noexcept;

}  // namespace convpool
