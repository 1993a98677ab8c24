// What LP pooling with exponent 2 does to elements before and after they are summed, in double.

// Elements as many as a vector has of double.
template <class T>
struct Narrow {
  typedef T type __attribute__((vector_size(kLanes<double> * sizeof(T))));
};

template <class T>
static inline __attribute__((always_inline)) Vector<double> load_wide(const T* source, Index count) {
  typename Narrow<T>::type value{};
  if (count >= kLanes<double>) __builtin_memcpy(&value, source, sizeof value);
  else __builtin_memcpy(&value, source, static_cast<unsigned long>(count) * sizeof(T));
  return __builtin_convertvector(value, Vector<double>);
}

template <class T>
static inline __attribute__((always_inline)) void store_narrow(T* target, Vector<double> wide, Index count) {
  const auto value = __builtin_convertvector(wide, typename Narrow<T>::type);
  if (count >= kLanes<double>) __builtin_memcpy(target, &value, sizeof value);
  else __builtin_memcpy(target, &value, static_cast<unsigned long>(count) * sizeof(T));
}

template <class T>
static void squares(Index count, const T* source, double* target) {
  for (Index i = 0; i < count; i += kLanes<double>) {
    const Vector<double> value = load_wide(source + i, count - i);
    store_narrow(target + i, value * value, count - i);
  }
}

// The vector extension has no roots; compilers make vectors of this.
template <class T>
static void roots(Index count, const double* __restrict sums, T* __restrict target) {
  for (Index i = 0; i < count; ++i) target[i] = static_cast<T>(__builtin_sqrt(sums[i]));
}

template <class T>
static void over_norms(Index count, const T* gradients, const T* norms, double* target) {
  for (Index i = 0; i < count; i += kLanes<double>) {
    const Vector<double> norm = load_wide(norms + i, count - i);
    const auto is_zero = norm == 0;
    const Vector<double> quotient = load_wide(gradients + i, count - i) / (is_zero ? broadcast(1.0) : norm);
    store_narrow(target + i, is_zero ? Vector<double>{} : quotient, count - i);
  }
}

template <class T>
static void times_values(Index count, const double* sums, const T* values, T* target) {
  for (Index i = 0; i < count; i += kLanes<double>) {
    const Vector<double> value = load_wide(values + i, count - i);
    const Vector<double> product = load_wide(sums + i, count - i) * value;
    store_narrow(target + i, value == 0 ? Vector<double>{} : product, count - i);
  }
}
