// Windows that tile a row: `step` vectors hold the taps of one vector of windows, which are sorted out in registers.
//
// Cost:      one load an input vector, and for each output vector step * (step - 1) shuffles and taps - 1 operations.

template <class T, class Reduction, int Step, int Tap = 1>
static inline __attribute__((always_inline)) typename Reduction::State add_residues(typename Reduction::State state,
                                                                                    const Vector<T>* sources,
                                                                                    Index taps) {
  if constexpr (Tap >= Step) {
    return state;
  } else {
    if (Tap >= taps) return state;
    const auto tap = Reduction::state_of(split_vectors<T, Step, Tap>(sources[0], sources), Tap);
    return add_residues<T, Reduction, Step, Tap + 1>(Reduction::combine(state, tap), sources, taps);
  }
}

template <class T, class Reduction, int Step>
static void reduce_tiles_by(const TileReduction<T>& r) {
  constexpr Index kWidth = kLanes<T>;
  for (Index row = 0; row < r.rows; ++row)
    for (Index i = 0; i < r.count; i += kWidth) {
      const T* source = r.source + row * r.source_pitch + i * Step;
      const Index outputs = r.count - i < kWidth ? r.count - i : kWidth;
      const Index elements = (outputs - 1) * Step + r.taps;
      Vector<T> sources[Step];
#pragma GCC unroll 4
      for (int v = 0; v < Step; ++v) sources[v] = load_padded(source + v * kWidth, elements - v * kWidth, T{});
      const auto first = Reduction::state_of(split_vectors<T, Step, 0>(sources[0], sources), 0);
      const auto state = add_residues<T, Reduction, Step>(first, sources, r.taps);
      const Index at = row * r.out_pitch + i;
      if (outputs == kWidth) store(r.out + at, state.value);
      else store_first(r.out + at, state.value, outputs);
      if constexpr (Reduction::kHasPositions) {
        if (outputs == kWidth) store(r.out_positions + at, state.position);
        else store_first(r.out_positions + at, state.position, outputs);
      }
    }
}

template <class T, class Reduction>
static void reduce_tiles(const TileReduction<T>& r) {
  if (r.step == 2) return reduce_tiles_by<T, Reduction, 2>(r);
  if (r.step == 3) return reduce_tiles_by<T, Reduction, 3>(r);
  reduce_tiles_by<T, Reduction, 4>(r);
}
