// Convolution of few channels straight from padded rows: depthwise, small groups, gradients of an RGB input.
//
// Layout:    rows with a unit stride; the caller has padded them and split them into stride phases, so that every tap
// is
//            a run of consecutive elements.
// Semantics: plain sums of products; only elements inside the window take part.
// Numerics:  one accumulator per output, summed in the order of the entries, then added to the bias or the result once.
// dot_rows sums
//            one block of rows lane by lane before it adds to `sums`. Rows are readable up to a whole vector.
// Cost:      one load and `Rows` multiply-adds per entry and vector: the load ports limit.

template <class T, int Rows, int Vectors>
static void row_tile(const RowTile<T>& tile) {
  const T* a = tile.a;
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      sum[row][v] = Vector<T>{};
      __builtin_prefetch(tile.c + row * tile.c_row + v * tile.c_vector, 1);
    }
  for (Index p = 0; p < tile.depth; ++p) {
    const T* columns = tile.b + tile.offsets[p];
    Vector<T> column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) column[v] = load(columns + v * tile.b_vector);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      const Vector<T> factor = broadcast(a[p * Rows + row]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[row][v] = multiply_add(factor, column[v], sum[row][v]);
    }
  }
  const auto finish = [&](auto part) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      const Vector<T> bias = broadcast(tile.bias == nullptr ? T{0} : tile.bias[row]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        T* target = tile.c + row * tile.c_row + v * tile.c_vector;
        part.store(target, (tile.is_added ? part.load(target) : bias) + sum[row][v]);
      }
    }
  };
  if (tile.columns >= kLanes<T>) finish(WholeVector<T>{});
  else finish(PartialVector<T>{tile.columns});
}

template <class T, int Rows, int Taps>
static void dot_rows(const DotRows<T>& dot, T* sums) {
  Vector<T> sum[Rows][Taps];
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 8
    for (int tap = 0; tap < Taps; ++tap) sum[row][tap] = Vector<T>{};
  for (Index y = 0; y < dot.count; ++y) {
    const T* values = dot.values + y * dot.values_pitch;
    const T* shifted = dot.shifted + y * dot.shifted_pitch;
    for_each_vector<T>(dot.columns, [&](auto part, Index column) __attribute__((always_inline)) {
      Vector<T> value[Rows];
#pragma GCC unroll 4
      for (int row = 0; row < Rows; ++row) value[row] = part.load(values + row * dot.values_row + column);
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap) {
        // Lanes past the last column are zeroed on both sides: 0 * NaN is NaN.
        const Vector<T> other = part.keep(load(shifted + dot.offsets[tap] + column));
#pragma GCC unroll 4
        for (int row = 0; row < Rows; ++row) sum[row][tap] = multiply_add(value[row], other, sum[row][tap]);
      }
    });
  }
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 8
    for (int tap = 0; tap < Taps; ++tap) {
      T* target = sums + row * dot.sums_row + tap * kLanes<T>;
      store(target, load(target) + sum[row][tap]);
    }
}

// Most vectors whose accumulators leave registers for a column of each and a factor.
constexpr int row_vectors(int rows) {
  const int vectors = (kRegisters - 1) / (rows + 1);
  return vectors < kMostTileVectors ? vectors : kMostTileVectors;
}

template <class T, int Rows, int Vectors>
constexpr void fill_row_tiles(ConvKernels<T>& kernels) {
  kernels.row_vectors[Rows - 1] = row_vectors(Rows);
  if constexpr (Vectors <= row_vectors(Rows)) kernels.row_tile[Rows - 1][Vectors - 1] = row_tile<T, Rows, Vectors>;
  if constexpr (Vectors > 1) fill_row_tiles<T, Rows, Vectors - 1>(kernels);
  else if constexpr (Rows > 1) fill_row_tiles<T, Rows - 1, kMostTileVectors>(kernels);
}

// Most taps whose sums leave registers for `rows` values, a shifted row and a temporary.
constexpr int dot_taps(int rows) {
  const int taps = (kRegisters - 1) / rows - 1;
  return taps < kMostDotTaps ? taps : kMostDotTaps;
}

template <class T, int Rows, int Taps>
constexpr void fill_dot_rows(ConvKernels<T>& kernels) {
  kernels.dot_taps[Rows - 1] = dot_taps(Rows);
  if constexpr (Taps <= dot_taps(Rows)) kernels.dot_rows[Rows - 1][Taps - 1] = dot_rows<T, Rows, Taps>;
  if constexpr (Taps > 1) fill_dot_rows<T, Rows, Taps - 1>(kernels);
  else if constexpr (Rows > 1) fill_dot_rows<T, Rows - 1, kMostDotTaps>(kernels);
}
