#include "convolution/weight_tiles.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"

namespace convpool {

namespace {

// Channels outermost: the taps of one channel share cache lines in the array.
template <class T>
void pack_tile(const Correlation& part, const T* weight, Index row, Index rows, T* packed) noexcept {
  weight += row * part.weight_row_stride;
  for (Index channel = 0; channel < part.channels; ++channel) {
    T* target = packed + channel * rows;
    for (const Tap& tap : part.taps) {
      const T* source = weight + tap.weight_offset + channel * part.weight_channel_stride;
      for (Index r = 0; r < rows; ++r) target[r] = source[r * part.weight_row_stride];
      target += part.channels * rows;
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
