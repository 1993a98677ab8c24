// What windows give back to the elements that they have read, one channel: every element sums what the windows over it
// give and is written once. Averages, maxima and depthwise convolutions bring their own gradients.
//
// Layout:    column x = Stride * i + phase. The windows over the columns of one phase are neighbours for neighbouring
//            i, so lanes are i; the phases are put together in registers.
// Method:    rows of windows from top to bottom. A row is read once for all the input rows under it, whose sums stay in
//            registers until no further windows lie over them.

// Vector `Part` of the target of a join: lane by lane the phases in turn.
template <class T, int Step, int Part, int Phase, int... Lane>
static inline __attribute__((always_inline)) Vector<T> put_phase(Vector<T> joined, Vector<T> phase, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>, kFirst = Part * kWidth;
  return __builtin_shufflevector(joined, phase,
                                 ((kFirst + Lane) % Step == Phase ? kWidth + (kFirst + Lane) / Step
                                  : Phase == 1                    ? (kFirst + Lane) / Step
                                                                  : Lane)...);
}

template <class T, int Step, int Part, int Phase = 1>
static inline __attribute__((always_inline)) Vector<T> join_vectors(Vector<T> joined, const Vector<T>* phases) {
  if constexpr (Phase == Step) return joined;
  else
    return join_vectors<T, Step, Part, Phase + 1>(
        put_phase<T, Step, Part, Phase>(joined, phases[Phase], typename LaneList<kLanes<T>>::type{}), phases);
}

template <class T, int Step, bool IsPartial, int Part = 0>
static inline __attribute__((always_inline)) void store_joined(const Vector<T>* phases, T* target, Index count) {
  if constexpr (Part < Step) {
    constexpr Index kFirst = Part * kLanes<T>;
    const Vector<T> joined = join_vectors<T, Step, Part>(phases[0], phases);
    if (!IsPartial || kFirst + kLanes<T> <= count) store(target + kFirst, joined);
    else if (kFirst < count) store_first(target + kFirst, joined, count - kFirst);
    store_joined<T, Step, IsPartial, Part + 1>(phases, target, count);
  }
}

// Which windows meet the columns of a phase: i + shift + kFirst, ..., i + shift + kLast, where `shift` windows begin in
// the padding. Offset is the padding modulo the stride.
template <int Kernel, int Stride, int Offset, int Phase>
struct PhaseWindows {
  static constexpr int kTap = (Phase + Offset) % Stride;  // of the last window
  static constexpr int kLast = (Phase + Offset) / Stride;
  static constexpr int kFirst = kLast - (Kernel - 1 - kTap) / Stride;
};

// The windows that any phase meets; as high as wide, or flat.
template <int Kernel, int Stride, int Offset, bool IsFlat>
struct StepWindows {
  static constexpr int kFirst = PhaseWindows<Kernel, Stride, Offset, 0>::kFirst;
  static constexpr int kLast = PhaseWindows<Kernel, Stride, Offset, Stride - 1>::kLast;
  static constexpr int kCount = kLast - kFirst + 1;
  static constexpr int kColumns = Kernel, kPhases = Stride;
  static constexpr int kRows = IsFlat ? 1 : Kernel, kRowStride = IsFlat ? 1 : Stride;
  template <int Phase>
  using Of = PhaseWindows<Kernel, Stride, Offset, Phase>;
};

// How a vector of windows is read: away from the borders, and at them. Lanes without a window are `others`.
template <class T>
struct InnerSpread {
  template <class U>
  inline __attribute__((always_inline)) Vector<U> at(const U* source, int, Vector<U>) const {
    return load(source);
  }
};

template <class T, int Count>
struct BorderSpread {
  LaneSpan<T> spans[Count];

  // Windows [0, windows) exist; lane 0 of distance 0 is `first`.
  inline __attribute__((always_inline)) BorderSpread(Index windows, Index first) {
#pragma GCC unroll 4
    for (int i = 0; i < Count; ++i) spans[i] = LaneSpan<T>(-(first + i), windows - (first + i));
  }
  template <class U>
  inline __attribute__((always_inline)) Vector<U> at(const U* source, int distance, Vector<U> others) const {
    return spans[distance].load(source, others);
  }
};

// Columns [Stride * first, + Stride vectors) of all rows. Gradients are what the windows of a row give, which is read
// once, and added to the sums of the rows and phases under it; `rest` is what elements under no window hold.
template <class T, class Windows, class Gradients>
class SpreadStrip {
  static constexpr int kStride = Windows::kPhases, kRows = Windows::kRows, kRowStride = Windows::kRowStride;

 public:
  inline __attribute__((always_inline)) SpreadStrip(const WindowSpread<T>& s, Index first, Gradients& gradients)
      : s_(s), gradients_(gradients), column_(first * kStride) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) start(i);
  }

  inline __attribute__((always_inline)) void run() {
    const Index above = s_.first_row + s_.row_padding - kRows;  // in padded rows, the last one not met any more
    const Index covered = s_.window_rows == 0 ? 0 : (s_.window_rows - 1) * kRowStride + kRows - s_.row_padding;
    for (Index y = above < 0 ? 0 : above / kRowStride + 1;; ++y) {
      const Index row = y * kRowStride - s_.row_padding;
      if (row >= s_.first_row + s_.rows) return;
      if (y < s_.window_rows) {
        gradients_.read(y);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i) add_phases(i, (row + i) * s_.columns + column_);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kRowStride; ++i)
        if (row + i >= s_.first_row && row + i < s_.first_row + s_.rows) put(row + i, row + i < covered, sums_[i]);
#pragma GCC unroll 8
      for (int i = 0; i + kRowStride < kRows; ++i)
#pragma GCC unroll 8
        for (int phase = 0; phase < kStride; ++phase) sums_[i][phase] = sums_[i + kRowStride][phase];
#pragma GCC unroll 8
      for (int i = kRows - kRowStride; i < kRows; ++i) start(i);
    }
  }

 private:
  inline __attribute__((always_inline)) void start(int row) {
#pragma GCC unroll 8
    for (int phase = 0; phase < kStride; ++phase) sums_[row][phase] = gradients_.start();
  }

  template <int Phase = 0>
  inline __attribute__((always_inline)) void add_phases(int row, Index element) {
    if constexpr (Phase < kStride) {
      sums_[row][Phase] = gradients_.template add<Phase>(sums_[row][Phase], row, element + Phase);
      add_phases<Phase + 1>(row, element);
    }
  }

  static inline __attribute__((always_inline)) void fetch(T* target) {
#pragma GCC unroll 8
    for (int phase = 0; phase < kStride; ++phase) fetch_target(target + phase * kLanes<T>);
  }

  // A pointer to either sums or zeros would keep the sums in memory.
  inline __attribute__((always_inline)) void put(Index row, bool is_covered, const Vector<T>* sums) const {
    T* target = s_.out + row * s_.columns + column_;
    const Index left = s_.columns - column_;
    if (s_.out_ahead != 0) fetch(target + s_.out_ahead);
    if (!is_covered) {
      for (Index i = 0; i < left && i < kStride * kLanes<T>; ++i) target[i] = gradients_.rest();
    } else if (left >= kStride * kLanes<T>) {
      store_joined<T, kStride, false>(sums, target, left);
    } else {
      store_joined<T, kStride, true>(sums, target, left);
    }
  }

  const WindowSpread<T>& s_;
  Gradients& gradients_;
  Index column_;
  Vector<T> sums_[kRows][kStride];
};

template <class T, class Windows, class Gradients, class Spread, class Part>
static inline __attribute__((always_inline)) void spread_strip(const Spread& s, Index first, Index window,
                                                               const Part& part) {
  Gradients gradients(s, window, part);
  SpreadStrip<T, Windows, Gradients>(s, first, gradients).run();
}

template <class T, class Spread, template <class, class, class> class Gradients, class Windows>
static void spread_windows(const Spread& s) {
  using Border = BorderSpread<T, Windows::kCount>;
  for (Index first = 0; first * Windows::kPhases < s.columns; first += kLanes<T>) {
    const Index window = first + s.shift + Windows::kFirst;
    if (window >= 0 && window + Windows::kCount - 1 + kLanes<T> <= s.windows)
      spread_strip<T, Windows, Gradients<T, Windows, InnerSpread<T>>>(s, first, window, InnerSpread<T>{});
    else spread_strip<T, Windows, Gradients<T, Windows, Border>>(s, first, window, Border(s.windows, window));
  }
}

template <int Kernel, int Stride, int Offset>
struct SpreadSize {
  static constexpr int kKernel = Kernel, kStride = Stride, kOffset = Offset;
  using Square = StepWindows<Kernel, Stride, Offset, false>;
  using Flat = StepWindows<Kernel, Stride, Offset, true>;
};

template <class T, template <class> class Spread, template <class, class, class> class Gradients, class... Sizes>
constexpr WindowSpreadKernels<Spread<T>> window_spreads() {
  WindowSpreadKernels<Spread<T>> kernels{};
  ((kernels.square[Sizes::kKernel - 1][Sizes::kStride - 1][Sizes::kOffset] =
        spread_windows<T, Spread<T>, Gradients, typename Sizes::Square>),
   ...);
  ((kernels.flat[Sizes::kKernel - 1][Sizes::kStride - 1][Sizes::kOffset] =
        spread_windows<T, Spread<T>, Gradients, typename Sizes::Flat>),
   ...);
  return kernels;
}
