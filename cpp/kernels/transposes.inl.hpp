// Transposes in registers: w * log2(w) shuffles for a square of w vectors. Bits are moved, never computed with.

// One butterfly step of a register transpose: swaps the off-diagonal halves of each 2 * Step square.
template <class T, int Step, int... Lane>
static inline __attribute__((always_inline)) void butterfly(Vector<T>& upper, Vector<T>& lower, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>;
  const Vector<T> top = upper, bottom = lower;
  upper = __builtin_shufflevector(top, bottom, ((Lane & Step) ? kWidth + Lane - Step : Lane)...);
  lower = __builtin_shufflevector(top, bottom, ((Lane & Step) ? kWidth + Lane : Lane + Step)...);
}

template <class T, int Step>
static inline __attribute__((always_inline)) void transpose_steps(Vector<T>* rows) {
  constexpr int kWidth = kLanes<T>;
  if constexpr (Step < kWidth) {
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i)
      if ((i & Step) == 0) butterfly<T, Step>(rows[i], rows[i + Step], typename LaneList<kWidth>::type{});
    transpose_steps<T, 2 * Step>(rows);
  }
}

// target[i][j] = source[j][i] for one square of vectors.
template <class T>
static void transpose_square(const T* source, Index source_pitch, T* target, Index target_pitch) {
  constexpr int kWidth = kLanes<T>;
  Vector<T> rows[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) rows[i] = load(source + i * source_pitch);
  transpose_steps<T, 1>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) store(target + i * target_pitch, rows[i]);
}
