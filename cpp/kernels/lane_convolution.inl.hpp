// Depthwise convolution, and that of small groups, with channels as lanes: every source pixel is a run of channels and
// is read where it lies. In groups of 2, 4 or 8, a lane meets each source channel of its group in turn.
//
// Layout:    pixels by pointer, so that padding, dilation and any other map of positions is the caller's; channels and
//            weights have a unit stride.
// Semantics: plain sums of products; a pixel of padding is a run of zeros like any other.
// Numerics:  lane_taps sums the rows * Taps products in order, then adds what the target holds, or the bias.
//            lane_products sums `Pixels` products before it adds them to `sums`.
// Cost:      a pixel is loaded once for all of the Taps windows it lies in: memory limits 3x3, multiply-adds 7x7.

// Whether column `i` of a row is tap `k` of target pixel (i - k) / Step.
template <int Step, int Pixels>
constexpr bool is_tap(int i, int k) {
  return i >= k && (i - k) % Step == 0 && (i - k) / Step < Pixels;
}

// The distance of target pixels is known where several taps share a column, else it is read from the window.
template <int Taps, int Step, int Pixels>
constexpr int kLaneColumns = Taps == 1 ? Pixels : (Pixels - 1) * Step + Taps;

template <class T>
using LaneIndices = Vector<LanePosition<T>>;

// value[lanes[i]]
template <class T>
static inline __attribute__((always_inline)) Vector<T> pick_lanes(Vector<T> value, LaneIndices<T> lanes) {
#if defined(__clang__)
  Vector<T> picked;
  for (int lane = 0; lane < kLanes<T>; ++lane) picked[lane] = value[lanes[lane]];
  return picked;
#else
  return __builtin_shuffle(value, lanes);
#endif
}

// For each lane, the first lane of its group.
template <class T>
static inline __attribute__((always_inline)) LaneIndices<T> group_starts(Index group) {
  LaneIndices<T> lanes;
  for (int lane = 0; lane < kLanes<T>; ++lane) lanes[lane] = static_cast<LanePosition<T>>(lane / group * group);
  return lanes;
}

template <class T, int Taps, int Step, int Pixels, bool IsGrouped, class Part>
static inline __attribute__((always_inline)) void lane_taps_of(const LaneTaps<T>& window, Index first, Index channel,
                                                               LaneIndices<T> lanes, Part part) {
  constexpr int kStep = Taps == 1 ? 1 : Step, kColumns = kLaneColumns<Taps, Step, Pixels>;
  const Index column_step = Taps == 1 ? window.step : 1;
  Vector<T> sum[Pixels];
#pragma GCC unroll 8
  for (int pixel = 0; pixel < Pixels; ++pixel) sum[pixel] = Vector<T>{};
  const T* weights = window.weights + channel;
  for (Index row = 0; row < window.rows; ++row) {
    const T* const* columns = window.columns[row] + window.first_column + first * window.step;
    LaneIndices<T> met = lanes;
    for (Index member = 0; member < (IsGrouped ? window.group : 1); ++member, met += 1) {
      Vector<T> factor[Taps];
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap) factor[tap] = part.load(weights + tap * window.weight_pitch);
#pragma GCC unroll 32
      for (int i = 0; i < kColumns; ++i) {
        Vector<T> value = part.load(columns[i * column_step] + channel);
        if constexpr (IsGrouped) value = pick_lanes<T>(value, met);
#pragma GCC unroll 8
        for (int tap = 0; tap < Taps; ++tap)
          if (is_tap<kStep, Pixels>(i, tap))
            sum[(i - tap) / kStep] = multiply_add(factor[tap], value, sum[(i - tap) / kStep]);
      }
      weights += Taps * window.weight_pitch;
    }
  }
  T* target = window.target + first * window.target_pitch + channel;
  const Vector<T> bias = window.bias == nullptr ? Vector<T>{} : part.load(window.bias + channel);
#pragma GCC unroll 8
  for (int pixel = 0; pixel < Pixels; ++pixel, target += window.target_pitch)
    part.store(target, (window.is_added ? part.load(target) : bias) + sum[pixel]);
}

// The last `Pixels` pixels may overlap those before them.
template <class T, int Taps, int Step, int Pixels, bool IsGrouped>
static void lane_taps(const LaneTaps<T>& window) {
  const LaneIndices<T> lanes = group_starts<T>(IsGrouped ? window.group : 1);
  for (Index x = 0; x < window.pixels; x += Pixels) {
    const Index first = x + Pixels <= window.pixels ? x : window.pixels - Pixels;
    for_each_vector<T>(window.channels, [&](auto part, Index channel) __attribute__((always_inline)) {
      lane_taps_of<T, Taps, Step, Pixels, IsGrouped>(window, first, channel, lanes, part);
    });
  }
}

template <class T, int Taps, int Step, int Pixels, bool IsGrouped, class Part>
static inline __attribute__((always_inline)) void lane_products_of(const LaneProducts<T>& window, Index first,
                                                                   Index channel, LaneIndices<T> lanes, Part part) {
  constexpr int kStep = Taps == 1 ? 1 : Step, kColumns = kLaneColumns<Taps, Step, Pixels>;
  const Index column_step = Taps == 1 ? window.step : 1;
  Vector<T> gradient[Pixels];
#pragma GCC unroll 8
  for (int pixel = 0; pixel < Pixels; ++pixel)
    gradient[pixel] = part.load(window.gradients + channel + (first + pixel) * window.gradient_pitch);
  T* sums = window.sums + channel;
  for (Index row = 0; row < window.rows; ++row) {
    const T* const* columns = window.columns[row] + window.first_column + first * window.step;
    LaneIndices<T> met = lanes;
    for (Index member = 0; member < (IsGrouped ? window.group : 1); ++member, met += 1) {
      Vector<T> sum[Taps];
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap) sum[tap] = Vector<T>{};
#pragma GCC unroll 32
      for (int i = 0; i < kColumns; ++i) {
        Vector<T> value = part.load(columns[i * column_step] + channel);
        if constexpr (IsGrouped) value = pick_lanes<T>(value, met);
#pragma GCC unroll 8
        for (int tap = 0; tap < Taps; ++tap)
          if (is_tap<kStep, Pixels>(i, tap)) sum[tap] = multiply_add(gradient[(i - tap) / kStep], value, sum[tap]);
      }
#pragma GCC unroll 8
      for (int tap = 0; tap < Taps; ++tap, sums += window.sum_pitch) part.store(sums, part.load(sums) + sum[tap]);
    }
  }
}

template <class T, int Taps, int Step, int Pixels, bool IsGrouped>
static void lane_products(const LaneProducts<T>& window) {
  const LaneIndices<T> lanes = group_starts<T>(IsGrouped ? window.group : 1);
  for (Index first = 0; first < window.pixels; first += Pixels)
    for_each_vector<T>(window.channels, [&](auto part, Index channel) __attribute__((always_inline)) {
      lane_products_of<T, Taps, Step, Pixels, IsGrouped>(window, first, channel, lanes, part);
    });
}

template <class T, int Taps, int Step, int Pixels>
constexpr void fill_lane_kernel(LaneKernels<T>& kernels) {
  kernels.taps[0][Taps - 1][Step - 1][Pixels - 1] = lane_taps<T, Taps, Step, Pixels, false>;
  kernels.products[0][Taps - 1][Step - 1][Pixels - 1] = lane_products<T, Taps, Step, Pixels, false>;
  if constexpr (Taps <= kMostGroupedLaneTaps) {
    kernels.taps[1][Taps - 1][Step - 1][Pixels - 1] = lane_taps<T, Taps, Step, Pixels, true>;
    kernels.products[1][Taps - 1][Step - 1][Pixels - 1] = lane_products<T, Taps, Step, Pixels, true>;
  }
}

template <class T, int Taps>
constexpr void fill_lane_taps(LaneKernels<T>& kernels) {
  fill_lane_kernel<T, Taps, 1, 1>(kernels);
  fill_lane_kernel<T, Taps, 1, 4>(kernels);
  fill_lane_kernel<T, Taps, 1, 7>(kernels);
  if constexpr (Taps > 1) {
    fill_lane_kernel<T, Taps, 2, 1>(kernels);
    fill_lane_kernel<T, Taps, 2, 4>(kernels);
    fill_lane_kernel<T, Taps, 2, 7>(kernels);
  }
}

template <class T>
constexpr LaneKernels<T> make_lane_kernels() {
  LaneKernels<T> kernels{};
  fill_lane_taps<T, 1>(kernels);
  fill_lane_taps<T, 2>(kernels);
  fill_lane_taps<T, 3>(kernels);
  fill_lane_taps<T, 4>(kernels);
  fill_lane_taps<T, 5>(kernels);
  fill_lane_taps<T, 7>(kernels);
  return kernels;
}
