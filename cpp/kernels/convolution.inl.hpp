// Register-blocked multiply-add tiles and block moves: what every dense convolution pass is made of.
//
// Layout:    matrices with a unit stride along their last axis; rows may start at any element.
// Semantics: plain sums of products; NaN and inf take part as IEEE 754 says.
// Numerics:  each accumulator sums `depth` products in order, then is added to the tile once. The order does not
//            depend on the tile's size, so every output has the same bits wherever in a block it lies.
// Cost:      rows * vectors multiply-adds per step for rows broadcasts and `vectors` loads: the fused multiply-add
//            ports limit. Goal: 0.95 of the register-only peak on a block in the first-level cache.

template <class T, int Rows, int Vectors, bool IsPacked>
static void tile(const T* a, const T* b, Index b_pitch, T* c, Index c_pitch, Index depth) {
  constexpr int kWidth = kLanes<T>;
  constexpr Index kRowStep = IsPacked ? 1 : kPanelPitch;
  constexpr Index kDepthStep = IsPacked ? Rows : 1;
  // Every loop over the accumulators must unroll, or GCC keeps them on the stack.
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[row][v] = Vector<T>{};
  for (Index p = 0; p < depth; ++p) {
    Vector<T> column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) column[v] = load(b + v * kWidth);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      const Vector<T> factor = broadcast(a[row * kRowStep]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[row][v] = multiply_add(factor, column[v], sum[row][v]);
    }
    a += kDepthStep;
    b += b_pitch;
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* target = c + row * c_pitch + v * kWidth;
      store(target, load(target) + sum[row][v]);
    }
}

// One butterfly step of a register transpose: swaps the off-diagonal halves of each 2 * Step square.
template <class T, int Step, int... Lane>
static inline __attribute__((always_inline)) void butterfly(Vector<T>& upper, Vector<T>& lower, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>;
  const Vector<T> top = upper, bottom = lower;
  upper = __builtin_shufflevector(top, bottom, ((Lane & Step) ? kWidth + Lane - Step : Lane)...);
  lower = __builtin_shufflevector(top, bottom, ((Lane & Step) ? kWidth + Lane : Lane + Step)...);
}

template <class T, int Step>
static inline __attribute__((always_inline)) void transpose_steps(Vector<T>* rows) {
  constexpr int kWidth = kLanes<T>;
  if constexpr (Step < kWidth) {
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i)
      if ((i & Step) == 0) butterfly<T, Step>(rows[i], rows[i + Step], typename LaneList<kWidth>::type{});
    transpose_steps<T, 2 * Step>(rows);
  }
}

// target[i][j] = source[j][i] for one square of vectors.
template <class T>
static void transpose_square(const T* source, Index source_pitch, T* target, Index target_pitch) {
  constexpr int kWidth = kLanes<T>;
  Vector<T> rows[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) rows[i] = load(source + i * source_pitch);
  transpose_steps<T, 1>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) store(target + i * target_pitch, rows[i]);
}

// source runs along rows (unit row stride), target along columns.
template <class T>
static void move_transposed(Index rows, Index columns, const T* source, Index source_column, T* target,
                            Index target_row) {
  constexpr int kWidth = kLanes<T>;
  const Index full_rows = rows / kWidth * kWidth, full_columns = columns / kWidth * kWidth;
  for (Index column = 0; column < full_columns; column += kWidth)
    for (Index row = 0; row < full_rows; row += kWidth)
      transpose_square(source + column * source_column + row, source_column, target + row * target_row + column,
                       target_row);
  for (Index column = 0; column < columns; ++column)
    for (Index row = column < full_columns ? full_rows : 0; row < rows; ++row)
      target[row * target_row + column] = source[column * source_column + row];
}

template <class T, int... Lane>
static inline __attribute__((always_inline)) Vector<T> even_lanes(Vector<T> low, Vector<T> high, Lanes<Lane...>) {
  return __builtin_shufflevector(low, high, (2 * Lane)...);
}

// One row, every `step`-th element of the source to consecutive elements of the target.
template <class T>
static void gather_row(Index columns, const T* source, Index step, T* target) {
  constexpr int kWidth = kLanes<T>;
  Index column = 0;
  if (step == 1) {
    for (; column + kWidth <= columns; column += kWidth) store(target + column, load(source + column));
  } else if (step == 2) {
    // `<`: the second load reads one element past the last one it needs.
    for (; column + kWidth < columns; column += kWidth)
      store(target + column, even_lanes<T>(load(source + 2 * column), load(source + 2 * column + kWidth),
                                           typename LaneList<kWidth>::type{}));
  }
  for (; column < columns; ++column) target[column] = source[column * step];
}

template <class T>
static void move_block(Index rows, Index columns, const T* source, Index source_row, Index source_column, T* target,
                       Index target_row, Index target_column) {
  if (target_column == 1 && source_row == 1 && source_column != 1) {
    move_transposed(rows, columns, source, source_column, target, target_row);
  } else if (target_row == 1 && source_column == 1 && target_column != 1) {
    move_transposed(columns, rows, source, source_row, target, target_column);
  } else if (target_column == 1) {
    for (Index row = 0; row < rows; ++row)
      gather_row(columns, source + row * source_row, source_column, target + row * target_row);
  } else {
    for (Index row = 0; row < rows; ++row)
      for (Index column = 0; column < columns; ++column)
        target[row * target_row + column * target_column] = source[row * source_row + column * source_column];
  }
}

template <class T, bool IsPacked, int MostRows, int MostVectors, int Rows, int Vectors>
constexpr TileFunction<T> tile_or_null() {
  if constexpr (Rows <= MostRows && Vectors <= MostVectors) return tile<T, Rows, Vectors, IsPacked>;
  else return nullptr;
}

template <class T, bool IsPacked, int MostRows, int MostVectors, int Rows>
constexpr void fill_row(TileFunction<T> (&row)[kMostTileVectors]) {
  row[0] = tile_or_null<T, IsPacked, MostRows, MostVectors, Rows, 1>();
  row[1] = tile_or_null<T, IsPacked, MostRows, MostVectors, Rows, 2>();
  row[2] = tile_or_null<T, IsPacked, MostRows, MostVectors, Rows, 3>();
  row[3] = tile_or_null<T, IsPacked, MostRows, MostVectors, Rows, 4>();
}

template <class T, bool IsPacked, int MostRows, int MostVectors, int Rows>
constexpr void fill_tiles(TileFunction<T> (&tiles)[kMostTileRows][kMostTileVectors]) {
  fill_row<T, IsPacked, MostRows, MostVectors, Rows>(tiles[Rows - 1]);
  if constexpr (Rows > 1) fill_tiles<T, IsPacked, MostRows, MostVectors, Rows - 1>(tiles);
}

template <class T>
constexpr ConvKernels<T> make_conv_kernels() {
  ConvKernels<T> kernels{};
  kernels.lanes = kLanes<T>;
  kernels.weight_rows = kWeightRows;
  kernels.pixel_vectors = kPixelVectors;
  kernels.gradient_rows = kGradientRows;
  kernels.channel_vectors = kChannelVectors;
  fill_tiles<T, true, kWeightRows, kPixelVectors, kMostTileRows>(kernels.tile_from_weights);
  fill_tiles<T, false, kGradientRows, kChannelVectors, kMostTileRows>(kernels.tile_from_block);
  kernels.move_block = move_block<T>;
  return kernels;
}
