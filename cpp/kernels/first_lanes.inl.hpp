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
