// Work along one row where outputs are not neighbours of the same tap: windows of varying length (one reduction each),
// and rows split into stride phases and joined again.
//
// Layout:    rows of consecutive elements.
// Semantics: as kernels/pooling_taps.inl.hpp: the first maximum, the first NaN.
// Numerics:  a segment of two vectors and more is summed in interleaved partial sums, which are then added in a tree;
//            a shorter one from left to right. The order depends on its length alone (and on the vector length).
// Cost:      long segments one load and operation per vector; short ones, and strides over 4, one element at a time.

template <class T, class Order>
static inline __attribute__((always_inline)) bool is_better_element(T value, T best) {
  return !Order::is_worse_or_equal(value, best) & (best == best);  // no branches: data decides at random
}

template <class T>
struct Place {
  Vector<T> value;
  Vector<LanePosition<T>> position;
};

// Lanes are in no order of position: of equal maxima, and of NaNs, the earliest counts.
template <class T, class Order, int Half = kLanes<T> / 2>
static inline __attribute__((always_inline)) Place<T> best_lane(Place<T> best) {
  if constexpr (Half == 0) {
    return best;
  } else {
    using P = LanePosition<T>;
    using All = typename LaneList<kLanes<T>>::type;
    const Vector<T> value = upper_half<T, Half>(best.value, All{});
    const Vector<P> position = upper_half<P, Half>(best.position, All{});
    const Vector<P> is_equal = (value == best.value) | ((value != value) & (best.value != best.value));
    const Vector<P> take = is_better<T, Order>(value, best.value) | (is_equal & (position < best.position));
    return best_lane<T, Order, Half / 2>({take ? value : best.value, take ? position : best.position});
  }
}

// The position is needed even where only the value is asked for: it decides between -0.0 and 0.0.
template <class Order>
struct SegmentExtreme {
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
        const Vector<P> take = is_better<T, Order>(value, lanes.value);
        lanes.value = take ? value : lanes.value;
        lanes.position = take ? candidate : lanes.position;
      }
      lanes = best_lane<T, Order>(lanes);
      best = lanes.value[0];
      where = static_cast<Index>(lanes.position[0]);
    }
    for (; next < count; ++next) {
      const bool take = is_better_element<T, Order>(source[next], best);
      best = take ? source[next] : best;
      where = take ? next : where;
    }
    r.out[output] = best;
    if (r.out_positions != nullptr) r.out_positions[output] = r.base + static_cast<P>(r.first[output] + where);
  }
};

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

template <class T, int Step, int Residue = 0>
static inline __attribute__((always_inline)) void store_residues(const Vector<T>* sources, T* const* targets,
                                                                 Index offset) {
  if constexpr (Residue < Step) {
    if (targets[Residue] != nullptr)
      store(targets[Residue] + offset, split_vectors<T, Step, Residue>(sources[0], sources));
    store_residues<T, Step, Residue + 1>(sources, targets, offset);
  }
}

// `count` lanes of a row, the others padding.
template <class T>
static inline __attribute__((always_inline)) Vector<T> load_padded(const T* source, Index count, T padding) {
  constexpr Index kWidth = kLanes<T>;
  const Vector<LanePosition<T>> lane = lane_numbers<LanePosition<T>>(typename LaneList<kLanes<T>>::type{});
  if (count >= kWidth) return load(source);
  if (count <= 0) return broadcast(padding);
  return lane < static_cast<LanePosition<T>>(count) ? load_first(source, count) : broadcast(padding);
}

template <class T, int Step>
static void split_rows_by(const RowSplit<T>& split) {
  constexpr Index kWidth = kLanes<T>, kGroup = Step * kWidth;
  for (Index row = 0; row < split.rows; ++row) {
    const T* source = split.source + row * split.source_pitch;
    const Index target = row * split.target_pitch;
    Vector<T> vectors[Step];
    Index column = 0;
    for (; column + kGroup <= split.count; column += kGroup) {
#pragma GCC unroll 4
      for (int v = 0; v < Step; ++v) {
        vectors[v] = load(source + column + v * kWidth);
        fetch_source(source + column + v * kWidth + kFetchAhead<T>);
      }
      store_residues<T, Step>(vectors, split.targets, target + column / Step);
    }
    if (column == split.count) continue;
#pragma GCC unroll 4
    for (int v = 0; v < Step; ++v)
      vectors[v] = load_padded(source + column + v * kWidth, split.count - column - v * kWidth, split.padding);
    store_residues<T, Step>(vectors, split.targets, target + column / Step);
  }
}

template <class T>
static void split_rows(const RowSplit<T>& split) {
  if (split.step == 1) return split_rows_by<T, 1>(split);
  if (split.step == 2) return split_rows_by<T, 2>(split);
  if (split.step == 3) return split_rows_by<T, 3>(split);
  if (split.step == 4) return split_rows_by<T, 4>(split);
  for (Index row = 0; row < split.rows; ++row)
    for (Index residue = 0; residue < split.step; ++residue) {
      if (split.targets[residue] == nullptr) continue;
      T* target = split.targets[residue] + row * split.target_pitch;
      for (Index column = residue; column < split.count; column += split.step)
        *target++ = split.source[row * split.source_pitch + column];
    }
}

template <class T, int Step>
static void join_by(Index count, const T* phases, Index pitch, T* target) {
  constexpr Index kGroup = Step * kLanes<T>;
  for (Index i = 0; i < count; i += kGroup) {
    Vector<T> vectors[Step];
#pragma GCC unroll 4
    for (int phase = 0; phase < Step; ++phase) vectors[phase] = load(phases + phase * pitch + i / Step);
    if (i + kGroup <= count) store_joined<T, Step, false>(vectors, target + i, count - i);
    else store_joined<T, Step, true>(vectors, target + i, count - i);
  }
}

// target[i * step + p] = phases[p * pitch + i] for the `count` elements of the target.
template <class T>
static void join_rows(Index count, Index step, const T* phases, Index pitch, T* target) {
  if (step == 2) return join_by<T, 2>(count, phases, pitch, target);
  if (step == 3) return join_by<T, 3>(count, phases, pitch, target);
  if (step == 4) return join_by<T, 4>(count, phases, pitch, target);
  for (Index phase = 0; phase < step; ++phase)
    for (Index i = phase; i < count; i += step) target[i] = phases[phase * pitch + (i - phase) / step];
}
