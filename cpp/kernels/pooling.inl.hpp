// The pooling kernels of one element type: its reductions, and what rows need before and after.

// target[i] = source[i] / divisor. To multiply by the inverse of a power of two gives the same bits.
template <class T>
static void divide(Index count, const T* source, T divisor, T* target) {
  constexpr unsigned long long kMostCorrected = 4096;
  const auto whole = static_cast<unsigned long long>(divisor);
  const T inverse = 1 / divisor;
  if ((whole & (whole - 1)) == 0) {
    for_each_vector<T>(count, [&](auto part, Index i) { part.store(target + i, part.load(source + i) * inverse); });
  } else if (whole <= kMostCorrected) {
    for_each_vector<T>(count, [&](auto part, Index i) {
      part.store(target + i, quotient<T>(part.load(source + i), broadcast(divisor), broadcast(inverse)));
    });
  } else {
    for_each_vector<T>(count, [&](auto part, Index i) { part.store(target + i, part.load(source + i) / divisor); });
  }
}

// target[i] = source[i] / divisors[i], whole numbers up to 4096, with their inverses.
template <class T>
static void divide_each(Index count, const T* source, const T* divisors, const T* inverses, T* target) {
  for_each_vector<T>(count, [&](auto part, Index i) {
    part.store(target + i, quotient<T>(part.load(source + i), part.load(divisors + i), part.load(inverses + i)));
  });
}

template <class T, class Order>
constexpr ReductionKernels<T> make_extremes() {
  using Extreme = ExtremeOf<T, Order>;
  return {reduce_taps<T, Extreme>,
          reduce_taps<T, Extreme>,
          reduce_rows<T, Extreme>,
          reduce_rows<T, Extreme>,
          reduce_running<T, Extreme>,
          reduce_running<T, Extreme>,
          reduce_segments<T, SegmentExtreme<Order>>,
          small_windows<T, Extreme>()};
}

template <class T, class Order>
constexpr ReductionKernels<T> make_placed_extremes() {
  using Outer = PlacedExtremeOf<T, Order, false>;
  using Nested = PlacedExtremeOf<T, Order, true>;
  return {reduce_taps<T, Outer>,
          reduce_taps<T, Nested>,
          reduce_rows<T, Outer>,
          reduce_rows<T, Nested>,
          reduce_running<T, Outer>,
          reduce_running<T, Nested>,
          reduce_segments<T, SegmentExtreme<Order>>,
          small_windows<T, Outer>()};
}

template <class T>
constexpr PoolKernels<T> make_pool_kernels() {
  using Sum = SumOf<T>;
  PoolKernels<T> kernels{};
  kernels.lanes = kLanes<T>;
  kernels.max = make_extremes<T, Greatest>();
  kernels.min = make_extremes<T, Least>();
  if constexpr (sizeof(T) >= 4) {
    kernels.max_with_positions = make_placed_extremes<T, Greatest>();
    kernels.min_with_positions = make_placed_extremes<T, Least>();
  }
  kernels.sum = {reduce_taps<T, Sum>,
                 reduce_taps<T, Sum>,
                 reduce_rows<T, Sum>,
                 reduce_rows<T, Sum>,
                 reduce_running<T, Sum>,
                 reduce_running<T, Sum>,
                 reduce_segments<T, SegmentSum>,
                 small_windows<T, Sum>()};
  kernels.split_rows = split_rows<T>;
  kernels.join_rows = join_rows<T>;
  if constexpr (kIsFloating<T>) {
    kernels.divide = divide<T>;
    kernels.divide_each = divide_each<T>;
    kernels.sum_of_ties = sum_of_ties<T>;
    kernels.norms = {squares<T>, roots<T>, over_norms<T>, times_values<T>, small_windows<T, NormOf<T>>()};
    // There every element is widened three times, which takes registers.
    if constexpr (kRegisters < 32) kernels.norms.windows.of[2][0] = nullptr;
    kernels.gather_channels = gather_channels<T>;
    kernels.scatter = scatter_planes<T, 1>;
    kernels.scatter_planes = scatter_planes<T, kScatteredPlanes>;
    kernels.average_spreads = average_spreads<T>();
    kernels.spread_channels = spread_channels<T>;
    kernels.place_spreads = place_spreads<T>();
  }
  return kernels;
}
