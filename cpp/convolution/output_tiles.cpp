#include "convolution/output_tiles.hpp"

#include <algorithm>

#include "convolution/weight_columns.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

template <class T>
void pack_output_bias(const OutputTiles& tiles, Index groups, const T* bias, T* packed) noexcept {
  const Index count = std::min(tiles.lanes, tiles.channels);
  std::fill_n(packed, groups * tiles.packed_elements(1), T{0});
  for (Index group = 0; group < groups && bias != nullptr; ++group, bias += tiles.channels)
    for (Index vector = 0; vector < tiles.vectors; ++vector, packed += tiles.lanes)
      std::copy_n(bias + tiles.column(vector), count, packed);
}

template <class T>
void pack_output_depth(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, Index tile, Index first, Index stop, T* packed) noexcept {
  const Index count = std::min(tiles.lanes, tiles.channels), width = tiles.vectors_of(tile) * tiles.lanes;
  if (count < tiles.lanes) std::fill(packed, packed + (stop - first) * width, T{0});
  for (Index entry = first; entry < stop;) {
    const Tap& tap = part.taps[static_cast<std::size_t>(entry / part.channels)];
    const Index channel = entry % part.channels, channels = std::min(part.channels - channel, stop - entry);
    const T* source = weight + tap.weight_offset + channel * part.weight_channel_stride;
    for (Index v = 0; v < tiles.vectors_of(tile); ++v)
      kernels.move_block(channels, count, source + tiles.column(tiles.first_vector(tile) + v) * part.weight_row_stride,
                         part.weight_channel_stride, part.weight_row_stride, packed + v * tiles.lanes, width, 1);
    packed += channels * width;
    entry += channels;
  }
}

template <class T>
void pack_output_chunk(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, Index tile, Index first, Index stop, T* packed) noexcept {
  const Index count = std::min(tiles.lanes, tiles.channels), width = tiles.vectors_of(tile) * tiles.lanes;
  const Index tap_pitch = (stop - first) * width;
  if (count < tiles.lanes) std::fill_n(packed, static_cast<Index>(part.taps.size()) * tap_pitch, T{0});
  for (Index channel = first; channel < stop; channel += kChannelsAtOnce)
    for (Index v = 0; v < tiles.vectors_of(tile); ++v)
      pack_weight_columns(part, kernels, weight + tiles.column(tiles.first_vector(tile) + v) * part.weight_row_stride,
                          count, channel, std::min(channel + kChannelsAtOnce, stop),
                          packed + (channel - first) * width + v * tiles.lanes, width, tap_pitch);
}

template <class T>
void pack_output_tiles(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, T* packed, int num_threads) {
  const Index group_elements = tiles.packed_elements(part.depth());
  const int workers = worker_count(num_threads, part.groups * tiles.tiles, part.groups * group_elements);
  parallel_for(part.groups * tiles.tiles, workers, [&](Index task, int) {
    const Index group = task / tiles.tiles, tile = task % tiles.tiles;
    pack_output_chunk(part, tiles, kernels, weight + group * part.weight_group_stride, tile, 0, part.channels,
                      packed + group * group_elements + tiles.packed_offset(tile, part.depth()));
  });
}

template void pack_output_tiles(const Correlation&, const OutputTiles&, const ConvKernels<float>&, const float*, float*,
                                int);
template void pack_output_depth(const Correlation&, const OutputTiles&, const ConvKernels<float>&, const float*, Index,
                                Index, Index, float*) noexcept;
template void pack_output_chunk(const Correlation&, const OutputTiles&, const ConvKernels<float>&, const float*, Index,
                                Index, Index, float*) noexcept;
template void pack_output_chunk(const Correlation&, const OutputTiles&, const ConvKernels<double>&, const double*,
                                Index, Index, Index, double*) noexcept;
template void pack_output_bias(const OutputTiles&, Index, const float*, float*) noexcept;
template void pack_output_depth(const Correlation&, const OutputTiles&, const ConvKernels<double>&, const double*,
                                Index, Index, Index, double*) noexcept;
template void pack_output_bias(const OutputTiles&, Index, const double*, double*) noexcept;
template void pack_output_tiles(const Correlation&, const OutputTiles&, const ConvKernels<double>&, const double*,
                                double*, int);

}  // namespace convpool
