// Work along one row where outputs are not neighbours of the same tap: windows of varying length (one reduction each),
// and rows split into stride phases and joined again.
//
// Layout:    rows of consecutive elements.
// Semantics: as kernels/pooling_taps.inl.hpp: the first maximum, the first NaN.
// Numerics:  a segment of two vectors and more is summed in interleaved partial sums, which are then added in a tree;
//            a shorter one from left to right. The order depends on its length alone (and on the vector length).
// Cost:      long segments one load and operation per vector; short ones, and strides over 4, one element at a time.

template <class T>
static inline __attribute__((always_inline)) bool is_better_element(T value, T best) {
  return (value > best) | ((value != value) & (best == best));  // no branches: data decides at random
}

template <class T, int Half, int... Lane>
static inline __attribute__((always_inline)) Vector<T> upper_half(Vector<T> value, Lanes<Lane...>) {
  return __builtin_shufflevector(value, value, ((Lane + Half) % kLanes<T>)...);
}

template <class T>
struct Place {
  Vector<T> value;
  Vector<LanePosition<T>> position;
};

// Lanes are in no order of position: of equal maxima, and of NaNs, the earliest counts.
template <class T, int Half = kLanes<T> / 2>
static inline __attribute__((always_inline)) Place<T> best_lane(Place<T> best) {
  if constexpr (Half == 0) {
    return best;
  } else {
    using P = LanePosition<T>;
    using All = typename LaneList<kLanes<T>>::type;
    const Vector<T> value = upper_half<T, Half>(best.value, All{});
    const Vector<P> position = upper_half<P, Half>(best.position, All{});
    const Vector<P> is_equal = (value == best.value) | ((value != value) & (best.value != best.value));
    const Vector<P> take = is_better<T>(value, best.value) | (is_equal & (position < best.position));
    return best_lane<T, Half / 2>({take ? value : best.value, take ? position : best.position});
  }
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
      Place<T> lanes{load(source), lane_numbers<P>(typename LaneList<kWidth>::type{})};
      Vector<P> candidate = lanes.position;
      for (next = kWidth; next + kWidth <= count; next += kWidth) {
        const Vector<T> value = load(source + next);
        candidate += kWidth;
        const Vector<P> take = is_better<T>(value, lanes.value);
        lanes.value = take ? value : lanes.value;
        lanes.position = take ? candidate : lanes.position;
      }
      lanes = best_lane<T>(lanes);
      best = lanes.value[0];
      where = static_cast<Index>(lanes.position[0]);
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

// Lanes `Lane` of step `Source` of a split: what lies at Lane * Step in Step vectors put end to end.
template <class T, int Step, int Source, int... Lane>
static inline __attribute__((always_inline)) Vector<T> take_split(Vector<T> taken, Vector<T> next, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>;
  return __builtin_shufflevector(taken, next,
                                 (Lane * Step / kWidth == Source ? kWidth + Lane * Step % kWidth
                                  : Source == 1                  ? Lane * Step % kWidth
                                                                 : Lane)...);
}

template <class T, int Step, int Source = 1>
static inline __attribute__((always_inline)) Vector<T> split_vectors(Vector<T> taken, const T* source) {
  if constexpr (Source == Step) {
    return taken;
  } else {
    const Vector<T> next = load(source + Source * kLanes<T>);
    return split_vectors<T, Step, Source + 1>(
        take_split<T, Step, Source>(taken, next, typename LaneList<kLanes<T>>::type{}), source);
  }
}

template <class T, int Step>
static inline __attribute__((always_inline)) Index split_by(Index count, const T* source, T* target) {
  Index i = 0;
  // `<`: the last vector reads up to Step - 1 elements past the last one it needs.
  for (; i + kLanes<T> < count; i += kLanes<T>)
    store(target + i, split_vectors<T, Step>(load(source + Step * i), source + Step * i));
  return i;
}

// target[i] = source[i * step].
template <class T>
static void split_row(Index count, const T* source, Index step, T* target) {
  Index i = 0;
  if (step == 1) i = split_by<T, 1>(count, source, target);
  else if (step == 2) i = split_by<T, 2>(count, source, target);
  else if (step == 3) i = split_by<T, 3>(count, source, target);
  else if (step == 4) i = split_by<T, 4>(count, source, target);
  for (; i < count; ++i) target[i] = source[i * step];
}

// Vector `Part` of the target of a join: lane by lane the phases in turn.
template <class T, int Step, int Part, int Phase, int... Lane>
static inline __attribute__((always_inline)) Vector<T> put_phase(Vector<T> joined, Vector<T> phase, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>, kFirst = Part * kWidth;
  return __builtin_shufflevector(joined, phase,
                                 ((kFirst + Lane) % Step == Phase ? kWidth + (kFirst + Lane) / Step
                                  : Phase == 1                    ? (kFirst + Lane) / Step
                                                                  : Lane)...);
}

template <class T, int Step, int Part, int Phase = 1>
static inline __attribute__((always_inline)) Vector<T> join_vectors(Vector<T> joined, const Vector<T>* phases) {
  if constexpr (Phase == Step) return joined;
  else
    return join_vectors<T, Step, Part, Phase + 1>(
        put_phase<T, Step, Part, Phase>(joined, phases[Phase], typename LaneList<kLanes<T>>::type{}), phases);
}

template <class T, int Step, int Part = 0>
static inline __attribute__((always_inline)) void store_joined(const Vector<T>* phases, T* target) {
  if constexpr (Part < Step) {
    store(target + Part * kLanes<T>, join_vectors<T, Step, Part>(phases[0], phases));
    store_joined<T, Step, Part + 1>(phases, target);
  }
}

template <class T, int Step>
static inline __attribute__((always_inline)) Index join_by(Index count, const T* phases, Index pitch, T* target) {
  Index i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) {
    Vector<T> vectors[Step];
#pragma GCC unroll 4
    for (int phase = 0; phase < Step; ++phase) vectors[phase] = load(phases + phase * pitch + i);
    store_joined<T, Step>(vectors, target + Step * i);
  }
  return i;
}

// target[i * step + p] = phases[p * pitch + i] for i in [0, count), p in [0, step).
template <class T>
static void join_rows(Index count, Index step, const T* phases, Index pitch, T* target) {
  Index i = 0;
  if (step == 2) i = join_by<T, 2>(count, phases, pitch, target);
  else if (step == 3) i = join_by<T, 3>(count, phases, pitch, target);
  else if (step == 4) i = join_by<T, 4>(count, phases, pitch, target);
  for (; i < count; ++i)
    for (Index phase = 0; phase < step; ++phase) target[i * step + phase] = phases[phase * pitch + i];
}
