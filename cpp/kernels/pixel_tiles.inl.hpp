// Register-blocked multiply-add tiles over pixels whose channels lie together: vectors of output channels, one scalar
// of a pixel at a time.
//
// Layout:    a pixel is a run of channels, found through a pointer; weights and gradients are matrices with a unit
//            stride along output channels.
// Semantics: plain sums of products; NaN and inf take part as IEEE 754 says.
// Numerics:  each accumulator sums its products in order, then is added once. The order does not depend on the tile's
//            size. Tiles whose last vector overlaps the one before, or whose last pixels repeat, compute the same
//            twice.
// Cost:      rows * vectors multiply-adds per step for rows broadcasts and `vectors` loads: the fused multiply-add
//            ports limit. Goal: 0.95 of the register-only peak on weights in the first-level cache.

template <class T>
constexpr Index kLineElements = 64 / sizeof(T);  // of a cache line

template <class T, int Rows, int Vectors>
static void pixel_tile(const PixelTile<T>& tile) {
  constexpr int kWidth = kLanes<T>;
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[row][v] = Vector<T>{};
  // Targets come from the second-level cache, or from memory, while the sum runs.
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) __builtin_prefetch(tile.targets[row] + tile.column + v * kWidth, 1);
  const T* weights = tile.weights;
  const Index length = tile.length, run = tile.are_far ? kLineElements<T> : length;
  for (Index segment = 0; segment < tile.segments; ++segment) {
    const T* pixel[Rows];
    asm volatile("" : : : "memory");  // or GCC keeps what it has read of `tile`, for which there are no registers
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) pixel[row] = tile.pixels[row] + tile.offsets[segment];
    for (Index first = 0; first < length; first += run) {
      if (tile.are_far)
#pragma GCC unroll 8
        for (int row = 0; row < Rows; ++row)
          __builtin_prefetch(tile.pixels[Rows + row] + tile.offsets[segment] + first);
      const Index stop = first + run < length ? first + run : length;
      for (Index p = first; p < stop; ++p) {
        Vector<T> column[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) column[v] = load(weights + v * kWidth);
#pragma GCC unroll 8
        for (int row = 0; row < Rows; ++row) {
          const Vector<T> factor = broadcast(pixel[row][p]);
#pragma GCC unroll 4
          for (int v = 0; v < Vectors; ++v) sum[row][v] = multiply_add(factor, column[v], sum[row][v]);
        }
        weights += Vectors * kWidth;
      }
    }
  }
  // All targets are read before any is written: they may overlap.
  if (tile.start == nullptr) {
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        sum[row][v] =
            load(tile.targets[row] + (v + 1 < Vectors || v == 0 ? tile.column + v * kWidth : tile.last_column)) +
            sum[row][v];
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const Vector<T> start = load(tile.start + v * kWidth);
#pragma GCC unroll 8
      for (int row = 0; row < Rows; ++row) sum[row][v] = start + sum[row][v];
    }
  }
  asm volatile("" : : : "memory");
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      store(tile.targets[row] + (v + 1 < Vectors || v == 0 ? tile.column + v * kWidth : tile.last_column), sum[row][v]);
}

template <class T, int Rows, int Vectors>
static void gradient_tile(const GradientTile<T>& tile) {
  constexpr int kWidth = kLanes<T>;
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[row][v] = Vector<T>{};
  const T* gradients = tile.gradients;
  const Index offset = tile.offset, pitch = tile.pitch;
  const T* const* const stop = tile.pixels + tile.count;
  for (const T* const* pixel = tile.pixels; pixel != stop; ++pixel) {
    const T* channels = *pixel + offset;
    Vector<T> column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) column[v] = load(gradients + v * kWidth);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      const Vector<T> factor = broadcast(channels[row]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[row][v] = multiply_add(factor, column[v], sum[row][v]);
    }
    gradients += pitch;
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* target = tile.sums + row * tile.sums_pitch + v * kWidth;
      store(target, load(target) + sum[row][v]);
    }
}

// Most pixels whose accumulators leave registers for `vectors` columns and a factor (and a product, where it has to be
// kept).
constexpr int pixel_rows(int vectors) {
  const int rows = (kRegisters - vectors - (kHasFusedMultiplyAdd ? 1 : 2)) / vectors;
  return rows < kMostTileRows ? rows : kMostTileRows;
}

// Four where that leaves enough pixels. At least three, so that a last, partial vector always has one before it in its
// tile that it can overlap.
constexpr int kOutputVectors = kRegisters >= 32 ? 4 : 3;

template <class T, int Vectors>
constexpr void fill_pixel_tiles(ConvKernels<T>& kernels) {
  kernels.pixel_rows[Vectors - 1] = pixel_rows(Vectors);
  kernels.pixel_tile[Vectors - 1] = pixel_tile<T, pixel_rows(Vectors), Vectors>;
  if constexpr (Vectors > 1) fill_pixel_tiles<T, Vectors - 1>(kernels);
}

template <class T, int Rows, int Vectors>
constexpr void fill_gradient_tiles(ConvKernels<T>& kernels) {
  kernels.gradient_tile[Rows - 1][Vectors - 1] = gradient_tile<T, Rows, Vectors>;
  if constexpr (Vectors > 1) fill_gradient_tiles<T, Rows, Vectors - 1>(kernels);
  else if constexpr (Rows > 1) fill_gradient_tiles<T, Rows - 1, kChannelVectors>(kernels);
}
