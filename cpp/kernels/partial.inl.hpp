// Runs of elements that end within a vector.

template <class T>
struct WholeVector {
  inline __attribute__((always_inline)) Vector<T> load(const T* source) const {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(source);
  }
  inline __attribute__((always_inline)) void store(T* target, Vector<T> value) const {
    *reinterpret_cast<typename VectorOf<T>::unaligned*>(target) = value;
  }
  inline __attribute__((always_inline)) Vector<T> keep(Vector<T> value) const { return value; }
};

template <class T>
struct PartialVector {
  Index count;
  inline __attribute__((always_inline)) Vector<T> load(const T* source) const { return load_first(source, count); }
  inline __attribute__((always_inline)) void store(T* target, Vector<T> value) const {
    store_first(target, value, count);
  }
  inline __attribute__((always_inline)) Vector<T> keep(Vector<T> value) const {
    return lane_numbers<T>(typename LaneList<kLanes<T>>::type{}) < static_cast<T>(count) ? value : Vector<T>{};
  }
};

// body(part, first lane) for `count` elements; part loads, stores and keeps (the others are 0) those
// of them that exist.
template <class T, class Body>
static inline __attribute__((always_inline)) void for_each_vector(Index count, Body&& body) {
  Index lane = 0;
  for (; lane + kLanes<T> <= count; lane += kLanes<T>) body(WholeVector<T>{}, lane);
  if (lane < count) body(PartialVector<T>{count - lane}, lane);
}
