// Register-blocked products of an array with a packed panel, summed over pixels: gradients of pointwise weights.
//
// Layout:    pixels and channels at any distances, read one scalar at a time where they lie. The panel has whole
//            vectors of the other side's channels for each pixel.
// Semantics: plain sums of products; NaN and inf take part as IEEE 754 says.
// Numerics:  each accumulator sums its products in order, then is added once. The order does not depend on the tile's
//            size.
// Cost:      rows * vectors multiply-adds per step for rows broadcasts and `vectors` loads: the fused multiply-add
//            ports limit.

template <class T, int Rows, int Vectors>
static void plane_tile(const PlaneTile<T>& tile) {
  constexpr int kWidth = kLanes<T>;
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[row][v] = Vector<T>{};
  const T* panel = tile.panel;
  const Index row_pitch = tile.row_pitch, step = tile.step, ahead = tile.ahead;
  for (Index segment = 0; segment < tile.segments; ++segment) {
    const T* values = tile.values + tile.offsets[segment];
    for (Index p = tile.length; p > 0; --p) {
      __builtin_prefetch(values + ahead, 0, 2);
      Vector<T> column[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) column[v] = load(panel + v * kWidth);
#pragma GCC unroll 8
      for (int row = 0; row < Rows; ++row) {
        const Vector<T> factor = broadcast(values[row * row_pitch]);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[row][v] = multiply_add(factor, column[v], sum[row][v]);
      }
      panel += Vectors * kWidth;
      values += step;
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* target = tile.sums + row * tile.sums_pitch + v * kWidth;
      store(target, load(target) + sum[row][v]);
    }
}

template <class T, int Rows, int Vectors>
constexpr void fill_plane_tiles(ConvKernels<T>& kernels) {
  kernels.plane_tile[Rows - 1][Vectors - 1] = plane_tile<T, Rows, Vectors>;
  if constexpr (Vectors > 1) fill_plane_tiles<T, Rows, Vectors - 1>(kernels);
  else if constexpr (Rows > 1) fill_plane_tiles<T, Rows - 1, kChannelVectors>(kernels);
}
