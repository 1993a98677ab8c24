// Winograd convolution of 2 or 3 taps along an axis or two: tiles of the source, of the weights and of gradients become
// products at points.
//
// Layout:    lanes are channels, so a transform is the same for every lane and knows no neighbours but pixels.
// Semantics: F(4, 3) at the points 0, +-5/8, +-3/2, inf; F(4, 2) at +-3/8, +-5/4, inf; F(2, 3) at 0, +-1, inf; F(2, 2)
//            at 0, 1, inf; both axes alike. A value that is not finite would reach its whole tile: the transforms
//            report it, and the caller computes that image directly.
// Numerics:  cpp/README.md, notes 27 and 51: about 0.6 to 1 (two outputs) and 1.1 to 2 times (four) the error of a sum
//            in sequence, if it is not short. Every product is summed in the order of the channels.
// Cost:      36 / 16 and 16 / 4 products for each output in place of 9, 25 / 16 and 9 / 4 in place of 4, and the roots
//            of these along one axis. The transforms are bound by loads and stores.
// Source:    Lavin and Gray, arXiv:1509.09308; points after Barabasz et al., arXiv:1803.10986.

// What a strip holds: the pixels under the windows of its tiles, or gradients of the tiles themselves.
template <class T, class Points>
struct SourceSide {
  static constexpr int kInputs = Points::kPoints, kPoints = Points::kPoints, kOutputs = Points::kOutputs;
  static inline __attribute__((always_inline)) void transform(const Vector<T> (&d)[kInputs],
                                                              Vector<T> (&v)[Points::kPoints]) {
    Points::source(d, v);
  }
};
template <class T, class Points>
struct GradientSide {
  static constexpr int kInputs = Points::kOutputs, kPoints = Points::kPoints, kOutputs = Points::kOutputs;
  static inline __attribute__((always_inline)) void transform(const Vector<T> (&d)[kInputs],
                                                              Vector<T> (&v)[Points::kPoints]) {
    Points::gradient(d, v);
  }
};

// The largest magnitude that was seen, as bits: NaN is above inf, inf above every number.
template <class T>
class Magnitude {
 public:
  inline __attribute__((always_inline)) void see(Vector<T> value) {
    const Bits magnitude = (Bits)value & kNoSign;
    largest_ = magnitude > largest_ ? magnitude : largest_;
  }
  // Products of two values below 2^50, summed over channels and points, stay below the largest float.
  bool is_small() const {
    constexpr Bit kLimit = sizeof(T) == 4 ? Bit{50 + 127} << 23 : Bit{50 + 1023} << (sizeof(T) * 8 - 12);
    bool is_small = true;
    for (int lane = 0; lane < kLanes<T>; ++lane) is_small &= largest_[lane] < kLimit;
    return is_small;
  }

 private:
  using Bit = LanePosition<T>;
  using Bits = Vector<Bit>;
  static constexpr Bit kNoSign = static_cast<Bit>(~0ull >> 1 >> (64 - 8 * sizeof(T)));
  Bits largest_{};
};

template <class T, class Side, class Part>
static inline __attribute__((always_inline)) void transform_columns(const StripSource<T>& strip, const Part& part,
                                                                    Index columns, Magnitude<T>& magnitude) {
  constexpr int kWidth = kLanes<T>;
  for (Index x = 0; x < strip.stop - strip.first; ++x) {
    Vector<T> pixels[Side::kInputs], values[Side::kPoints];
#pragma GCC unroll 6
    for (int i = 0; i < Side::kInputs; ++i) {
      pixels[i] = part.load(strip.rows[i] + x * strip.pitches[i]);
      magnitude.see(pixels[i]);
    }
    Side::transform(pixels, values);
    T* column = strip.columns + (strip.first + x) * kWidth;
#pragma GCC unroll 6
    for (int i = 0; i < Side::kPoints; ++i) store(column + i * columns * kWidth, values[i]);
  }
}

template <class T, class SideY, class SideX>
static bool transform_strip(const StripSource<T>& strip) {
  constexpr int kWidth = kLanes<T>, kPoints = SideX::kPoints;
  const Index columns = strip.tiles * SideX::kOutputs + SideX::kInputs - SideX::kOutputs;
  for (int i = 0; i < SideY::kPoints; ++i) {
    T* row = strip.columns + i * columns * kWidth;
    for (Index x = 0; x < strip.first; ++x) store(row + x * kWidth, Vector<T>{});
    for (Index x = strip.stop; x < columns; ++x) store(row + x * kWidth, Vector<T>{});
  }
  Magnitude<T> magnitude;
  if (strip.lanes == kWidth) transform_columns<T, SideY>(strip, WholeVector<T>{}, columns, magnitude);
  else transform_columns<T, SideY>(strip, PartialVector<T>{strip.lanes}, columns, magnitude);
  for (Index tile = 0; tile < strip.tiles; ++tile) {
    const T* row = strip.columns + tile * SideX::kOutputs * kWidth;
    T* target = strip.transformed + tile * strip.tile_pitch;
    for (int i = 0; i < SideY::kPoints; ++i) {
      Vector<T> pixels[SideX::kInputs], values[kPoints];
#pragma GCC unroll 6
      for (int j = 0; j < SideX::kInputs; ++j) pixels[j] = load(row + j * kWidth);
      SideX::transform(pixels, values);
#pragma GCC unroll 6
      for (int j = 0; j < kPoints; ++j) store(target + j * strip.point_pitch, values[j]);
      row += columns * kWidth;
      target += kPoints * strip.point_pitch;
    }
  }
  return magnitude.is_small();
}

// One tile of outputs: columns of products first, then rows of those.
template <class T, class PointsY, class PointsX, class Write>
static inline __attribute__((always_inline)) void transform_tile(const T* products, Index point_pitch, Vector<T> bias,
                                                                 Write&& write) {
  Vector<T> columns[PointsY::kOutputs][PointsX::kPoints];
#pragma GCC unroll 6
  for (int j = 0; j < PointsX::kPoints; ++j) {
    Vector<T> values[PointsY::kPoints], sums[PointsY::kOutputs];
#pragma GCC unroll 6
    for (int i = 0; i < PointsY::kPoints; ++i) values[i] = load(products + (i * PointsX::kPoints + j) * point_pitch);
    PointsY::products(values, sums);
#pragma GCC unroll 4
    for (int i = 0; i < PointsY::kOutputs; ++i) columns[i][j] = sums[i];
  }
#pragma GCC unroll 4
  for (int i = 0; i < PointsY::kOutputs; ++i) {
    Vector<T> sums[PointsX::kOutputs];
    PointsX::products(columns[i], sums);
#pragma GCC unroll 4
    for (int j = 0; j < PointsX::kOutputs; ++j) write(i, j, sums[j] + bias);
  }
}

template <class T, class PointsY, class PointsX>
static void transform_products(const StripTarget<T>& strip) {
  constexpr int kOutputs = PointsX::kOutputs;
  const Vector<T> bias = load(strip.bias);
  for (Index x = 0; x < strip.columns; x += kOutputs) {
    const T* products = strip.products + x / kOutputs * kProductPitch;
    T* target = strip.target + x * strip.column_pitch;
    if (strip.rows >= PointsY::kOutputs && x + kOutputs <= strip.columns && strip.lanes == kLanes<T>) {
      transform_tile<T, PointsY, PointsX>(products, strip.point_pitch, bias, [&](int i, int j, Vector<T> value) {
        store(target + i * strip.row_pitch + j * strip.column_pitch, value);
      });
    } else {
      transform_tile<T, PointsY, PointsX>(products, strip.point_pitch, bias, [&](int i, int j, Vector<T> value) {
        if (i < strip.rows && x + j < strip.columns)
          store_first(target + i * strip.row_pitch + j * strip.column_pitch, value, strip.lanes);
      });
    }
  }
}

// One channel and one vector of rows.
template <class T, class PointsY, class PointsX>
static inline __attribute__((always_inline)) void transform_taps(const PointWeights<T>& weights, const T* source,
                                                                 Index lanes, T* target, Magnitude<T>& magnitude) {
  constexpr int kTaps = PointsX::kTaps;
  Vector<T> columns[PointsY::kPoints][kTaps];
#pragma GCC unroll 3
  for (int x = 0; x < kTaps; ++x) {
    Vector<T> taps[PointsY::kTaps], values[PointsY::kPoints];
#pragma GCC unroll 3
    for (int y = 0; y < PointsY::kTaps; ++y) {
      const Index offset = weights.offsets[kTaps * y + x];
      taps[y] = offset < 0 ? Vector<T>{} : load_first_apart(source + offset, lanes, weights.row_stride);
      magnitude.see(taps[y]);
    }
    PointsY::weights(taps, values);
#pragma GCC unroll 6
    for (int i = 0; i < PointsY::kPoints; ++i) columns[i][x] = values[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < PointsY::kPoints; ++i) {
    Vector<T> values[PointsX::kPoints];
    PointsX::weights(columns[i], values);
#pragma GCC unroll 6
    for (int j = 0; j < PointsX::kPoints; ++j)
      store(target + (i * PointsX::kPoints + j) * weights.point_pitch, values[j]);
  }
}

template <class T, class PointsY, class PointsX>
static bool transform_weights(const PointWeights<T>& weights) {
  constexpr Index kWidth = kLanes<T>;
  Magnitude<T> magnitude;
  for (Index channel = 0; channel < weights.channels; ++channel)
    for (Index row = 0; row < weights.rows; row += kWidth) {
      const Index lanes = weights.rows - row < kWidth ? weights.rows - row : kWidth;
      transform_taps<T, PointsY, PointsX>(weights,
                                          weights.weight + channel * weights.channel_stride + row * weights.row_stride,
                                          lanes, weights.points + channel * kPointRows + row, magnitude);
    }
  return magnitude.is_small();
}

template <class T, class PointsY, class PointsX>
static inline __attribute__((always_inline)) void gather_taps(const PointWeights<T>& weights, const T* source,
                                                              T* target) {
  constexpr int kTaps = PointsX::kTaps;
  Vector<T> columns[PointsY::kTaps][PointsX::kPoints];
#pragma GCC unroll 6
  for (int j = 0; j < PointsX::kPoints; ++j) {
    Vector<T> values[PointsY::kPoints], taps[PointsY::kTaps];
#pragma GCC unroll 6
    for (int i = 0; i < PointsY::kPoints; ++i)
      values[i] = load(source + (i * PointsX::kPoints + j) * weights.point_pitch);
    PointsY::weight_gradient(values, taps);
#pragma GCC unroll 3
    for (int y = 0; y < PointsY::kTaps; ++y) columns[y][j] = taps[y];
  }
#pragma GCC unroll 3
  for (int y = 0; y < PointsY::kTaps; ++y) {
    Vector<T> taps[kTaps];
    PointsX::weight_gradient(columns[y], taps);
#pragma GCC unroll 3
    for (int x = 0; x < kTaps; ++x)
      if (weights.offsets[kTaps * y + x] >= 0) store(target + weights.offsets[kTaps * y + x], taps[x]);
  }
}

template <class T, class PointsY, class PointsX>
static void transform_weight_gradient(const PointWeights<T>& weights) {
  for (Index channel = 0; channel < weights.channels; ++channel)
    for (Index row = 0; row < weights.rows; row += kLanes<T>)
      gather_taps<T, PointsY, PointsX>(weights, weights.points + channel * kPointRows + row,
                                       weights.weight + channel * weights.channel_stride + row);
}

// The products of one point. Tiles and channels change places between the two: a sum over channels reads the rows of
// `a` at a distance, one over tiles reads them side by side.
template <class T, int Rows, int Vectors, class Finish>
static inline __attribute__((always_inline)) void sum_products(const T* a, Index a_row, Index a_step, const T* b,
                                                               Index b_step, Index depth, Finish&& finish) {
  constexpr int kWidth = kLanes<T>;
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
      const Vector<T> factor = broadcast(a[row * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[row][v] = multiply_add(factor, column[v], sum[row][v]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) finish(row, v * kWidth, sum[row][v]);
}

template <class T, int Rows, int Vectors, bool Adds>
static void point_product(const T* transformed, const T* weights, T* products, Index depth) {
  sum_products<T, Rows, Vectors>(transformed, kTransformedPitch, 1, weights, kPointRows, depth,
                                 [&](int row, int lane, Vector<T> sum) {
                                   T* target = products + row * kProductPitch + lane;
                                   store(target, Adds ? load(target) + sum : sum);
                                 });
}

template <class T, int Rows, int Vectors>
static void point_gradient(const T* transformed, Index tile_pitch, const T* gradients, T* sums, Index tiles) {
  sum_products<T, Rows, Vectors>(transformed, 1, tile_pitch, gradients, kProductPitch, tiles,
                                 [&](int row, int lane, Vector<T> sum) {
                                   T* target = sums + row * kPointRows + lane;
                                   store(target, load(target) + sum);
                                 });
}

template <class T, int Rows, int Vectors>
constexpr void fill_point_tiles(PointKernels<T>& kernels) {
  kernels.set[Rows - 1][Vectors - 1] = point_product<T, Rows, Vectors, false>;
  kernels.add[Rows - 1][Vectors - 1] = point_product<T, Rows, Vectors, true>;
  kernels.gradient[Rows - 1][Vectors - 1] = point_gradient<T, Rows, Vectors>;
  if constexpr (Vectors > 1) fill_point_tiles<T, Rows, Vectors - 1>(kernels);
  else if constexpr (Rows > 1) fill_point_tiles<T, Rows - 1, kChannelVectors>(kernels);
}

template <class T, class PointsY, class PointsX>
constexpr WinogradKernels<T> make_winograd_kernels(const WinogradTerms& least_terms) {
  return {{PointsY::kTaps, PointsY::kOutputs, PointsY::kPoints},
          {PointsX::kTaps, PointsX::kOutputs, PointsX::kPoints},
          least_terms,
          transform_strip<T, SourceSide<T, PointsY>, SourceSide<T, PointsX>>,
          transform_strip<T, GradientSide<T, PointsY>, GradientSide<T, PointsX>>,
          transform_products<T, PointsY, PointsX>,
          transform_weights<T, PointsY, PointsX>,
          transform_weight_gradient<T, PointsY, PointsX>};
}

template <class T>
constexpr PointKernels<T> make_point_kernels() {
  PointKernels<T> kernels{};
  // Without fused multiply-add, products are rounded once more.
  constexpr Index kShare = kHasFusedMultiplyAdd ? 2 : 3, kNever = Index{1} << 60;
  kernels.two_outputs = {{make_winograd_kernels<T, F11<T>, F22<T>>({64, 64, 1024}),
                          make_winograd_kernels<T, F11<T>, F23<T>>({64, 64, 64})},
                         {make_winograd_kernels<T, F22<T>, F22<T>>({64, 64, 1024}),
                          make_winograd_kernels<T, F23<T>, F23<T>>({144, 144, 144})}};
  kernels.four_outputs = {{make_winograd_kernels<T, F11<T>, F42<T>>({64, 64, kNever}),
                           make_winograd_kernels<T, F11<T>, F43<T>>({64, 64, kNever})},
                          {make_winograd_kernels<T, F42<T>, F42<T>>({64 * kShare, 96 * kShare, kNever}),
                           make_winograd_kernels<T, F43<T>, F43<T>>({144 * kShare, 576 * kShare, kNever})}};
  kernels.tile_rows = kGradientRows;
  kernels.tile_vectors = kChannelVectors;
  fill_point_tiles<T, kGradientRows, kChannelVectors>(kernels);
  return kernels;
}
