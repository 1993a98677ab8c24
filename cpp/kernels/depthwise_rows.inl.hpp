// Depthwise convolution with square kernels along rows of a plane, x positions as lanes.
//
// Layout:    planes, target rows and gradients as they lie in memory, whatever lies around them.
// Method:    the taps of a source row are sorted out in registers. Sums: strips of one vector from top to bottom; a
//            source row is read once, for all the target rows whose windows hold it, which wait in registers. Products:
//            four rows of gradients at a time, from left to right. Gradients of the input at a stride: as those of
//            pooling (window_spread.inl.hpp).
// Semantics: plain sums of products. Zeros of the padding take part: 0 * infinity is NaN.
// Numerics:  one accumulator per output, added to the bias once; that of a gradient starts from it. depthwise_products
//            sums the products of all its rows lane by lane before it adds them to `sums`.
// Cost:      for each source row and vector of targets a load per tap (step 2: per input vector, and a shuffle per
//            tap); a multiply-add per output and tap.

template <class T, int Kernel, int Step, int Tap = 0>
static inline __attribute__((always_inline)) void split_taps(const Vector<T>* vectors, Vector<T>* taps) {
  if constexpr (Tap < Kernel) {
    taps[Tap] = tap_of<T, Step, Tap>(vectors);
    split_taps<T, Kernel, Step, Tap + 1>(vectors, taps);
  }
}

// The taps of the vector of targets at `x` in a source row, zeros if there is no such row.
template <class T, int Kernel, int Step, bool IsInside, class Part>
static inline __attribute__((always_inline)) void load_row(const DepthwisePlane<T>& plane, const Part& part, Index row,
                                                           Index x, Index ahead, Vector<T>* taps) {
  constexpr int kLoads = WindowTaps<T, Kernel, Step>::kLoads;
  const bool is_inside = IsInside || (row >= 0 && row < plane.source_rows);
  const T* source = plane.source + row * plane.source_pitch + plane.first_column + x * Step;
  Vector<T> vectors[kLoads];
#pragma GCC unroll 8
  for (int i = 0; i < kLoads; ++i) vectors[i] = is_inside ? part.load_taps(source, i, ahead) : Vector<T>{};
  split_taps<T, Kernel, Step>(vectors, taps);
}

// sums[i] are those of target row y - i. Rows that do not exist have sums, too, which are never written.
template <class T, int Kernel, int Step, class Part>
static inline __attribute__((always_inline)) void sum_strip(const DepthwiseRows<T>& plane, const Vector<T>* factors,
                                                            Index x, const Part& part) {
  constexpr int kOpen = (Kernel + Step - 1) / Step;  // target rows that a source row may add to
  Vector<T> sums[kOpen] = {};
  for (Index y = 0; y < plane.rows + kOpen - 1; ++y) {
#pragma GCC unroll 2
    for (int first = 0; first < Step; ++first) {
      Vector<T> taps[Kernel];
      load_row<T, Kernel, Step, false>(plane, part, plane.first_row + y * Step + first, x, plane.source_ahead, taps);
#pragma GCC unroll 8
      for (int tap = 0; tap < Kernel; ++tap)
#pragma GCC unroll 8
        for (int i = 0; i < kOpen; ++i)
          if (first + i * Step < Kernel)
            sums[i] = multiply_add(factors[(first + i * Step) * Kernel + tap], taps[tap], sums[i]);
    }
    if (y >= kOpen - 1) {
      T* target = plane.target + (y - (kOpen - 1)) * plane.target_pitch + x;
      if (plane.target_ahead != 0) fetch_target(target + plane.target_ahead);
      part.put(target, broadcast(plane.bias) + sums[kOpen - 1]);
    }
#pragma GCC unroll 8
    for (int i = kOpen - 1; i > 0; --i) sums[i] = sums[i - 1];
    sums[0] = Vector<T>{};
  }
}

// The last vector of a row may overlap the one before it.
template <class T, int Kernel, int Step>
static void depthwise_rows(const DepthwiseRows<T>& plane) {
  using Taps = WindowTaps<T, Kernel, Step>;
  constexpr Index kWidth = kLanes<T>;
  Vector<T> factors[Kernel * Kernel];
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) factors[tap] = broadcast(plane.weights[tap]);
  const Index last = plane.columns < kWidth ? 0 : plane.columns - kWidth;
  for (Index column = 0; column < plane.columns; column += kWidth) {
    const Index x = column < last ? column : last, first = plane.first_column + x * Step;
    if (first >= 0 && first + Taps::kReach <= plane.source_columns && plane.columns >= kWidth) {
      sum_strip<T, Kernel, Step>(plane, factors, x, InnerTaps<T, Taps>{});
    } else {
      const Index count = plane.columns < kWidth ? plane.columns : kWidth;
      sum_strip<T, Kernel, Step>(plane, factors, x, BorderTaps<T, Taps>(plane.source_columns, first, T{0}, count));
    }
  }
}

// Lanes past the last column are zeroed on both sides: 0 * NaN is NaN. IsInside: all source rows exist.
template <class T, int Kernel, int Step, int Rows, bool IsInside, class Part, class Columns>
static inline __attribute__((always_inline)) void multiply_rows(const DepthwiseProducts<T>& plane, Index y, Index x,
                                                                const Part& part, Columns columns, Vector<T>* sums) {
  Vector<T> gradients[Rows];
#pragma GCC unroll 4
  for (int row = 0; row < Rows; ++row) {
    const T* source = plane.gradients + (y + row) * plane.gradient_pitch + x;
    gradients[row] = columns.load(source);
    fetch_source(source + kFetchAhead<T>);
  }
#pragma GCC unroll 16
  for (int i = 0; i < Step * (Rows - 1) + Kernel; ++i) {
    Vector<T> taps[Kernel];
    load_row<T, Kernel, Step, IsInside>(plane, part, plane.first_row + y * Step + i, x, kFetchAhead<T>, taps);
#pragma GCC unroll 8
    for (int tap = 0; tap < Kernel; ++tap) {
      const Vector<T> kept = columns.keep(taps[tap]);
#pragma GCC unroll 4
      for (int row = 0; row < Rows; ++row) {
        const int down = i - Step * row;
        if (down >= 0 && down < Kernel)
          sums[down * Kernel + tap] = multiply_add(gradients[row], kept, sums[down * Kernel + tap]);
      }
    }
  }
}

// Target rows [y, y + Rows) from left to right.
template <class T, int Kernel, int Step, int Rows, bool IsInside>
static inline __attribute__((always_inline)) void multiply_band(const DepthwiseProducts<T>& plane, Index y,
                                                                Vector<T>* sums) {
  using Taps = WindowTaps<T, Kernel, Step>;
  constexpr Index kWidth = kLanes<T>;
  for (Index x = 0; x < plane.columns; x += kWidth) {
    const Index first = plane.first_column + x * Step, left = plane.columns - x, count = left < kWidth ? left : kWidth;
    const bool is_inner = first >= 0 && first + Taps::kReach <= plane.source_columns;
    if (is_inner && count == kWidth)
      multiply_rows<T, Kernel, Step, Rows, IsInside>(plane, y, x, InnerTaps<T, Taps>{}, WholeVector<T>{}, sums);
    else if (is_inner)
      multiply_rows<T, Kernel, Step, Rows, IsInside>(plane, y, x, InnerTaps<T, Taps>{}, PartialVector<T>{count}, sums);
    else
      multiply_rows<T, Kernel, Step, Rows, IsInside>(
          plane, y, x, BorderTaps<T, Taps>(plane.source_columns, first, T{0}, count), PartialVector<T>{count}, sums);
  }
}

template <class T, int Kernel, int Step>
static void depthwise_products(const DepthwiseProducts<T>& plane, T* sums) {
  constexpr int kBlock = 4, kReach = (kBlock - 1) * Step + Kernel;
  Vector<T> sum[Kernel * Kernel];
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) sum[tap] = Vector<T>{};
  for (Index y = 0; y < plane.rows;) {
    const Index first = plane.first_row + y * Step;
    const bool is_block = y + kBlock <= plane.rows && first >= 0 && first + kReach <= plane.source_rows;
    if (is_block) multiply_band<T, Kernel, Step, kBlock, true>(plane, y, sum);
    else multiply_band<T, Kernel, Step, 1, false>(plane, y, sum);
    y += is_block ? kBlock : 1;
  }
#pragma GCC unroll 32
  for (int tap = 0; tap < Kernel * Kernel; ++tap) {
    store(sums, load(sums) + sum[tap]);
    sums += kLanes<T>;
  }
}

// What the windows of a row give the elements under them, each by its weight.
template <class T, class Windows, class Part>
class WeightedGradients {
 public:
  inline __attribute__((always_inline)) WeightedGradients(const DepthwiseSpread<T>& s, Index window, const Part& part)
      : s_(s), part_(part), window_(window), ahead_(s.gradients_ahead) {
#pragma GCC unroll 32
    for (int tap = 0; tap < kTaps; ++tap) factors_[tap] = broadcast(s.weights[tap]);
  }

  inline __attribute__((always_inline)) Vector<T> start() const { return broadcast(s_.bias); }
  inline __attribute__((always_inline)) T rest() const { return s_.bias; }

  inline __attribute__((always_inline)) void read(Index y) {
    const T* source = s_.gradients + y * s_.windows + window_;
    fetch_source(source + ahead_);
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) gradients_[i] = part_.at(source + i, i, Vector<T>{});
  }

  template <int Phase>
  inline __attribute__((always_inline)) Vector<T> add(Vector<T> sum, int row, Index) const {
    using Own = typename Windows::template Of<Phase>;
#pragma GCC unroll 4
    for (int i = Own::kFirst; i <= Own::kLast; ++i) {
      const int tap = Own::kTap + (Own::kLast - i) * Windows::kPhases;
      sum = multiply_add(factors_[row * Windows::kColumns + tap], gradients_[i - Windows::kFirst], sum);
    }
    return sum;
  }

 private:
  static constexpr int kTaps = Windows::kRows * Windows::kColumns;

  const DepthwiseSpread<T>& s_;
  const Part& part_;
  Index window_, ahead_;
  Vector<T> factors_[kTaps], gradients_[Windows::kCount];
};

template <class T>
constexpr DepthwiseKernels<T> make_depthwise_kernels() {
  DepthwiseKernels<T> kernels{};
  kernels.rows[2][0] = depthwise_rows<T, 3, 1>;
  kernels.rows[2][1] = depthwise_rows<T, 3, 2>;
  kernels.rows[4][0] = depthwise_rows<T, 5, 1>;
  kernels.spreads = window_spreads<T, DepthwiseSpread, WeightedGradients, SpreadSize<2, 2, 0>, SpreadSize<2, 2, 1>,
                                   SpreadSize<3, 2, 0>, SpreadSize<3, 2, 1>, SpreadSize<4, 2, 0>, SpreadSize<4, 2, 1>,
                                   SpreadSize<5, 2, 0>, SpreadSize<5, 2, 1>>();
  kernels.products[2][0] = depthwise_products<T, 3, 1>;
  kernels.rows_read_borders = LaneSpan<T>::kHasMasks;
  // Sixteen registers are too few for the vectors of which taps are sorted out, or for masks, besides.
  if constexpr (kRegisters >= 32) {
    kernels.rows[4][1] = depthwise_rows<T, 5, 2>;
    kernels.products[2][1] = depthwise_products<T, 3, 2>;
    kernels.products_read_borders = LaneSpan<T>::kHasMasks;
  }
  return kernels;
}
