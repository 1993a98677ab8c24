// A list of the lane numbers 0 .. Count - 1 as template arguments (what std::index_sequence is; kernels include no
// standard library, so that no shared inline function is compiled for one instruction set and run on another).

template <int... Lane>
struct Lanes {};

template <int Count, int... Tail>
struct LaneList : LaneList<Count - 1, Count - 1, Tail...> {};

template <int... Tail>
struct LaneList<0, Tail...> {
  using type = Lanes<Tail...>;
};

// 0, 1, 2, ...
template <class T, int... Lane>
static inline __attribute__((always_inline)) Vector<T> lane_numbers(Lanes<Lane...>) {
  return Vector<T>{static_cast<T>(Lane)...};
}

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
