#include "convolution/weight_tiles.hpp"

#include <algorithm>

#include "convolution/weight_columns.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

template <class T>
void pack_weights(const Correlation& part, const ConvKernels<T>& kernels, Index tile_rows, Index channel_block,
                  const T* weight, T* packed, int num_threads) {
  const Index tiles = ceil_divide(part.rows, tile_rows);
  const int workers = worker_count(num_threads, part.groups * tiles, packed_weight_elements(part));
  parallel_for(part.groups * tiles, workers, [&](Index task, int) {
    const Index group = task / tiles, row = task % tiles * tile_rows, rows = std::min(tile_rows, part.rows - row);
    const T* source = weight + group * part.weight_group_stride + row * part.weight_row_stride;
    T* target = packed + (group * part.rows + row) * part.depth();
    for (Index first = 0; first < part.channels; first += channel_block) {
      const Index stop = std::min(first + channel_block, part.channels);
      pack_weight_columns(part, kernels, source, rows, first, stop,
                          target + first * static_cast<Index>(part.taps.size()) * rows, rows, (stop - first) * rows);
    }
  });
}

template void pack_weights(const Correlation&, const ConvKernels<float>&, Index, Index, const float*, float*, int);
template void pack_weights(const Correlation&, const ConvKernels<double>&, Index, Index, const double*, double*, int);

}  // namespace convpool
