#include "convolution/output_tiles.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"

namespace convpool {

namespace {

// One vector of a tile; `weight` and `bias` are the group's.
template <class T>
void pack_vector(const Correlation& part, const ConvKernels<T>& kernels, const T* weight, const T* bias, Index column,
                 Index count, Index width, T* packed) noexcept {
  if (count < kernels.lanes)
    for (Index row = 0; row <= part.depth(); ++row)
      std::fill(packed + row * width + count, packed + row * width + kernels.lanes, T{0});
  if (bias == nullptr) std::fill(packed, packed + count, T{0});
  else std::copy(bias + column, bias + column + count, packed);
  packed += width;
  for (const Tap& tap : part.taps) {
    kernels.move_block(part.channels, count, weight + tap.weight_offset + column * part.weight_row_stride,
                       part.weight_channel_stride, part.weight_row_stride, packed, width, 1);
    packed += part.channels * width;
  }
}

}  // namespace

template <class T>
void pack_output_tiles(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, const T* bias, T* packed, int num_threads) {
  const Index group_elements = tiles.packed_elements(part.depth());
  const int workers = worker_count(num_threads, part.groups * tiles.tiles, part.groups * group_elements);
  parallel_for(part.groups * tiles.tiles, workers, [&](Index task, int) {
    const Index group = task / tiles.tiles, tile = task % tiles.tiles;
    T* target = packed + group * group_elements + tiles.packed_offset(tile, part.depth());
    for (Index v = 0; v < tiles.vectors_of(tile); ++v)
      pack_vector(part, kernels, weight + group * part.weight_group_stride,
                  bias == nullptr ? nullptr : bias + group * part.rows, tiles.column(tiles.first_vector(tile) + v),
                  std::min(tiles.lanes, part.rows), tiles.vectors_of(tile) * tiles.lanes, target + v * tiles.lanes);
  });
}

template void pack_output_tiles(const Correlation&, const OutputTiles&, const ConvKernels<float>&, const float*,
                                const float*, float*, int);
template void pack_output_tiles(const Correlation&, const OutputTiles&, const ConvKernels<double>&, const double*,
                                const double*, double*, int);

}  // namespace convpool
