#include "convolution/weight_tiles.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"

namespace convpool {

namespace {

// The taps of a channel share cache lines in the array, the channels of a tap in the packed tile: a few channels at a
// time keep both in the first-level cache, even where their distances are powers of two.
constexpr Index kChannelsAtOnce = 16;

// Channels [first, stop) of a block.
template <class T>
void pack_channels(const Correlation& part, const T* weight, Index first, Index stop, Index block_channels, Index rows,
                   T* packed) noexcept {
  for (const Tap& tap : part.taps) {
    const T* source = weight + tap.weight_offset;
    T* target = packed;
    for (Index channel = first; channel < stop; ++channel)
      for (Index r = 0; r < rows; ++r)
        *target++ = source[channel * part.weight_channel_stride + r * part.weight_row_stride];
    packed += block_channels * rows;
  }
}

template <class T>
void pack_tile(const Correlation& part, const T* weight, Index row, Index rows, Index channel_block,
               T* packed) noexcept {
  weight += row * part.weight_row_stride;
  for (Index block = 0; block < part.channels; block += channel_block) {
    const Index stop = std::min(block + channel_block, part.channels);
    T* target = packed + block * static_cast<Index>(part.taps.size()) * rows;
    for (Index first = block; first < stop; first += kChannelsAtOnce)
      pack_channels(part, weight, first, std::min(first + kChannelsAtOnce, stop), stop - block, rows,
                    target + (first - block) * rows);
  }
}

}  // namespace

template <class T>
void pack_weights(const Correlation& part, Index tile_rows, Index channel_block, const T* weight, T* packed,
                  int num_threads) {
  const Index tiles = ceil_divide(part.rows, tile_rows);
  const int workers = worker_count(num_threads, part.groups * tiles, packed_weight_elements(part));
  parallel_for(part.groups * tiles, workers, [&](Index task, int) {
    const Index group = task / tiles, row = task % tiles * tile_rows;
    pack_tile(part, weight + group * part.weight_group_stride, row, std::min(tile_rows, part.rows - row), channel_block,
              packed + (group * part.rows + row) * part.depth());
  });
}

template void pack_weights(const Correlation&, Index, Index, const float*, float*, int);
template void pack_weights(const Correlation&, Index, Index, const double*, double*, int);

}  // namespace convpool
