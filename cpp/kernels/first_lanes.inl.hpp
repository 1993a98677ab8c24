// The first `count` lanes of a vector, for instruction sets without masks on every type: nothing else is read or
// written, the other lanes are 0.

template <class T>
static inline __attribute__((always_inline)) Vector<T> load_first(const T* source, Index count) {
  Vector<T> value{};
  __builtin_memcpy(&value, source, static_cast<unsigned long>(count) * sizeof(T));
  return value;
}

template <class T>
static inline __attribute__((always_inline)) void store_first(T* target, Vector<T> value, Index count) {
  __builtin_memcpy(target, &value, static_cast<unsigned long>(count) * sizeof(T));
}

// The same from elements that lie `stride` apart.
template <class T>
static inline __attribute__((always_inline)) Vector<T> load_first_apart(const T* source, Index count, Index stride) {
  if (stride == 1) return load_first(source, count);
  Vector<T> value{};
  for (Index lane = 0; lane < count; ++lane) value[lane] = source[lane * stride];
  return value;
}

// The lanes [from, to) of a vector, those that exist: only these are read, the others are `others`.
template <class T>
class LaneSpan {
 public:
  LaneSpan() = default;
  LaneSpan(Index from, Index to) : from_(from > 0 ? from : 0), to_(to < kLanes<T> ? to : kLanes<T>) {}

  inline __attribute__((always_inline)) Vector<T> load(const T* source, Vector<T> others) const {
    for (Index lane = from_; lane < to_; ++lane) others[lane] = source[lane];
    return others;
  }

 private:
  Index from_, to_;
};
