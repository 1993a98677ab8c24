// Gradients of averages and of maxima over small windows, one channel: every input element sums what the windows over
// it give and is written once.
//
// Layout:    column x = Stride * i + phase. The windows over the columns of one phase are neighbours for neighbouring
//            i, so lanes are i; the phases are put together in registers.
// Method:    rows of windows from top to bottom. A row is read once for all the input rows under it, whose sums stay in
//            registers until no further windows lie over them.
// Numerics:  windows are added in row-major order; averages are divided before, and added row by row: from left to
//            right, and these sums from top to bottom. Adding 0 where a maximum lies elsewhere changes no bit.
// Cost:      for each vector of windows and each distance between column and window, a load and a division (maxima: two
//            loads); an addition per tap of a row and per row (maxima: a comparison and an addition per tap).

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
  static constexpr int kPhases = Stride;
  template <int Phase>
  using Of = PhaseWindows<Kernel, Stride, Offset, Phase>;
};

// What comes is fetched while this is added up.
template <class T>
constexpr Index kSpreadAhead = 4096 / static_cast<Index>(sizeof(T));

// How a vector of windows is read: away from the borders, and at them. Lanes without a window are `others`.
template <class T>
struct InnerSpread {
  template <class U>
  inline __attribute__((always_inline)) Vector<U> at(const U* source, int, Vector<U>) const {
    return load(source);
  }
};

template <class T, int Count>
struct BorderSpread {
  LaneSpan<T> spans[Count];

  // Windows [0, windows) exist; lane 0 of distance 0 is `first`.
  inline __attribute__((always_inline)) BorderSpread(Index windows, Index first) {
#pragma GCC unroll 4
    for (int i = 0; i < Count; ++i) spans[i] = LaneSpan<T>(-(first + i), windows - (first + i));
  }
  template <class U>
  inline __attribute__((always_inline)) Vector<U> at(const U* source, int distance, Vector<U> others) const {
    return spans[distance].load(source, others);
  }
};

// What the windows of a row give the columns of a phase: the gradients of averages.
template <class T, class Windows, class Part>
class SharedGradients {
 public:
  // -0.0 + x is x, whatever the sign of a zero.
  static constexpr T kStart = static_cast<T>(-0.0);

  inline __attribute__((always_inline)) SharedGradients(const AverageSpread<T>& s, Index window, const Part& part)
      : s_(s), part_(part), window_(window) {
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i)
      shares_[i] = part.at(s.column_shares + window + i, i, broadcast(static_cast<T>(1)));
  }

  inline __attribute__((always_inline)) void read(Index y) {
    if (s_.row_shares[y] != row_share_) find_divisors(s_.row_shares[y]);
    const T* source = s_.gradients + y * s_.windows + window_;
    __builtin_prefetch(source + kSpreadAhead<T>, 0, 2);
    Vector<T> gradients[Windows::kCount];
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) {
      const Vector<T> gradient = part_.at(source + i, i, Vector<T>{});
      gradients[i] =
          s_.has_exact_inverses ? gradient * inverses_[i] : quotient<T>(gradient, divisors_[i], inverses_[i]);
    }
    sum_phases(gradients);
  }

  template <int Phase>
  inline __attribute__((always_inline)) Vector<T> add(Vector<T> sum, Index) const {
    return sum + sums_[Phase];
  }

 private:
  template <int Phase = 0>
  inline __attribute__((always_inline)) void sum_phases(const Vector<T>* gradients) {
    if constexpr (Phase < Windows::kPhases) {
      using Own = typename Windows::template Of<Phase>;
      sums_[Phase] = gradients[Own::kFirst - Windows::kFirst];
#pragma GCC unroll 4
      for (int i = Own::kFirst + 1; i <= Own::kLast; ++i) sums_[Phase] += gradients[i - Windows::kFirst];
      sum_phases<Phase + 1>(gradients);
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

  const AverageSpread<T>& s_;
  const Part& part_;
  Index window_;
  Vector<T> shares_[Windows::kCount], divisors_[Windows::kCount] = {}, inverses_[Windows::kCount] = {};
  T row_share_{};  // 0: none yet
  Vector<T> sums_[Windows::kPhases];
};

// The same of maxima: of the gradients, those whose place is the element's own.
template <class T, class Windows, class Part>
class PlacedGradients {
 public:
  static constexpr T kStart = 0;

  inline __attribute__((always_inline)) PlacedGradients(const PlaceSpread<T>& s, Index window, const Part& part)
      : s_(s), part_(part), window_(window) {}

  inline __attribute__((always_inline)) void read(Index y) {
    const Index offset = y * s_.windows + window_;
    __builtin_prefetch(s_.gradients + offset + kSpreadAhead<T>, 0, 2);
    __builtin_prefetch(s_.places + offset + kSpreadAhead<T>, 0, 2);
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) {
      gradients_[i] = part_.at(s_.gradients + offset + i, i, Vector<T>{});
      places_[i] = part_.at(s_.places + offset + i, i, broadcast<std::int32_t>(-1));  // nobody's
    }
  }

  // `element` is that of lane 0, in the plane.
  template <int Phase>
  inline __attribute__((always_inline)) Vector<T> add(Vector<T> sum, Index element) const {
    using Own = typename Windows::template Of<Phase>;
    const Vector<P> own = lane_numbers<P>(typename LaneList<kLanes<T>>::type{}) * Windows::kPhases +
                          static_cast<P>(s_.position + element);
#pragma GCC unroll 4
    for (int i = Own::kFirst - Windows::kFirst; i <= Own::kLast - Windows::kFirst; ++i)
      sum = places_[i] == own ? sum + gradients_[i] : sum;
    return sum;
  }

 private:
  using P = std::int32_t;

  const PlaceSpread<T>& s_;
  const Part& part_;
  Index window_;
  Vector<T> gradients_[Windows::kCount];
  Vector<P> places_[Windows::kCount];
};

// Columns [Stride * first, + Stride vectors) of all rows. A window has Rows rows, RowStride apart.
template <class T, int Stride, int Rows, int RowStride, class Gradients>
class SpreadStrip {
 public:
  inline __attribute__((always_inline)) SpreadStrip(const WindowSpread<T>& s, Index first, Gradients& gradients)
      : s_(s), gradients_(gradients), column_(first * Stride) {
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) start(i);
  }

  inline __attribute__((always_inline)) void run() {
    const Index above = s_.first_row + s_.row_padding - Rows;  // in padded rows, the last one not met any more
    const Index covered = s_.window_rows == 0 ? 0 : (s_.window_rows - 1) * RowStride + Rows - s_.row_padding;
    for (Index y = above < 0 ? 0 : above / RowStride + 1;; ++y) {
      const Index row = y * RowStride - s_.row_padding;
      if (row >= s_.first_row + s_.rows) return;
      if (y < s_.window_rows) {
        gradients_.read(y);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) add_phases(i, (row + i) * s_.columns + column_);
      }
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
  inline __attribute__((always_inline)) void start(int row) {
#pragma GCC unroll 4
    for (int phase = 0; phase < Stride; ++phase) sums_[row][phase] = broadcast(Gradients::kStart);
  }

  template <int Phase = 0>
  inline __attribute__((always_inline)) void add_phases(int row, Index element) {
    if constexpr (Phase < Stride) {
      sums_[row][Phase] = gradients_.template add<Phase>(sums_[row][Phase], element + Phase);
      add_phases<Phase + 1>(row, element);
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
  Gradients& gradients_;
  Index column_;
  Vector<T> sums_[Rows][Stride];
};

template <class T, class Spread, template <class, class, class> class Gradients, class Windows, int Rows, int RowStride>
static void spread_windows(const Spread& s) {
  constexpr int kStride = Windows::kPhases;
  for (Index first = 0; first * kStride < s.columns; first += kLanes<T>) {
    const Index window = first + s.shift + Windows::kFirst;
    if (window >= 0 && window + Windows::kCount - 1 + kLanes<T> <= s.windows) {
      const InnerSpread<T> part;
      Gradients<T, Windows, InnerSpread<T>> gradients(s, window, part);
      SpreadStrip<T, kStride, Rows, RowStride, decltype(gradients)>(s, first, gradients).run();
    } else {
      const BorderSpread<T, Windows::kCount> part(s.windows, window);
      Gradients<T, Windows, BorderSpread<T, Windows::kCount>> gradients(s, window, part);
      SpreadStrip<T, kStride, Rows, RowStride, decltype(gradients)>(s, first, gradients).run();
    }
  }
}

template <class T, template <class> class Spread, template <class, class, class> class Gradients>
class SpreadList {
 public:
  template <int Kernel, int Stride, int Offset>
  constexpr void fill() {
    using Windows = StepWindows<Kernel, Stride, Offset>;
    kernels.square[Kernel - 1][Stride - 1][Offset] = spread_windows<T, Spread<T>, Gradients, Windows, Kernel, Stride>;
    kernels.flat[Kernel - 1][Stride - 1][Offset] = spread_windows<T, Spread<T>, Gradients, Windows, 1, 1>;
  }
  WindowSpreadKernels<Spread<T>> kernels{};
};

template <class T, template <class> class Spread, template <class, class, class> class Gradients>
constexpr WindowSpreadKernels<Spread<T>> window_spreads() {
  SpreadList<T, Spread, Gradients> list;
  list.template fill<2, 1, 0>();
  list.template fill<3, 1, 0>();
  list.template fill<2, 2, 0>();
  list.template fill<2, 2, 1>();
  list.template fill<3, 2, 0>();
  list.template fill<3, 2, 1>();
  list.template fill<3, 3, 0>();
  list.template fill<4, 4, 0>();
  return list.kernels;
}
