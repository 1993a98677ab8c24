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
