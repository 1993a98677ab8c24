// LP pooling with exponent 2: what is done to elements before and after they are summed, in double; and small windows
// at once.

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

// ---- small windows ----

// The lanes of a vector of T, in order.
template <class T>
struct WideState {
  static constexpr int kParts = sizeof(double) / sizeof(T);
  Vector<double> parts[kParts];
};

template <class T, int Part, int... Lane>
static inline __attribute__((always_inline)) Vector<double> widen_part(Vector<T> value, Lanes<Lane...>) {
  constexpr int kFirst = Part * kLanes<double>;
  return __builtin_convertvector(__builtin_shufflevector(value, value, (kFirst + Lane)...), Vector<double>);
}

template <class T, int... Lane>
static inline __attribute__((always_inline)) Vector<T> narrow_parts(const WideState<T>& wide, Lanes<Lane...>) {
  using Part = typename Narrow<T>::type;
  const Part first = __builtin_convertvector(wide.parts[0], Part);
  const Part last = __builtin_convertvector(wide.parts[WideState<T>::kParts - 1], Part);
  return __builtin_shufflevector(first, last, Lane...);
}

static inline __attribute__((always_inline)) Vector<double> roots_of(Vector<double> values) {
  double lanes[kLanes<double>];
  store(lanes, values);
  for (double& lane : lanes) lane = __builtin_sqrt(lane);
  return load(lanes);
}

template <class T>
struct NormOf {
  using State = WideState<T>;
  static constexpr bool kHasPositions = false, kIsSum = false, kIsNested = false;
  static inline __attribute__((always_inline)) State state_of(Vector<T> value, LanePosition<T>) {
    using All = typename LaneList<kLanes<double>>::type;
    State state;
    state.parts[0] = widen_part<T, 0>(value, All{});
    if constexpr (State::kParts == 2) state.parts[1] = widen_part<T, 1>(value, All{});
    for (Vector<double>& part : state.parts) part *= part;
    return state;
  }
  static inline __attribute__((always_inline)) State combine(State first, const State& later) {
    for (int part = 0; part < State::kParts; ++part) first.parts[part] += later.parts[part];
    return first;
  }
  static inline __attribute__((always_inline)) Vector<T> value_of(const State& state) {
    State norms;
    for (int part = 0; part < State::kParts; ++part) norms.parts[part] = roots_of(state.parts[part]);
    return narrow_parts<T>(norms, typename LaneList<kLanes<T>>::type{});
  }
};
