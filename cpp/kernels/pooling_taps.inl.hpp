// Reductions over the taps of pooling windows, one output per lane: what the horizontal step and the vertical step of
// every pooling are made of.
//
// Layout:    tap t of output i is values[offsets[t] + i]: outputs that are neighbours read neighbours.
// Semantics: a maximum is the first one in tap order (strict >); the first NaN beats everything; -0.0 equals 0.0.
// Numerics:  sums start with the first tap and add the others in order; no lane depends on its place in a vector.
// Cost:      one load, a comparison and two blends (or one addition) per tap and vector, accumulators in registers.
//            With fewer outputs than lanes whole vectors are read (the caller's scratch has the room) and only the
//            outputs are stored; with more, the last vector overlaps the one before, so `out` must not be read.

template <class T>
constexpr bool kIsFloating = static_cast<T>(0.5) != static_cast<T>(0);

template <class T>
static inline __attribute__((always_inline)) Vector<LanePosition<T>> is_better(Vector<T> value, Vector<T> best) {
  if constexpr (kIsFloating<T>) return ~(value <= best) & (best == best);
  else return value > best;
}

template <class T>
static inline __attribute__((always_inline)) void store_some(T* target, Vector<T> value, Index count) {
  __builtin_memcpy(target, &value, static_cast<unsigned long>(count) * sizeof(T));
}

// Vectors of outputs that are reduced together; Partial < lanes only in the last block of a short row.
template <class T, int Vectors, bool IsPartial>
static inline __attribute__((always_inline)) void store_block(T* target, const Vector<T>* values, Index count) {
  if constexpr (IsPartial) {
    store_some(target, values[0], count);
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store(target + v * kLanes<T>, values[v]);
  }
}

struct MaxOfTaps {
  template <class T, int Vectors, bool IsPartial>
  static inline __attribute__((always_inline)) void block(const TapReduction<T>& r, Index lane) {
    Vector<T> best[Vectors];
    const T* source = r.values + r.offsets[0] + lane;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) best[v] = load(source + v * kLanes<T>);
    for (Index tap = 1; tap < r.taps; ++tap) {
      source = r.values + r.offsets[tap] + lane;
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const Vector<T> value = load(source + v * kLanes<T>);
        best[v] = is_better<T>(value, best[v]) ? value : best[v];
      }
    }
    store_block<T, Vectors, IsPartial>(r.out + lane, best, r.count);
  }
};

// The position of a maximum is the label of its tap, moved to the row and the lane it belongs to. A lane whose window
// begins in the padding may have kept a padded tap (all elements are the lowest value): its first real position wins.
struct MaxOfLabelledTaps {
  template <class T, int Vectors, bool IsPartial>
  static inline __attribute__((always_inline)) void block(const TapReduction<T>& r, Index lane) {
    using P = LanePosition<T>;
    Vector<T> best[Vectors];
    Vector<P> label[Vectors];
    const T* source = r.values + r.offsets[0] + lane;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      best[v] = load(source + v * kLanes<T>);
      label[v] = broadcast(r.labels[0]);
    }
    for (Index tap = 1; tap < r.taps; ++tap) {
      source = r.values + r.offsets[tap] + lane;
      const Vector<P> candidate = broadcast(r.labels[tap]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const Vector<T> value = load(source + v * kLanes<T>);
        const Vector<P> take = is_better<T>(value, best[v]);
        best[v] = take ? value : best[v];
        label[v] = take ? candidate : label[v];
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      if (r.start != nullptr) {
        const Vector<P> position = label[v] + load(r.start + lane + v * kLanes<P>);
        const Vector<P> least = load(r.least + lane + v * kLanes<P>);
        label[v] = position > least ? position : least;
      }
      label[v] += broadcast(r.base);
    }
    store_block<T, Vectors, IsPartial>(r.out + lane, best, r.count);
    store_block<P, Vectors, IsPartial>(r.out_positions + lane, label, r.count);
  }
};

// The vertical step: every tap brings its own positions.
struct MaxOfPositions {
  template <class T, int Vectors, bool IsPartial>
  static inline __attribute__((always_inline)) void block(const TapReduction<T>& r, Index lane) {
    using P = LanePosition<T>;
    Vector<T> best[Vectors];
    Vector<P> position[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      best[v] = load(r.values + r.offsets[0] + lane + v * kLanes<T>);
      position[v] = load(r.positions + r.offsets[0] + lane + v * kLanes<P>);
    }
    for (Index tap = 1; tap < r.taps; ++tap) {
      const Index offset = r.offsets[tap] + lane;
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const Vector<T> value = load(r.values + offset + v * kLanes<T>);
        const Vector<P> take = is_better<T>(value, best[v]);
        best[v] = take ? value : best[v];
        position[v] = take ? load(r.positions + offset + v * kLanes<P>) : position[v];
      }
    }
    store_block<T, Vectors, IsPartial>(r.out + lane, best, r.count);
    store_block<P, Vectors, IsPartial>(r.out_positions + lane, position, r.count);
  }
};

struct SumOfTaps {
  template <class T, int Vectors, bool IsPartial>
  static inline __attribute__((always_inline)) void block(const TapReduction<T>& r, Index lane) {
    Vector<T> sum[Vectors];
    const T* source = r.values + r.offsets[0] + lane;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[v] = load(source + v * kLanes<T>);
    for (Index tap = 1; tap < r.taps; ++tap) {
      source = r.values + r.offsets[tap] + lane;
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[v] += load(source + v * kLanes<T>);
    }
    store_block<T, Vectors, IsPartial>(r.out + lane, sum, r.count);
  }
};

template <class T, class Reduction>
static void reduce_taps(const TapReduction<T>& r) {
  constexpr int kWidth = kLanes<T>;
  if (r.count < kWidth) return Reduction::template block<T, 1, true>(r, 0);
  Index lane = 0;
  for (; lane + 4 * kWidth <= r.count; lane += 4 * kWidth) Reduction::template block<T, 4, false>(r, lane);
  for (; lane + kWidth <= r.count; lane += kWidth) Reduction::template block<T, 1, false>(r, lane);
  if (lane < r.count) Reduction::template block<T, 1, false>(r, r.count - kWidth);
}
