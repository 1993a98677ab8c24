#include "convolution/weight_tiles.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"

namespace convpool {

namespace {

// The taps of a channel share cache lines in the array, the channels of a tap in the packed tile: a few channels at a
// time keep both in the first-level cache, even where their distances are powers of two.
constexpr Index kChannelsAtOnce = 16;

template <class T>
void pack_tile(const Correlation& part, const T* weight, Index row, Index rows, T* packed) noexcept {
  weight += row * part.weight_row_stride;
  for (Index first = 0; first < part.channels; first += kChannelsAtOnce) {
    const Index stop = std::min(first + kChannelsAtOnce, part.channels);
    for (std::size_t tap = 0; tap < part.taps.size(); ++tap) {
      const T* source = weight + part.taps[tap].weight_offset;
      T* target = packed + (static_cast<Index>(tap) * part.channels + first) * rows;
      for (Index channel = first; channel < stop; ++channel)
        for (Index r = 0; r < rows; ++r)
          *target++ = source[channel * part.weight_channel_stride + r * part.weight_row_stride];
    }
  }
}

}  // namespace

template <class T>
void pack_weights(const Correlation& part, Index tile_rows, const T* weight, T* packed, int num_threads) {
  const Index tiles = ceil_divide(part.rows, tile_rows);
  const int workers = worker_count(num_threads, part.groups * tiles, packed_weight_elements(part));
  parallel_for(part.groups * tiles, workers, [&](Index task, int) {
    const Index group = task / tiles, row = task % tiles * tile_rows;
    pack_tile(part, weight + group * part.weight_group_stride, row, std::min(tile_rows, part.rows - row),
              packed + (group * part.rows + row) * part.depth());
  });
}

template void pack_weights(const Correlation&, Index, const float*, float*, int);
template void pack_weights(const Correlation&, Index, const double*, double*, int);

}  // namespace convpool
