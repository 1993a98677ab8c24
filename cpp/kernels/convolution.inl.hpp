// Register-blocked multiply-add tiles: what every dense convolution pass is made of.
//
// Layout:    matrices with a unit stride along their last axis; rows may start at any element.
// Semantics: plain sums of products; NaN and inf take part as IEEE 754 says.
// Numerics:  each accumulator sums `depth` products in order, then is added to the tile once. The order does not
//            depend on the tile's size, so every output has the same bits wherever in a block it lies.
// Cost:      rows * vectors multiply-adds per step for rows broadcasts and `vectors` loads: the fused multiply-add
//            ports limit. Goal: 0.95 of the register-only peak on a block in the first-level cache.

template <class T, int Rows, int Vectors, bool IsPacked>
static void tile(const T* a, const T* b, Index b_pitch, T* c, Index c_pitch, Index depth, const T* start) {
  constexpr int kWidth = kLanes<T>;
  // Targets come from the second-level cache, or from memory, while the sum runs.
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) __builtin_prefetch(c + row * c_pitch + v * kWidth, 1);
  asm("" : "+r"(c), "+r"(c_pitch));  // or GCC keeps these addresses, for which there are no registers in the loop
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
  if (start != nullptr) {
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) store(c + row * c_pitch + v * kWidth, broadcast(start[row]) + sum[row][v]);
    return;
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* target = c + row * c_pitch + v * kWidth;
      store(target, load(target) + sum[row][v]);
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
  kernels.row_tile_rows = row_vectors(8) > 1 ? 8 : 6;
  kernels.output_vectors = kOutputVectors;
  fill_pixel_tiles<T, kOutputVectors>(kernels);
  fill_gradient_tiles<T, kGradientRows, kChannelVectors>(kernels);
  fill_plane_tiles<T, kGradientRows, kChannelVectors>(kernels);
  fill_row_tiles<T, kMostRowTileRows, kMostTileVectors>(kernels);
  fill_dot_rows<T, kMostDotRows, kMostDotTaps>(kernels);
  kernels.lane = make_lane_kernels<T>();
  kernels.depthwise = make_depthwise_kernels<T>();
  kernels.small_plane = make_small_plane_kernels<T>();
  kernels.output_lane = make_output_lane_kernels<T>();
  kernels.move_block = move_block<T>;
  kernels.sum_run = sum_run<T>;
  kernels.lane_totals = lane_totals<T>;
  kernels.add_rows = add_rows<T>;
  kernels.winograd = make_point_kernels<T>();
  return kernels;
}
