#include "convolution/weight_columns.hpp"

#include <algorithm>

namespace convpool {

namespace {

constexpr Index kMostElements = 4096;

// Where the taps lie side by side: `span` elements from the one at `least` hold them all.
struct TapRun {
  Index least, span;
};

TapRun find_run(const Correlation& part) {
  const auto [least, most] = std::minmax_element(
      part.taps.begin(), part.taps.end(), [](const Tap& a, const Tap& b) { return a.weight_offset < b.weight_offset; });
  return {least->weight_offset, most->weight_offset - least->weight_offset + 1};
}

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

// All taps together: the runs that hold them become columns of a buffer, [channel][element of the run][row].
template <class T>
void pack_run(const Correlation& part, const ConvKernels<T>& kernels, const TapRun& run, const T* weight, Index rows,
              Index channels, T* packed, Index pitch, Index tap_pitch) noexcept {
  T columns[kMostElements];
  const Index joined = part.weight_channel_stride == run.span ? channels : 1;
  for (Index channel = 0; channel < channels; channel += joined)
    kernels.move_block(joined * run.span, rows, weight + run.least + channel * part.weight_channel_stride, 1,
                       part.weight_row_stride, columns + channel * run.span * rows, rows, 1);
  for (const Tap& tap : part.taps) {
    kernels.move_block(channels, rows, columns + (tap.weight_offset - run.least) * rows, run.span * rows, 1, packed,
                       pitch, 1);
    packed += tap_pitch;
  }
}

}  // namespace

template <class T>
void pack_weight_columns(const Correlation& part, const ConvKernels<T>& kernels, const T* weight, Index rows,
                         Index first, Index stop, T* packed, Index pitch, Index tap_pitch) noexcept {
  if (part.taps.empty()) return;
  const TapRun run = find_run(part);
  const bool is_near = run.span > 1 && part.weight_channel_stride == run.span && run.span < part.weight_row_stride &&
                       run.span * rows <= kMostElements;
  const Index at_once =
      is_near ? std::clamp<Index>(kMostElements / (run.span * rows), 1, kChannelsAtOnce) : kChannelsAtOnce;
  for (Index channel = first; channel < stop; channel += at_once) {
    const Index channels = std::min(at_once, stop - channel);
    const T* source = weight + channel * part.weight_channel_stride;
    T* target = packed + (channel - first) * pitch;
    if (is_near) pack_run(part, kernels, run, source, rows, channels, target, pitch, tap_pitch);
    else pack_taps(part, kernels, source, rows, channels, target, pitch, tap_pitch);
  }
}

template void pack_weight_columns(const Correlation&, const ConvKernels<float>&, const float*, Index, Index, Index,
                                  float*, Index, Index) noexcept;
template void pack_weight_columns(const Correlation&, const ConvKernels<double>&, const double*, Index, Index, Index,
                                  double*, Index, Index) noexcept;

}  // namespace convpool
