// Parts of vectors, for instruction sets without masks on every type: nothing else is read or written.

// The nearest of the lanes [0, lanes].
static inline __attribute__((always_inline)) int lane_within(Index lane, int lanes) {
  return lane < 0 ? 0 : lane > lanes ? lanes : static_cast<int>(lane);
}

// The lanes [from, to) of a vector, those that exist: only these are read, the others are `others`. Sources are
// as wide as T. IsWide: of four or eight bytes, for which an instruction set may have masks.
template <class T, bool IsWide = (sizeof(T) >= 4)>
class LaneSpan {
 public:
  static constexpr bool kHasMasks = false;
  LaneSpan() = default;
  LaneSpan(Index from, Index to) : from_(lane_within(from, kLanes<T>)), to_(lane_within(to, kLanes<T>)) {}

  template <class U>
  inline __attribute__((always_inline)) Vector<U> load(const U* source, Vector<U> others) const {
    for (int lane = from_; lane < to_; ++lane) others[lane] = source[lane];
    return others;
  }

 private:
  int from_, to_;
};

// The first `count` lanes; what is not read is 0.
template <class T>
static inline __attribute__((always_inline)) Vector<T> load_first(const T* source, Index count) {
  Vector<T> value{};
  if constexpr (LaneSpan<T>::kHasMasks) value = LaneSpan<T>(0, count).load(source);
  else __builtin_memcpy(&value, source, static_cast<unsigned long>(count) * sizeof(T));
  return value;
}

template <class T>
static inline __attribute__((always_inline)) void store_first(T* target, Vector<T> value, Index count) {
  if constexpr (LaneSpan<T>::kHasMasks) LaneSpan<T>(0, count).store(target, value);
  else __builtin_memcpy(target, &value, static_cast<unsigned long>(count) * sizeof(T));
}

// The same from elements that lie `stride` apart.
template <class T>
static inline __attribute__((always_inline)) Vector<T> load_first_apart(const T* source, Index count, Index stride) {
  if (stride == 1) return load_first(source, count);
  Vector<T> value{};
  for (Index lane = 0; lane < count; ++lane) value[lane] = source[lane * stride];
  return value;
}
