// Output channels of a group cut into tiles of vectors, and weights packed in the order that tiles of pixels read them.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Tiles of one size or one vector less. The last vector ends with the last channel: it overlaps the one before, which
// is in the same tile. Fewer channels than lanes are one vector of which the rest is not used.
struct OutputTiles {
  Index channels, lanes, vectors, tiles;

  OutputTiles(Index total, Index vector_lanes, Index most_vectors) noexcept
      : channels(total), lanes(vector_lanes), vectors(ceil_divide(total, vector_lanes)),
        tiles(ceil_divide(vectors, most_vectors)) {}

  Index first_vector(Index tile) const noexcept { return tile * vectors / tiles; }
  Index vectors_of(Index tile) const noexcept { return first_vector(tile + 1) - first_vector(tile); }
  // First channel of a vector.
  Index column(Index vector) const noexcept { return std::max<Index>(0, std::min(vector * lanes, channels - lanes)); }
  Index first_column(Index tile) const noexcept { return column(first_vector(tile)); }
  Index stop_column(Index tile) const noexcept { return std::min(first_vector(tile + 1) * lanes, channels); }

  // Packed weights: for each tile [depth][vectors * lanes]. A packed bias is a row of them.
  Index packed_elements(Index depth) const noexcept { return vectors * lanes * depth; }
  Index packed_offset(Index tile, Index depth) const noexcept { return first_vector(tile) * lanes * depth; }
};

// All groups, one after the other.
template <class T>
void pack_output_tiles(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, T* packed, int num_threads);

// Depth entries [first, stop) of one tile of the group that `weight` is: [stop - first][vectors * lanes].
template <class T>
void pack_output_depth(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, Index tile, Index first, Index stop, T* packed) noexcept;
// Channels [first, stop) of all taps of one tile of the group that `weight` is: [tap][stop - first][vectors * lanes].
template <class T>
void pack_output_chunk(const Correlation& part, const OutputTiles& tiles, const ConvKernels<T>& kernels,
                       const T* weight, Index tile, Index first, Index stop, T* packed) noexcept;
// All groups, one after the other. bias may be null: zeros.
template <class T>
void pack_output_bias(const OutputTiles& tiles, Index groups, const T* bias, T* packed) noexcept;

}  // namespace convpool
