// The pooling kernels of one element type: reductions over taps, over segments, and what rows need before and after.

// values[i] /= shares[i] * scale; without shares, values[i] /= scale. Scales are whole numbers; to multiply by the
// inverse of a power of two gives the same bits.
template <class T>
static void divide(Index count, const T* shares, T scale, T* values) {
  constexpr int kWidth = kLanes<T>;
  Index lane = 0;
  const auto whole = static_cast<unsigned long long>(scale);
  if (shares == nullptr && (whole & (whole - 1)) == 0) {
    const T inverse = 1 / scale;
    for (; lane + kWidth <= count; lane += kWidth) store(values + lane, load(values + lane) * inverse);
  }
  for (; lane + kWidth <= count; lane += kWidth) {
    const Vector<T> divisor = shares == nullptr ? broadcast(scale) : load(shares + lane) * scale;
    store(values + lane, load(values + lane) / divisor);
  }
  for (; lane < count; ++lane) values[lane] /= shares == nullptr ? scale : shares[lane] * scale;
}

template <class T>
constexpr PoolKernels<T> make_pool_kernels() {
  PoolKernels<T> kernels{};
  kernels.lanes = kLanes<T>;
  kernels.max = {reduce_taps<T, MaxOfTaps>, reduce_taps<T, MaxOfTaps>, reduce_segments<T, SegmentMax>};
  kernels.max_with_positions = {reduce_taps<T, MaxOfLabelledTaps>, reduce_taps<T, MaxOfPositions>,
                                reduce_segments<T, SegmentMax>};
  if constexpr (kIsFloating<T>) {
    kernels.sum = {reduce_taps<T, SumOfTaps>, reduce_taps<T, SumOfTaps>, reduce_segments<T, SegmentSum>};
    kernels.divide = divide<T>;
    kernels.sum_of_ties = sum_of_ties<T>;
  }
  kernels.split_row = split_row<T>;
  kernels.join_rows = join_rows<T>;
  return kernels;
}
