// Convolution of few channels straight from padded rows: depthwise, small groups, gradients of an RGB input.
//
// Layout:    rows with a unit stride; the caller has padded them and split them into stride phases, so that every tap
// is
//            a run of consecutive elements.
// Semantics: plain sums of products; only elements inside the window take part.
// Numerics:  one accumulator per output, summed in the order of the entries, then added to the result once. dot_rows
// sums
//            one block of rows lane by lane before it adds to `sums`. Rows are readable up to a whole vector.
// Cost:      one load and `Rows` multiply-adds per entry and vector: the load ports limit.

template <class T, int Rows, int Vectors>
static void row_tile(const RowTile<T>& tile) {
  const T* a = tile.a;
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[row][v] = Vector<T>{};
  for (Index p = 0; p < tile.depth; ++p) {
    const T* columns = tile.b + tile.offsets[p];
    Vector<T> factor[Rows];
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) factor[row] = broadcast(a[p * Rows + row]);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const Vector<T> column = load(columns + v * tile.b_vector);
#pragma GCC unroll 8
      for (int row = 0; row < Rows; ++row) sum[row][v] = multiply_add(factor[row], column, sum[row][v]);
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* target = tile.c + row * tile.c_row + v * tile.c_vector;
      store(target, load(target) + sum[row][v]);
    }
}

template <class T, int Taps>
static void dot_rows(const DotRows<T>& dot, T* sums) {
  constexpr int kWidth = kLanes<T>;
  const Index full = dot.columns / kWidth * kWidth, rest = dot.columns - full;
  // Lanes past the last column are zeroed on both sides: 0 * NaN is NaN.
  const auto is_column = lane_numbers<T>(typename LaneList<kWidth>::type{}) < broadcast(static_cast<T>(rest));
  Vector<T> sum[Taps];
#pragma GCC unroll 8
  for (int tap = 0; tap < Taps; ++tap) sum[tap] = Vector<T>{};
  for (Index row = 0; row < dot.count; ++row) {
    const T* values = dot.rows + row * dot.row_pitch;
    const T* shifted = dot.shifted + row * dot.shifted_pitch;
    for (Index column = 0; column < full; column += kWidth) {
      const Vector<T> value = load(values + column);
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap)
        sum[tap] = multiply_add(value, load(shifted + dot.offsets[tap] + column), sum[tap]);
    }
    if (rest > 0) {
      const Vector<T> value = is_column ? load(values + full) : Vector<T>{};
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap)
        sum[tap] = multiply_add(value, is_column ? load(shifted + dot.offsets[tap] + full) : Vector<T>{}, sum[tap]);
    }
  }
#pragma GCC unroll 8
  for (int tap = 0; tap < Taps; ++tap) store(sums + tap * kWidth, load(sums + tap * kWidth) + sum[tap]);
}

// Most vectors whose accumulators leave registers for `rows` factors, a column and a temporary.
constexpr int row_vectors(int rows) {
  const int vectors = (kRegisters - 2) / rows - 1;
  return vectors < kMostTileVectors ? vectors : kMostTileVectors;
}

template <class T, int Rows, int Vectors>
constexpr void fill_row_tiles(ConvKernels<T>& kernels) {
  kernels.row_vectors[Rows - 1] = row_vectors(Rows);
  if constexpr (Vectors <= row_vectors(Rows)) kernels.row_tile[Rows - 1][Vectors - 1] = row_tile<T, Rows, Vectors>;
  if constexpr (Vectors > 1) fill_row_tiles<T, Rows, Vectors - 1>(kernels);
  else if constexpr (Rows > 1) fill_row_tiles<T, Rows - 1, kMostTileVectors>(kernels);
}

template <class T, int Taps>
constexpr void fill_dot_rows(void (*(&dots)[kDotTaps])(const DotRows<T>&, T*)) {
  dots[Taps - 1] = dot_rows<T, Taps>;
  if constexpr (Taps > 1) fill_dot_rows<T, Taps - 1>(dots);
}
