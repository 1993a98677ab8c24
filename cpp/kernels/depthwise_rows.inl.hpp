// Depthwise convolution with square kernels along rows of a plane, x positions as lanes.
//
// Layout:    padded rows, split into even and odd columns at step 2, so that every tap of a target row is a run of
//            consecutive elements; whole vectors are readable past the end of a row. Target rows and gradients lie as
//            they are.
// Semantics: plain sums of products; nothing past the end of a row takes part.
// Numerics:  one accumulator per output, added to the bias once; depthwise_products sums the products of all its rows
//            lane by lane before it adds them to `sums`.
// Cost:      source rows stay in registers for the four target rows that read them: 18 loads for 36 multiply-adds at
// 3x3.

template <class T, int Kernel, int Step, int Rows, class Part>
static inline __attribute__((always_inline)) void depthwise_block(const DepthwiseRows<T>& plane,
                                                                  const Vector<T> (&factors)[Kernel * Kernel], Index y,
                                                                  Index x, Part part) {
  const T* source = plane.source + Step * y * plane.source_pitch + x;
  const Index odd_columns = plane.odd_columns;
  T* target = plane.target + y * plane.target_pitch + x;
  Vector<T> sum[Rows];
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row) sum[row] = Vector<T>{};
#pragma GCC unroll 16
  for (int i = 0; i < Step * (Rows - 1) + Kernel; ++i, source += plane.source_pitch)
#pragma GCC unroll 8
    for (int tap = 0; tap < Kernel; ++tap) {
      const Vector<T> value = load(source + tap / Step + (tap % Step == 0 ? 0 : odd_columns));
#pragma GCC unroll 4
      for (int row = 0; row < Rows; ++row) {
        const int down = i - Step * row;
        if (down >= 0 && down < Kernel) sum[row] = multiply_add(factors[down * Kernel + tap], value, sum[row]);
      }
    }
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row, target += plane.target_pitch)
    part.store(target, broadcast(plane.bias) + sum[row]);
}

// The last vector of a row may overlap the one before it.
template <class T, int Kernel, int Step, int Rows>
static inline __attribute__((always_inline)) void depthwise_band(const DepthwiseRows<T>& plane,
                                                                 const Vector<T> (&factors)[Kernel * Kernel], Index y) {
  constexpr Index kWidth = kLanes<T>;
  if (plane.columns < kWidth)
    return depthwise_block<T, Kernel, Step, Rows>(plane, factors, y, 0, PartialVector<T>{plane.columns});
  for (Index x = 0; x < plane.columns; x += kWidth)
    depthwise_block<T, Kernel, Step, Rows>(plane, factors, y, x + kWidth <= plane.columns ? x : plane.columns - kWidth,
                                           WholeVector<T>{});
}

template <class T, int Kernel, int Step>
static void depthwise_rows(const DepthwiseRows<T>& plane) {
  Vector<T> factors[Kernel * Kernel];
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) factors[tap] = broadcast(plane.weights[tap]);
  Index y = 0;
  for (; y + 4 <= plane.rows; y += 4) depthwise_band<T, Kernel, Step, 4>(plane, factors, y);
  for (; y + 2 <= plane.rows; y += 2) depthwise_band<T, Kernel, Step, 2>(plane, factors, y);
  for (; y < plane.rows; ++y) depthwise_band<T, Kernel, Step, 1>(plane, factors, y);
}

template <class T, int Rows>
static inline __attribute__((always_inline)) void sum_phase(const DepthwisePhases<T>& plane, const T* source,
                                                            Index first, Index taps, Vector<T> (&sum)[Rows]) {
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row) sum[row] = Vector<T>{};
  for (Index tap = first; tap < first + taps; ++tap) {
    const Vector<T> factor = broadcast(plane.weights[tap]);
    const T* columns = source + plane.offsets[tap];
#pragma GCC unroll 4
    for (int row = 0; row < Rows; ++row)
      sum[row] = multiply_add(factor, load(columns + row * plane.source_pitch), sum[row]);
  }
}

// The elements of two vectors in turn: the first or the last half of them.
template <class T, int Half, int... Lane>
static inline __attribute__((always_inline)) Vector<T> interleave(Vector<T> even, Vector<T> odd, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>;
  return __builtin_shufflevector(even, odd, (Half * kWidth / 2 + Lane / 2 + (Lane % 2 == 0 ? 0 : kWidth))...);
}

template <class T, int Rows>
static inline __attribute__((always_inline)) void depthwise_phase_band(const DepthwisePhases<T>& plane, Index y) {
  constexpr Index kWidth = kLanes<T>;
  using All = typename LaneList<kLanes<T>>::type;
  for (Index x = 0; x < plane.columns; x += 2 * kWidth) {
    const T* source = plane.source + y * plane.source_pitch + x / 2;
    Vector<T> even[Rows], odd[Rows];
    sum_phase<T, Rows>(plane, source, 0, plane.even_taps, even);
    sum_phase<T, Rows>(plane, source, plane.even_taps, plane.odd_taps, odd);
    const Vector<T> bias = broadcast(plane.bias);
    const Index left = plane.columns - x;
#pragma GCC unroll 4
    for (int row = 0; row < Rows; ++row) {
      T* target = plane.target + (y + row) * plane.target_pitch + x;
      const Vector<T> first = bias + interleave<T, 0>(even[row], odd[row], All{});
      const Vector<T> second = bias + interleave<T, 1>(even[row], odd[row], All{});
      if (left >= 2 * kWidth) {
        store(target, first);
        store(target + kWidth, second);
      } else {
        store_first(target, first, left < kWidth ? left : kWidth);
        if (left > kWidth) store_first(target + kWidth, second, left - kWidth);
      }
    }
  }
}

template <class T>
static void depthwise_phases(const DepthwisePhases<T>& plane) {
  Index y = 0;
  for (; y + 4 <= plane.rows; y += 4) depthwise_phase_band<T, 4>(plane, y);
  for (; y < plane.rows; ++y) depthwise_phase_band<T, 1>(plane, y);
}

template <class T, int Kernel, int Rows>
static inline __attribute__((always_inline)) void depthwise_products_band(const DepthwiseProducts<T>& plane,
                                                                          Vector<T> (&sums)[Kernel * Kernel], Index y) {
  for_each_vector<T>(plane.columns, [&](auto part, Index x) __attribute__((always_inline)) {
    const T* source = plane.source + y * plane.source_pitch + x;
    Vector<T> gradient[Rows];
#pragma GCC unroll 4
    for (int row = 0; row < Rows; ++row)
      gradient[row] = part.load(plane.gradients + (y + row) * plane.gradient_pitch + x);
#pragma GCC unroll 16
    for (int i = 0; i < Rows + Kernel - 1; ++i, source += plane.source_pitch)
#pragma GCC unroll 8
      for (int tap = 0; tap < Kernel; ++tap) {
        // Lanes past the last column are zeroed on both sides: 0 * NaN is NaN.
        const Vector<T> value = part.keep(load(source + tap));
#pragma GCC unroll 4
        for (int row = 0; row < Rows; ++row)
          if (i >= row && i < row + Kernel) {
            Vector<T>& sum = sums[(i - row) * Kernel + tap];
            sum = multiply_add(gradient[row], value, sum);
          }
      }
  });
}

template <class T, int Kernel>
static void depthwise_products(const DepthwiseProducts<T>& plane, T* sums) {
  Vector<T> sum[Kernel * Kernel];
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) sum[tap] = Vector<T>{};
  Index y = 0;
  for (; y + 4 <= plane.rows; y += 4) depthwise_products_band<T, Kernel, 4>(plane, sum, y);
  for (; y < plane.rows; ++y) depthwise_products_band<T, Kernel, 1>(plane, sum, y);
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) {
    store(sums, load(sums) + sum[tap]);
    sums += kLanes<T>;
  }
}

template <class T>
constexpr DepthwiseKernels<T> make_depthwise_kernels() {
  DepthwiseKernels<T> kernels{};
  kernels.rows[2][0] = depthwise_rows<T, 3, 1>;
  kernels.rows[2][1] = depthwise_rows<T, 3, 2>;
  kernels.rows[4][0] = depthwise_rows<T, 5, 1>;
  kernels.rows[4][1] = depthwise_rows<T, 5, 2>;
  kernels.phases = depthwise_phases<T>;
  kernels.products[2] = depthwise_products<T, 3>;
  return kernels;
}
