// Small windows where channels are last: each is read where it lies and reduced at once.
//
// Layout:    lanes are channels; windows and the rows and columns they read are tables, so any stride and padding.
// Cost:      a load and an operation a tap and vector, an operation more for each row of a window.
// Numerics:  as reductions along x, then y, then z: rows of a window by themselves, then these.

// One row of windows.
template <class T, class Reduction>
class ChannelWindowRow {
 public:
  using P = LanePosition<T>;

  inline __attribute__((always_inline)) ChannelWindowRow(const SmallWindows<T>& w, Index row)
      : w_(w), row_(row), first_(w.first[row]), place_(w.base + w.first[row] / w.channels),
        y_places_(w.y_step / w.channels), z_places_(w.z_step / w.channels) {}

  inline __attribute__((always_inline)) void reduce() {
    constexpr int kWidth = kLanes<T>,
                  kMost = sizeof(typename Reduction::State) > sizeof(Vector<T>) ? kRegisters / 8 : 4;
    for (Index column = 0; column < w_.columns; ++column) {
      find_divisor(column);
      Index lane = 0;
      if (w_.channels < kWidth) reduce_lanes<1, true>(column, 0);
      for (; lane + kMost * kWidth <= w_.channels; lane += kMost * kWidth) reduce_lanes<kMost, false>(column, lane);
      for (; lane + kWidth <= w_.channels; lane += kWidth) reduce_lanes<1, false>(column, lane);
      if (lane < w_.channels && w_.channels >= kWidth) reduce_lanes<1, false>(column, w_.channels - kWidth);
    }
  }

 private:
  template <int Vectors, bool IsPartial>
  using StatesOf = States<T, Reduction, Vectors, IsPartial>;

  template <int Vectors, bool IsPartial>
  inline __attribute__((always_inline)) void reduce_lanes(Index column, Index lane) const {
    const Index taps = w_.column_counts[column], x = w_.column_first[column];
    Index first = first_ + x * w_.channels + lane, place = place_ + x;
    StatesOf<Vectors, IsPartial> window = reduce_plane<Vectors, IsPartial>(taps, first, place);
    for (Index z = 1; z < w_.depth; ++z) {
      first += w_.z_step;
      place += z_places_;
      window.join(reduce_plane<Vectors, IsPartial>(taps, first, place));
    }
    put(window, row_ * w_.out_pitch + column * w_.channels + lane);
  }

  template <int Vectors, bool IsPartial>
  inline __attribute__((always_inline)) StatesOf<Vectors, IsPartial> reduce_plane(Index taps, Index first,
                                                                                  Index place) const {
    StatesOf<Vectors, IsPartial> plane = reduce_line<Vectors, IsPartial>(taps, first, place);
    for (Index y = 1; y < w_.counts[row_]; ++y) {
      first += w_.y_step;
      place += y_places_;
      plane.join(reduce_line<Vectors, IsPartial>(taps, first, place));
    }
    return plane;
  }

  template <int Vectors, bool IsPartial>
  inline __attribute__((always_inline)) StatesOf<Vectors, IsPartial> reduce_line(Index taps, Index first,
                                                                                 Index place) const {
    const Elements<T> source{w_.source, nullptr};
    StatesOf<Vectors, IsPartial> line;
    line.set(source, first, static_cast<P>(place), w_.channels);
    fetch<Vectors>(first);
    for (Index x = 1; x < taps; ++x) {
      first += w_.x_step * w_.channels;
      place += w_.x_step;
      line.add_later(source, first, static_cast<P>(place), w_.channels);
      fetch<Vectors>(first);
    }
    return line;
  }

  template <int Vectors>
  inline __attribute__((always_inline)) void fetch(Index place) const {
    if (w_.source_ahead == 0) return;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) fetch_source(w_.source + place + w_.source_ahead + v * kLanes<T>);
  }

  template <int Vectors, bool IsPartial>
  inline __attribute__((always_inline)) void put(StatesOf<Vectors, IsPartial>& window, Index target) const {
    if constexpr (Reduction::kIsSum && kIsFloating<T>) {
      if (w_.column_shares != nullptr) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) window.state[v].value = divide(window.state[v].value);
      }
    }
    P* positions = nullptr;
    if constexpr (Reduction::kHasPositions) positions = w_.out_positions + target;
    window.put(w_.out + target, positions, nullptr, w_.channels);
  }

  inline __attribute__((always_inline)) void find_divisor(Index column) {
    if (!Reduction::kIsSum || w_.column_shares == nullptr) return;
    const T divisor = w_.column_shares[column] * w_.row_shares[row_];
    if (divisor == divisor_) return;
    divisor_ = divisor;
    inverse_ = 1 / divisor;
  }
  inline __attribute__((always_inline)) Vector<T> divide(Vector<T> sum) const {
    return w_.has_exact_inverses ? sum * inverse_ : quotient<T>(sum, broadcast(divisor_), broadcast(inverse_));
  }

  const SmallWindows<T>& w_;
  Index row_, first_, place_;
  Index y_places_, z_places_;  // from row to row and plane to plane
  T divisor_{}, inverse_{};    // of the window; divisor 0: none yet
};

template <class T, class Reduction>
static void reduce_channel_windows(const SmallWindows<T>& w) {
  for (Index row = 0; row < w.rows; ++row) ChannelWindowRow<T, Reduction>(w, row).reduce();
}

template <class T, class Reduction>
constexpr SmallWindowsKernels<T> small_windows() {
  SmallWindowsKernels<T> kernels{};
  // Images are floats or bytes, and bytes have no fast shuffles; other types would only make the library larger.
  if constexpr (kIsFloating<T> || sizeof(T) == 1) {
    kernels.of[1][0] = reduce_windows<T, Reduction, 2, 1>;
    kernels.of[2][0] = reduce_windows<T, Reduction, 3, 1>;
    kernels.channels = reduce_channel_windows<T, Reduction>;
  }
  if constexpr (kIsFloating<T>) {
    kernels.of[1][1] = reduce_windows<T, Reduction, 2, 2>;
    kernels.of[2][1] = reduce_windows<T, Reduction, 3, 2>;
    kernels.of[2][2] = reduce_windows<T, Reduction, 3, 3>;
    kernels.of[3][3] = reduce_windows<T, Reduction, 4, 4>;
  }
  return kernels;
}
