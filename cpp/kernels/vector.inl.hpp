// Vectors of any element type and of the width the including file states (CONVPOOL_VECTOR_BYTES), by the compiler's
// vector extension. Only fused multiply-add needs an instruction by name: each isa_<x>.cpp defines `multiply_add`.

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(CONVPOOL_VECTOR_BYTES)));
  typedef T unaligned __attribute__((vector_size(CONVPOOL_VECTOR_BYTES), aligned(alignof(T)), may_alias));
};

template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = CONVPOOL_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T>
static inline __attribute__((always_inline)) Vector<T> load(const T* source) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(source);
}

template <class T>
static inline __attribute__((always_inline)) void store(T* target, Vector<T> value) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(target) = value;
}

template <class T>
static inline __attribute__((always_inline)) Vector<T> broadcast(T value) {
  return value - Vector<T>{};
}
