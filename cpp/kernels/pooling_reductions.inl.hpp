// What a pooling window computes from its elements, one output per lane: sums, and extremes with or without positions.
//
// Semantics: an extreme is the first one in order (strict comparison); the first NaN beats everything; -0.0 equals 0.0.
// Numerics:  sums add later elements to earlier ones; no lane depends on its place in a vector.

template <class T>
constexpr bool kIsFloating = static_cast<T>(0.5) != static_cast<T>(0);

struct Greatest {
  template <class V>
  static inline __attribute__((always_inline)) auto is_worse_or_equal(V value, V best) {
    return value <= best;
  }
};

struct Least {
  template <class V>
  static inline __attribute__((always_inline)) auto is_worse_or_equal(V value, V best) {
    return value >= best;
  }
};

template <class T, class Order>
static inline __attribute__((always_inline)) auto is_better(Vector<T> value, Vector<T> best) {
  if constexpr (kIsFloating<T>) return ~Order::is_worse_or_equal(value, best) & (best == best);
  else return ~Order::is_worse_or_equal(value, best);
}

// ---- whole vectors, or the first `count` lanes of one ----

template <bool IsPartial, class T>
static inline __attribute__((always_inline)) Vector<T> load_lanes(const T* source, Index count) {
  if constexpr (IsPartial) return load_first(source, count);
  else return load(source);
}

template <bool IsPartial, class T>
static inline __attribute__((always_inline)) void store_lanes(T* target, Vector<T> value, Index count) {
  if constexpr (IsPartial) store_first(target, value, count);
  else store(target, value);
}

// ---- reductions ----

// A State is made by state_of() from a vector and a label; combine() takes the earlier State first.

template <class T>
struct ValueState {
  Vector<T> value;
};

template <class T>
struct PlacedState {
  Vector<T> value;
  Vector<LanePosition<T>> position;
};

// Where elements lie. Positions are read by nested reductions only.
template <class T>
struct Elements {
  const T* values;
  const LanePosition<T>* positions;
};

// Reductions whose state is a vector of values.
template <class T>
struct OfValues {
  using State = ValueState<T>;
  static constexpr bool kHasPositions = false, kIsNested = false;
  static inline __attribute__((always_inline)) State state_of(Vector<T> value, LanePosition<T>) { return {value}; }
  static inline __attribute__((always_inline)) Vector<T> value_of(const State& state) { return state.value; }
};

template <class T>
struct SumOf : OfValues<T> {
  using State = ValueState<T>;
  static constexpr bool kIsSum = true;
  static inline __attribute__((always_inline)) State combine(State first, State later) {
    return {first.value + later.value};
  }
};

template <class T, class Order>
struct ExtremeOf : OfValues<T> {
  using State = ValueState<T>;
  static constexpr bool kIsSum = false;
  static inline __attribute__((always_inline)) State combine(State first, State later) {
    return {is_better<T, Order>(later.value, first.value) ? later.value : first.value};
  }
};

// IsNested: elements bring positions, to which the label is added.
template <class T, class Order, bool IsNested>
struct PlacedExtremeOf {
  using State = PlacedState<T>;
  using P = LanePosition<T>;
  static constexpr bool kHasPositions = true, kIsSum = false, kIsNested = IsNested;
  static inline __attribute__((always_inline)) State state_of(Vector<T> value, P label) {
    return {value, broadcast(label)};
  }
  static inline __attribute__((always_inline)) Vector<T> value_of(const State& state) { return state.value; }
  static inline __attribute__((always_inline)) State combine(State first, State later) {
    const auto take = is_better<T, Order>(later.value, first.value);
    return {take ? later.value : first.value, take ? later.position : first.position};
  }
};

// The state of a vector of elements.
template <class T, class Reduction, bool IsPartial>
static inline __attribute__((always_inline)) typename Reduction::State element(const Elements<T>& source, Index offset,
                                                                               LanePosition<T> label, Index count) {
  const Vector<T> value = load_lanes<IsPartial>(source.values + offset, count);
  if constexpr (Reduction::kIsNested) return {value, load_lanes<IsPartial>(source.positions + offset, count) + label};
  else return Reduction::state_of(value, label);
}

// Several vectors side by side.
template <class T, class Reduction, int Vectors, bool IsPartial>
struct States {
  typename Reduction::State state[Vectors];

  inline __attribute__((always_inline)) void set(const Elements<T>& source, Index offset, LanePosition<T> label,
                                                 Index count) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      state[v] = element<T, Reduction, IsPartial>(source, offset + v * kLanes<T>, label, count);
  }
  inline __attribute__((always_inline)) void add_later(const Elements<T>& source, Index offset, LanePosition<T> label,
                                                       Index count) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      state[v] =
          Reduction::combine(state[v], element<T, Reduction, IsPartial>(source, offset + v * kLanes<T>, label, count));
    }
  }
  inline __attribute__((always_inline)) void add_earlier(const Elements<T>& source, Index offset, LanePosition<T> label,
                                                         Index count) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      state[v] =
          Reduction::combine(element<T, Reduction, IsPartial>(source, offset + v * kLanes<T>, label, count), state[v]);
    }
  }
  inline __attribute__((always_inline)) void join(const States& later) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) state[v] = Reduction::combine(state[v], later.state[v]);
  }
  // To out + offset and positions + offset of the positions; column_labels, where there are any, are added.
  inline __attribute__((always_inline)) void put(T* out, LanePosition<T>* positions,
                                                 const LanePosition<T>* column_labels, Index count) const {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      store_lanes<IsPartial>(out + v * kLanes<T>, Reduction::value_of(state[v]), count);
      if constexpr (Reduction::kHasPositions) {
        Vector<LanePosition<T>> position = state[v].position;
        if (column_labels != nullptr) position += load_lanes<IsPartial>(column_labels + v * kLanes<T>, count);
        store_lanes<IsPartial>(positions + v * kLanes<T>, position, count);
      }
    }
  }
};
