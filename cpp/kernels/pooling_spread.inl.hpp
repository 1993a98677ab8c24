// Gradients of averages over small windows, one channel: every input element sums the divided gradients of the windows
// over it and is written once.
//
// Layout:    column x = Stride * i + phase. The windows over the columns of one phase are neighbours for neighbouring
// i,
//            so lanes are i; the phases are put together in registers.
// Method:    rows of windows from top to bottom. What one gives is the same for all the input rows under it, which stay
//            in registers until no further windows lie over them.
// Numerics:  gradients are divided, added from left to right, and these sums from top to bottom.
// Cost:      for each vector of windows and each distance between column and window, a load and a division; an addition
//            per tap of a row and per row.

// Which windows meet the columns of a phase: i + shift + kFirst, ..., i + shift + kLast, where `shift` windows begin in
// the padding. Offset is the padding modulo the stride.
template <int Kernel, int Stride, int Offset, int Phase>
struct PhaseWindows {
  static constexpr int kTap = (Phase + Offset) % Stride;  // of the last window
  static constexpr int kLast = (Phase + Offset) / Stride;
  static constexpr int kFirst = kLast - (Kernel - 1 - kTap) / Stride;
};

// The windows that any phase meets.
template <int Kernel, int Stride, int Offset>
struct StepWindows {
  static constexpr int kFirst = PhaseWindows<Kernel, Stride, Offset, 0>::kFirst;
  static constexpr int kLast = PhaseWindows<Kernel, Stride, Offset, Stride - 1>::kLast;
  static constexpr int kCount = kLast - kFirst + 1;
};

template <class T>
struct InnerSpread {
  inline __attribute__((always_inline)) Vector<T> at(const T* source, int, Vector<T>) const { return load(source); }
};

template <class T, int Count>
struct BorderSpread {
  LaneSpan<T> spans[Count];

  // Windows [0, windows) exist; lane 0 of distance 0 is `first`.
  inline __attribute__((always_inline)) BorderSpread(Index windows, Index first) {
#pragma GCC unroll 4
    for (int i = 0; i < Count; ++i) spans[i] = LaneSpan<T>(-(first + i), windows - (first + i));
  }
  inline __attribute__((always_inline)) Vector<T> at(const T* source, int distance, Vector<T> others) const {
    return spans[distance].load(source, others);
  }
};

// Columns [Stride * first, + Stride vectors) of all rows. A window has Rows rows, RowStride apart.
template <class T, int Kernel, int Stride, int Offset, int Rows, int RowStride, class Part>
class SpreadStrip {
 public:
  inline __attribute__((always_inline)) SpreadStrip(const WindowSpread<T>& s, Index first, const Part& part)
      : s_(s), part_(part), column_(first * Stride), window_(first + s.shift + Windows::kFirst) {
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i)
      shares_[i] = part.at(s.column_shares + window_ + i, i, broadcast(static_cast<T>(1)));
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) start(i);
  }

  inline __attribute__((always_inline)) void run() {
    const Index above = s_.first_row + s_.row_padding - Rows;  // in padded rows, the last one not met any more
    const Index covered = s_.window_rows == 0 ? 0 : (s_.window_rows - 1) * RowStride + Rows - s_.row_padding;
    for (Index y = above < 0 ? 0 : above / RowStride + 1;; ++y) {
      const Index row = y * RowStride - s_.row_padding;
      if (row >= s_.first_row + s_.rows) return;
      if (y < s_.window_rows) add(y);
#pragma GCC unroll 4
      for (int i = 0; i < RowStride; ++i)
        if (row + i >= s_.first_row && row + i < s_.first_row + s_.rows) put(row + i, row + i < covered, sums_[i]);
#pragma GCC unroll 4
      for (int i = 0; i + RowStride < Rows; ++i)
#pragma GCC unroll 4
        for (int phase = 0; phase < Stride; ++phase) sums_[i][phase] = sums_[i + RowStride][phase];
#pragma GCC unroll 4
      for (int i = Rows - RowStride; i < Rows; ++i) start(i);
    }
  }

 private:
  using Windows = StepWindows<Kernel, Stride, Offset>;

  // -0.0 + x is x, whatever the sign of a zero.
  inline __attribute__((always_inline)) void start(int row) {
#pragma GCC unroll 4
    for (int phase = 0; phase < Stride; ++phase) sums_[row][phase] = broadcast(static_cast<T>(-0.0));
  }

  inline __attribute__((always_inline)) void add(Index y) {
    if (s_.row_shares[y] != row_share_) find_divisors(s_.row_shares[y]);
    constexpr Index kAhead = 4096 / static_cast<Index>(sizeof(T));  // what comes is fetched while this is added up
    const T* source = s_.gradients + y * s_.windows + window_;
    __builtin_prefetch(source + kAhead, 0, 2);
    Vector<T> gradients[Windows::kCount];
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) {
      const Vector<T> gradient = part_.at(source + i, i, Vector<T>{});
      gradients[i] =
          s_.has_exact_inverses ? gradient * inverses_[i] : quotient<T>(gradient, divisors_[i], inverses_[i]);
    }
    add_phases(gradients);
  }

  template <int Phase = 0>
  inline __attribute__((always_inline)) void add_phases(const Vector<T>* gradients) {
    if constexpr (Phase < Stride) {
      using Own = PhaseWindows<Kernel, Stride, Offset, Phase>;
      Vector<T> sum = gradients[Own::kFirst - Windows::kFirst];
#pragma GCC unroll 4
      for (int i = Own::kFirst + 1; i <= Own::kLast; ++i) sum += gradients[i - Windows::kFirst];
#pragma GCC unroll 4
      for (int row = 0; row < Rows; ++row) sums_[row][Phase] += sum;
      add_phases<Phase + 1>(gradients);
    }
  }

  inline __attribute__((always_inline)) void find_divisors(T row_share) {
    row_share_ = row_share;
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) {
      divisors_[i] = shares_[i] * row_share;
      inverses_[i] = 1 / divisors_[i];
    }
  }

  // A pointer to either sums or zeros would keep the sums in memory.
  inline __attribute__((always_inline)) void put(Index row, bool is_covered, const Vector<T>* sums) const {
    constexpr Index kRowsAhead = 8;
    T* target = s_.out + row * s_.columns + column_;
    const Index left = s_.columns - column_;
#pragma GCC unroll 4
    for (int phase = 0; phase < Stride; ++phase)
      __builtin_prefetch(target + kRowsAhead * s_.columns + phase * kLanes<T>, 1, 3);
    if (!is_covered) {
      for (Index i = 0; i < left && i < Stride * kLanes<T>; ++i) target[i] = T{};
    } else if (left >= Stride * kLanes<T>) {
      store_joined<T, Stride, false>(sums, target, left);
    } else {
      store_joined<T, Stride, true>(sums, target, left);
    }
  }

  const WindowSpread<T>& s_;
  const Part& part_;
  Index column_, window_;
  Vector<T> shares_[Windows::kCount], divisors_[Windows::kCount], inverses_[Windows::kCount];
  T row_share_{};  // 0: none yet
  Vector<T> sums_[Rows][Stride];
};

template <class T, int Kernel, int Stride, int Offset, int Rows, int RowStride>
static void spread_windows(const WindowSpread<T>& s) {
  using Windows = StepWindows<Kernel, Stride, Offset>;
  for (Index first = 0; first * Stride < s.columns; first += kLanes<T>) {
    const Index window = first + s.shift + Windows::kFirst;
    if (window >= 0 && window + Windows::kCount - 1 + kLanes<T> <= s.windows) {
      const InnerSpread<T> part;
      SpreadStrip<T, Kernel, Stride, Offset, Rows, RowStride, InnerSpread<T>>(s, first, part).run();
    } else {
      const BorderSpread<T, Windows::kCount> part(s.windows, window);
      SpreadStrip<T, Kernel, Stride, Offset, Rows, RowStride, BorderSpread<T, Windows::kCount>>(s, first, part).run();
    }
  }
}

template <class T, int Kernel, int Stride, int Offset>
constexpr void fill_spreads(WindowSpreadKernels<T>& kernels) {
  kernels.square[Kernel - 1][Stride - 1][Offset] = spread_windows<T, Kernel, Stride, Offset, Kernel, Stride>;
  kernels.flat[Kernel - 1][Stride - 1][Offset] = spread_windows<T, Kernel, Stride, Offset, 1, 1>;
}

template <class T>
constexpr WindowSpreadKernels<T> window_spreads() {
  WindowSpreadKernels<T> kernels{};
  fill_spreads<T, 2, 1, 0>(kernels);
  fill_spreads<T, 3, 1, 0>(kernels);
  fill_spreads<T, 2, 2, 0>(kernels);
  fill_spreads<T, 2, 2, 1>(kernels);
  fill_spreads<T, 3, 2, 0>(kernels);
  fill_spreads<T, 3, 2, 1>(kernels);
  fill_spreads<T, 3, 3, 0>(kernels);
  fill_spreads<T, 4, 4, 0>(kernels);
  return kernels;
}
