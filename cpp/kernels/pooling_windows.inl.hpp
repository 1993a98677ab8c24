// Small windows of neighbouring columns, read where they lie: the taps of a vector of windows are sorted out in
// registers, reduced along the row, and rows one after the other.
//
// Layout:    one channel; kernel and stride along the row are template arguments, rows of a window any number.
// Cost:      for each row and vector of windows, a load per tap (stride 1) or per input vector, the shuffles that
//            put the taps side by side, and an operation a tap; square windows that overlap share rows in registers.
// Borders:   vectors that reach beyond a row read padding there. Columns of vectors are worked off from top to bottom,
//            so that their masks are made once.

// What averages and positions need besides.
template <class T, class Taps>
struct InnerWindows : InnerTaps<T, Taps> {
  inline __attribute__((always_inline)) Vector<T> load_shares(const T* shares) const { return load(shares); }
  // The first real element of a window that begins in the padding has the value of the padded tap it may have kept.
  template <class P>
  inline __attribute__((always_inline)) Vector<P> leave_padding(Vector<P> position, P) const {
    return position;
  }
};

template <class T, class Taps>
struct BorderWindows : BorderTaps<T, Taps> {
  using BorderTaps<T, Taps>::BorderTaps;
  inline __attribute__((always_inline)) Vector<T> load_shares(const T* shares) const {
    return LaneSpan<T>(0, this->count).load(shares, broadcast(static_cast<T>(1)));
  }
  template <class P>
  inline __attribute__((always_inline)) Vector<P> leave_padding(Vector<P> position, P least) const {
    const Vector<P> real = broadcast(least);
    return position < real ? real : position;
  }
};

// The windows' part of one row; labels are taps.
template <class T, class Reduction, int Kernel, int Stride, int Tap = 1>
static inline __attribute__((always_inline)) typename Reduction::State add_window_taps(typename Reduction::State state,
                                                                                       const Vector<T>* vectors) {
  if constexpr (Tap >= Kernel) {
    return state;
  } else {
    const auto tap = Reduction::state_of(tap_of<T, Stride, Tap>(vectors), Tap);
    return add_window_taps<T, Reduction, Kernel, Stride, Tap + 1>(Reduction::combine(state, tap), vectors);
  }
}

template <class T, class Reduction, int Kernel, int Stride, class Part>
static inline __attribute__((always_inline)) typename Reduction::State reduce_window_row(const T* first,
                                                                                         const Part& part,
                                                                                         Index ahead) {
  using Taps = WindowTaps<T, Kernel, Stride>;
  Vector<T> vectors[Taps::kLoads];
#pragma GCC unroll 8
  for (int i = 0; i < Taps::kLoads; ++i) vectors[i] = part.load_taps(first, i, ahead);
  const auto state = Reduction::state_of(tap_of<T, Stride, 0>(vectors), 0);
  return add_window_taps<T, Reduction, Kernel, Stride>(state, vectors);
}

// Sums become averages on their way out: the divisors of a row's windows, found again where a row's share changes.
template <class T, class Reduction, class Part>
class WindowDivisors {
 public:
  inline __attribute__((always_inline)) WindowDivisors(const SmallWindows<T>& w, Index column, const Part& part)
      : w_(w), shares_(w.column_shares == nullptr ? Vector<T>{} : part.load_shares(w.column_shares + column)) {}

  inline __attribute__((always_inline)) Vector<T> divide(Vector<T> sum, Index row) {
    if (w_.column_shares == nullptr) return sum;
    if (w_.row_shares[row] != row_share_) {
      row_share_ = w_.row_shares[row];
      divisor_ = shares_ * row_share_;
      inverse_ = 1 / divisor_;
    }
    return w_.has_exact_inverses ? sum * inverse_ : quotient<T>(sum, divisor_, inverse_);
  }

 private:
  const SmallWindows<T>& w_;
  Vector<T> shares_, divisor_{}, inverse_{};
  T row_share_{};  // 0: none yet
};

// A vector of windows in each of the rows [row, stop), from window `column`.
template <class T, class Reduction, int Kernel, int Stride, class Part>
class WindowStrip {
 public:
  using State = typename Reduction::State;
  using P = LanePosition<T>;

  inline __attribute__((always_inline)) WindowStrip(const SmallWindows<T>& w, Index column, const Part& part)
      : w_(w), column_(column), begin_(w.begin + column * Stride), ahead_(w.source_ahead), part_(part),
        divisors_(w, column, part) {}

  inline __attribute__((always_inline)) void reduce(Index row, Index stop) {
    while (row < stop) {
      const Index whole = Kernel > Stride ? whole_windows(row, stop) : 0;
      if (whole > 1) reduce_whole(row, row + whole);
      else put(row, reduce_window(row));
      row += whole > 1 ? whole : 1;
    }
  }

 private:
  // Windows from `row` on that are square and complete, so that neighbours share Kernel - Stride rows.
  inline __attribute__((always_inline)) Index whole_windows(Index row, Index stop) const {
    Index next = row;
    if (w_.depth == 1 && w_.y_stride == Stride && w_.y_kernel == Kernel && w_.y_step == w_.source_columns)
      while (next < stop && w_.counts[next] == Kernel) ++next;
    return next - row;
  }

  // What rows reduced to stays in registers for the windows below.
  inline __attribute__((always_inline)) void reduce_whole(Index row, Index stop) {
    constexpr int kKept = Kernel > Stride ? Kernel - Stride : 0;
    State rows[Kernel];
#pragma GCC unroll 4
    for (int i = 0; i < kKept; ++i) rows[i] = reduce_row(w_.first[row] + i * w_.y_step);
    for (; row < stop; ++row) {
#pragma GCC unroll 4
      for (int i = kKept; i < Kernel; ++i) rows[i] = reduce_row(w_.first[row] + i * w_.y_step);
      State state = rows[0];
#pragma GCC unroll 4
      for (int i = 1; i < Kernel; ++i) state = Reduction::combine(state, rows[i]);
      put(row, state);
#pragma GCC unroll 4
      for (int i = 0; i < kKept; ++i) rows[i] = rows[i + Stride];
    }
  }

  inline __attribute__((always_inline)) State reduce_window(Index row) const {
    State state = reduce_plane(w_.first[row], w_.counts[row]);
    for (Index z = 1; z < w_.depth; ++z)
      state = Reduction::combine(state, reduce_plane(w_.first[row] + z * w_.z_step, w_.counts[row]));
    return state;
  }
  inline __attribute__((always_inline)) State reduce_plane(Index offset, Index rows) const {
    State state = reduce_row(offset);
    for (Index y = 1; y < rows; ++y) state = Reduction::combine(state, reduce_row(offset + y * w_.y_step));
    return state;
  }
  inline __attribute__((always_inline)) State reduce_row(Index offset) const {
    State state = reduce_window_row<T, Reduction, Kernel, Stride>(w_.source + offset + begin_, part_, ahead_);
    if constexpr (Reduction::kHasPositions) state.position += static_cast<P>(offset);
    return state;
  }

  inline __attribute__((always_inline)) void put(Index row, State state) {
    T* target = w_.out + row * w_.out_pitch + column_;
    if (w_.out_ahead != 0) fetch_target(target + w_.out_ahead);
    if constexpr (Reduction::kIsSum && kIsFloating<T>) part_.put(target, divisors_.divide(state.value, row));
    else part_.put(target, Reduction::value_of(state));
    if constexpr (Reduction::kHasPositions) {
      const Vector<P> lane = lane_numbers<P>(typename LaneList<kLanes<T>>::type{});
      const Vector<P> position = state.position + (lane * Stride + static_cast<P>(begin_ + w_.base));
      P* target_position = w_.out_positions + row * w_.out_pitch + column_;
      if (w_.out_ahead != 0) fetch_target(target_position + w_.out_ahead);
      part_.put(target_position, part_.leave_padding(position, static_cast<P>(w_.base + w_.first[row])));
    }
  }

  const SmallWindows<T>& w_;
  Index column_, begin_, ahead_;
  const Part& part_;
  WindowDivisors<T, Reduction, Part> divisors_;
};

template <class T, class Reduction, int Kernel, int Stride>
static void reduce_windows(const SmallWindows<T>& w) {
  using Taps = WindowTaps<T, Kernel, Stride>;
  constexpr Index kWidth = kLanes<T>;
  for (Index column = 0; column < w.columns; column += kWidth) {
    const Index begin = w.begin + column * Stride, left = w.columns - column;
    if (begin >= 0 && begin + Taps::kReach <= w.source_columns && left >= kWidth) {
      const InnerWindows<T, Taps> part;
      WindowStrip<T, Reduction, Kernel, Stride, InnerWindows<T, Taps>>(w, column, part).reduce(0, w.rows);
    } else {
      const BorderWindows<T, Taps> part(w.source_columns, begin, w.padding, left < kWidth ? left : kWidth);
      WindowStrip<T, Reduction, Kernel, Stride, BorderWindows<T, Taps>>(w, column, part).reduce(0, w.rows);
    }
  }
}
