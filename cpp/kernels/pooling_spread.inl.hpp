// Gradients of averages and of maxima over small windows, one channel.
//
// Numerics:  windows are added in row-major order; averages are divided before, and added row by row: from left to
//            right, and these sums from top to bottom. Adding 0 where a maximum lies elsewhere changes no bit.
// Cost:      for each vector of windows and each distance between column and window, a load and a division (maxima: two
//            loads); an addition per tap of a row and per row (maxima: a comparison and an addition per tap).

// What the windows of a row give the columns of a phase: the gradients of averages.
template <class T, class Windows, class Part>
class SharedGradients {
 public:
  inline __attribute__((always_inline)) SharedGradients(const AverageSpread<T>& s, Index window, const Part& part)
      : s_(s), part_(part), window_(window), ahead_(s.gradients_ahead) {
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i)
      shares_[i] = part.at(s.column_shares + window + i, i, broadcast(static_cast<T>(1)));
  }

  inline __attribute__((always_inline)) void read(Index y) {
    if (s_.row_shares[y] != row_share_) find_divisors(s_.row_shares[y]);
    const T* source = s_.gradients + y * s_.windows + window_;
    fetch_source(source + ahead_);
    Vector<T> gradients[Windows::kCount];
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) {
      const Vector<T> gradient = part_.at(source + i, i, Vector<T>{});
      gradients[i] =
          s_.has_exact_inverses ? gradient * inverses_[i] : quotient<T>(gradient, divisors_[i], inverses_[i]);
    }
    sum_phases(gradients);
  }

  // -0.0 + x is x, whatever the sign of a zero.
  static inline __attribute__((always_inline)) Vector<T> start() { return broadcast(static_cast<T>(-0.0)); }
  static inline __attribute__((always_inline)) T rest() { return T{}; }

  template <int Phase>
  inline __attribute__((always_inline)) Vector<T> add(Vector<T> sum, int, Index) const {
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
  Index window_, ahead_;
  Vector<T> shares_[Windows::kCount], divisors_[Windows::kCount] = {}, inverses_[Windows::kCount] = {};
  T row_share_{};  // 0: none yet
  Vector<T> sums_[Windows::kPhases];
};

// The same of maxima: of the gradients, those whose place is the element's own.
template <class T, class Windows, class Part>
class PlacedGradients {
 public:
  inline __attribute__((always_inline)) PlacedGradients(const PlaceSpread<T>& s, Index window, const Part& part)
      : s_(s), part_(part), window_(window), ahead_(s.gradients_ahead) {}

  inline __attribute__((always_inline)) void read(Index y) {
    const Index offset = y * s_.windows + window_;
    fetch_source(s_.gradients + offset + ahead_);
    fetch_source(s_.places + offset + ahead_);
#pragma GCC unroll 4
    for (int i = 0; i < Windows::kCount; ++i) {
      gradients_[i] = part_.at(s_.gradients + offset + i, i, Vector<T>{});
      places_[i] = part_.at(s_.places + offset + i, i, broadcast<std::int32_t>(-1));  // nobody's
    }
  }

  static inline __attribute__((always_inline)) Vector<T> start() { return broadcast(static_cast<T>(0)); }
  static inline __attribute__((always_inline)) T rest() { return T{}; }

  // `element` is that of lane 0, in the plane.
  template <int Phase>
  inline __attribute__((always_inline)) Vector<T> add(Vector<T> sum, int, Index element) const {
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
  Index window_, ahead_;
  Vector<T> gradients_[Windows::kCount];
  Vector<P> places_[Windows::kCount];
};

template <class T>
constexpr WindowSpreadKernels<AverageSpread<T>> average_spreads() {
  return window_spreads<T, AverageSpread, SharedGradients, SpreadSize<2, 1, 0>, SpreadSize<3, 1, 0>,
                        SpreadSize<2, 2, 0>, SpreadSize<2, 2, 1>, SpreadSize<3, 2, 0>, SpreadSize<3, 2, 1>,
                        SpreadSize<3, 3, 0>, SpreadSize<4, 4, 0>>();
}

// With fewer windows over an element, fewer lanes, or fewer registers for the sums, a place is followed faster than it
// is compared.
template <class T>
constexpr WindowSpreadKernels<PlaceSpread<T>> place_spreads() {
  if constexpr (kLanes<T> < 16) return {};
  else return window_spreads<T, PlaceSpread, PlacedGradients, SpreadSize<3, 1, 0>>();
}
