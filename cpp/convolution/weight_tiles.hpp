// Weights in the order that the kernels read them: for each group and tile of rows a matrix [depth][rows].
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Rows are cut into equal tiles no larger than the kernels' largest: 12 rows are 6 + 6, not 8 + 4.
struct RowTiles {
  Index rows, tile_rows;
  RowTiles(Index total, Index largest) noexcept
      : rows(total), tile_rows(ceil_divide(total, ceil_divide(total, largest))) {}
  Index rows_at(Index row) const noexcept { return std::min(tile_rows, rows - row); }
};

inline Index packed_weight_elements(const Correlation& part) { return part.groups * part.rows * part.depth(); }

// The depth is [block of channels][tap][channel of the block].
template <class T>
void pack_weights(const Correlation& part, const ConvKernels<T>& kernels, Index tile_rows, Index channel_block,
                  const T* weight, T* packed, int num_threads);

}  // namespace convpool
