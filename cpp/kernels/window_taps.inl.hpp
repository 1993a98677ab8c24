// Windows of neighbouring columns: their taps, lane by lane, from the vectors of a row as it lies in memory.

// Lanes of residue `Residue` among Step vectors put end to end: what lies at Lane * Step + Residue.
template <class T, int Step, int Residue, int Source, int... Lane>
static inline __attribute__((always_inline)) Vector<T> take_split(Vector<T> taken, Vector<T> next, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>;
  return __builtin_shufflevector(taken, next,
                                 ((Lane * Step + Residue) / kWidth == Source ? kWidth + (Lane * Step + Residue) % kWidth
                                  : Source == 1                              ? (Lane * Step + Residue) % kWidth
                                                                             : Lane)...);
}

template <class T, int Step, int Residue, int Source = 1>
static inline __attribute__((always_inline)) Vector<T> split_vectors(Vector<T> taken, const Vector<T>* sources) {
  if constexpr (Source >= Step) {
    return taken;
  } else {
    const Vector<T> next =
        take_split<T, Step, Residue, Source>(taken, sources[Source], typename LaneList<kLanes<T>>::type{});
    return split_vectors<T, Step, Residue, Source + 1>(next, sources);
  }
}

// What comes is fetched while this is worked on: strips from top to bottom of a band of rows fetch what they will read
// and write of the next band, which no processor foresees; walks along rows what comes kFetchAhead later.
template <class T>
static inline __attribute__((always_inline)) void fetch_source(const T* source) {
  __builtin_prefetch(source, 0, 2);
}

template <class T>
static inline __attribute__((always_inline)) void fetch_target(T* target) {
  __builtin_prefetch(target, 1, 3);
}

template <class T>
constexpr Index kFetchAhead = kFetchAheadBytes / static_cast<Index>(sizeof(T));

// The vectors whose lanes hold the taps of a vector of windows: at stride s, tap t of window i is lane i of residue t %
// s among s neighbouring vectors.
template <class T, int Kernel, int Stride>
struct WindowTaps {
  static constexpr int kGroups = (Kernel + Stride - 1) / Stride;
  static constexpr int kLoads = kGroups * Stride;
  // First element of vector `load`, from the first tap of the first window.
  static constexpr Index offset(int load) { return load / Stride * Stride + load % Stride * kLanes<T>; }
  // Loads beyond the first group read the same lines once more.
  static inline __attribute__((always_inline)) void fetch(const T* first, int load) {
    if (load < Stride) fetch_source(first + offset(load));
  }
  // Elements of a row that are read.
  static constexpr Index kReach = (kGroups - 1) * Stride + Stride * kLanes<T>;
};

// Tap `Tap` of a vector of windows.
template <class T, int Stride, int Tap>
static inline __attribute__((always_inline)) Vector<T> tap_of(const Vector<T>* vectors) {
  const Vector<T>* group = vectors + Tap / Stride * Stride;
  return split_vectors<T, Stride, Tap % Stride>(group[0], group);
}

// How a vector of windows is read and written: away from the borders, and at them. What lies `ahead` elements behind is
// fetched.
template <class T, class Taps>
struct InnerTaps {
  inline __attribute__((always_inline)) Vector<T> load_taps(const T* first, int number, Index ahead) const {
    Taps::fetch(first + ahead, number);
    return load(first + Taps::offset(number));
  }
  template <class U>
  inline __attribute__((always_inline)) void put(U* target, Vector<U> value) const {
    store(target, value);
  }
};

template <class T, class Taps>
struct BorderTaps {
  LaneSpan<T> spans[Taps::kLoads];
  Vector<T> padding;
  Index count;  // windows

  // Columns [0, columns) exist, the first tap is in column `first`.
  inline __attribute__((always_inline)) BorderTaps(Index columns, Index first, T fallback, Index windows)
      : padding(broadcast(fallback)), count(windows) {
#pragma GCC unroll 8
    for (int i = 0; i < Taps::kLoads; ++i)
      spans[i] = LaneSpan<T>(-(first + Taps::offset(i)), columns - (first + Taps::offset(i)));
  }
  inline __attribute__((always_inline)) Vector<T> load_taps(const T* first, int number, Index ahead) const {
    Taps::fetch(first + ahead, number);
    return spans[number].load(first + Taps::offset(number), padding);
  }
  template <class U>
  inline __attribute__((always_inline)) void put(U* target, Vector<U> value) const {
    if (count == kLanes<T>) store(target, value);
    else store_first(target, value, count);
  }
};
