// Depthwise convolution with square kernels along rows of a plane, x positions as lanes.
//
// Layout:    padded rows, so that every tap of a target row is a run of consecutive elements; whole vectors are
// readable
//            past the end of a row. Target rows and gradients lie as they are.
// Semantics: plain sums of products; nothing past the end of a row takes part.
// Numerics:  one accumulator per output, added to the bias once; depthwise_products sums the products of all its rows
//            lane by lane before it adds them to `sums`.
// Cost:      source rows stay in registers for the four target rows that read them: 18 loads for 36 multiply-adds at
// 3x3.

template <class T, int Kernel, int Rows, class Part>
static inline __attribute__((always_inline)) void depthwise_block(const DepthwiseRows<T>& plane,
                                                                  const Vector<T> (&factors)[Kernel * Kernel], Index y,
                                                                  Index x, Part part) {
  const T* source = plane.source + y * plane.source_pitch + x;
  T* target = plane.target + y * plane.target_pitch + x;
  Vector<T> sum[Rows];
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row) sum[row] = Vector<T>{};
#pragma GCC unroll 16
  for (int i = 0; i < Rows + Kernel - 1; ++i, source += plane.source_pitch)
#pragma GCC unroll 8
    for (int tap = 0; tap < Kernel; ++tap) {
      const Vector<T> value = load(source + tap);
#pragma GCC unroll 4
      for (int row = 0; row < Rows; ++row)
        if (i >= row && i < row + Kernel) sum[row] = multiply_add(factors[(i - row) * Kernel + tap], value, sum[row]);
    }
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row, target += plane.target_pitch)
    part.store(target, broadcast(plane.bias) + sum[row]);
}

// The last vector of a row may overlap the one before it.
template <class T, int Kernel, int Rows>
static inline __attribute__((always_inline)) void depthwise_band(const DepthwiseRows<T>& plane,
                                                                 const Vector<T> (&factors)[Kernel * Kernel], Index y) {
  constexpr Index kWidth = kLanes<T>;
  if (plane.columns < kWidth)
    return depthwise_block<T, Kernel, Rows>(plane, factors, y, 0, PartialVector<T>{plane.columns});
  for (Index x = 0; x < plane.columns; x += kWidth)
    depthwise_block<T, Kernel, Rows>(plane, factors, y, x + kWidth <= plane.columns ? x : plane.columns - kWidth,
                                     WholeVector<T>{});
}

template <class T, int Kernel>
static void depthwise_rows(const DepthwiseRows<T>& plane) {
  Vector<T> factors[Kernel * Kernel];
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) factors[tap] = broadcast(plane.weights[tap]);
  Index y = 0;
  for (; y + 4 <= plane.rows; y += 4) depthwise_band<T, Kernel, 4>(plane, factors, y);
  for (; y + 2 <= plane.rows; y += 2) depthwise_band<T, Kernel, 2>(plane, factors, y);
  for (; y < plane.rows; ++y) depthwise_band<T, Kernel, 1>(plane, factors, y);
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
  kernels.rows[2] = depthwise_rows<T, 3>;
  kernels.rows[4] = depthwise_rows<T, 5>;
  kernels.products[2] = depthwise_products<T, 3>;
  return kernels;
}
