// Work along one row where outputs are not neighbours of the same tap: windows of varying length (one reduction each),
// and rows split into stride phases and joined again.
//
// Layout:    rows of consecutive elements.
// Semantics: as kernels/pooling_taps.inl.hpp: the first maximum, the first NaN.
// Numerics:  a segment of two vectors and more is summed in interleaved partial sums, which are then added in a tree;
//            a shorter one from left to right. The order depends on its length alone (and on the vector length).
// Cost:      long segments one load and operation per vector; short ones, and strides over 2, one element at a time.

template <class T>
static inline __attribute__((always_inline)) bool is_better_element(T value, T best) {
  return (value > best) | ((value != value) & (best == best));  // no branches: data decides at random
}

// The position is needed even where only the value is asked for: it decides between -0.0 and 0.0.
struct SegmentMax {
  template <class T>
  static inline __attribute__((always_inline)) void reduce(const SegmentReduction<T>& r, Index output) {
    using P = LanePosition<T>;
    constexpr int kWidth = kLanes<T>;
    const T* source = r.values + (r.first[output] - r.shift);
    const Index count = r.counts[output];
    T best = source[0];
    Index where = 0, next = 1;
    if (count >= 2 * kWidth) {
      Vector<T> lane_best = load(source);
      Vector<P> lane_block = Vector<P>{};
      for (next = kWidth; next + kWidth <= count; next += kWidth) {
        const Vector<T> value = load(source + next);
        const Vector<P> take = is_better<T>(value, lane_best);
        lane_best = take ? value : lane_best;
        lane_block = take ? broadcast(static_cast<P>(next)) : lane_block;
      }
      best = lane_best[0];
      where = static_cast<Index>(lane_block[0]);
      for (int lane = 1; lane < kWidth; ++lane) {
        const Index position = static_cast<Index>(lane_block[lane]) + lane;
        // Lanes are in no order of position: of equal maxima, and of NaNs, the earliest counts.
        const bool is_equal = lane_best[lane] == best || (lane_best[lane] != lane_best[lane] && best != best);
        if (is_better_element(lane_best[lane], best) || (is_equal && position < where)) {
          best = lane_best[lane];
          where = position;
        }
      }
    }
    for (; next < count; ++next) {
      const bool take = is_better_element(source[next], best);
      best = take ? source[next] : best;
      where = take ? next : where;
    }
    r.out[output] = best;
    if (r.out_positions != nullptr) r.out_positions[output] = r.base + static_cast<P>(r.first[output] + where);
  }
};

template <class T, int Half, int... Lane>
static inline __attribute__((always_inline)) Vector<T> upper_half(Vector<T> value, Lanes<Lane...>) {
  return __builtin_shufflevector(value, value, ((Lane + Half) % kLanes<T>)...);
}

// Halves are added until one lane is left.
template <class T, int Half = kLanes<T> / 2>
static inline __attribute__((always_inline)) T sum_lanes(Vector<T> value) {
  if constexpr (Half == 0) return value[0];
  else return sum_lanes<T, Half / 2>(value + upper_half<T, Half>(value, typename LaneList<kLanes<T>>::type{}));
}

struct SegmentSum {
  template <class T>
  static inline __attribute__((always_inline)) void reduce(const SegmentReduction<T>& r, Index output) {
    constexpr int kWidth = kLanes<T>, kSums = 4;
    const T* source = r.values + (r.first[output] - r.shift);
    const Index count = r.counts[output];
    T sum = T{};
    Index next = 0;
    if (count >= 2 * kWidth) {
      Vector<T> partial[kSums];
#pragma GCC unroll 4
      for (int i = 0; i < kSums; ++i) partial[i] = Vector<T>{};
      for (; next + kSums * kWidth <= count; next += kSums * kWidth)
#pragma GCC unroll 4
        for (int i = 0; i < kSums; ++i) partial[i] += load(source + next + i * kWidth);
      for (; next + kWidth <= count; next += kWidth) partial[0] += load(source + next);
      sum = sum_lanes<T>((partial[0] + partial[1]) + (partial[2] + partial[3]));
    }
    for (; next < count; ++next) sum += source[next];
    r.out[output] = sum;
  }
};

template <class T, class Reduction>
static void reduce_segments(const SegmentReduction<T>& r) {
  for (Index output = 0; output < r.outputs; ++output) Reduction::template reduce<T>(r, output);
}

// target[i] = source[i * step].
template <class T>
static void split_row(Index count, const T* source, Index step, T* target) {
  constexpr int kWidth = kLanes<T>;
  Index i = 0;
  if (step == 1) {
    for (; i + kWidth <= count; i += kWidth) store(target + i, load(source + i));
  } else if (step == 2) {
    // `<`: the second load reads one element past the last one it needs.
    for (; i + kWidth < count; i += kWidth)
      store(target + i, even_lanes<T>(load(source + 2 * i), load(source + 2 * i + kWidth),
                                      typename LaneList<kWidth>::type{}));
  }
  for (; i < count; ++i) target[i] = source[i * step];
}

template <class T, int First, int... Lane>
static inline __attribute__((always_inline)) Vector<T> zip_lanes(Vector<T> even, Vector<T> odd, Lanes<Lane...>) {
  return __builtin_shufflevector(even, odd, ((Lane & 1) * kLanes<T> + First + Lane / 2)...);
}

// target[2 * i] = even[i], target[2 * i + 1] = odd[i].
template <class T>
static void join_rows(Index pairs, const T* even, const T* odd, T* target) {
  constexpr int kWidth = kLanes<T>;
  Index i = 0;
  for (; i + kWidth <= pairs; i += kWidth) {
    const Vector<T> low = load(even + i), high = load(odd + i);
    store(target + 2 * i, zip_lanes<T, 0>(low, high, typename LaneList<kWidth>::type{}));
    store(target + 2 * i + kWidth, zip_lanes<T, kWidth / 2>(low, high, typename LaneList<kWidth>::type{}));
  }
  for (; i < pairs; ++i) {
    target[2 * i] = even[i];
    target[2 * i + 1] = odd[i];
  }
}
