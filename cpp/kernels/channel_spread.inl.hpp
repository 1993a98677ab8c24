// Gradients of averages over few windows an element, channels last: every element takes its share of the gradients of
// the windows over it.
//
// Numerics:  gradients are divided, added from left to right, and these sums from top to bottom, as everywhere.
// Cost:      a load, a division by multiplications and an addition per window and vector; every element is written
// once.

template <class T, int Vectors, bool IsPartial>
static inline __attribute__((always_inline)) void spread_block(const ChannelSpread<T>& s, Index column, Index lane,
                                                               T* out) {
  constexpr int kWidth = kLanes<T>;
  const Index first = s.first[column], count = s.channels - lane;
  Vector<T> sum[Vectors] = {};
  for (Index row = 0; row < s.rows && s.counts[column] > 0; ++row) {
    const T* source = s.gradients + s.row_offsets[row] + first * s.channels + lane;
    Vector<T> line[Vectors] = {};
    for (Index window = 0; window < s.counts[column]; ++window, source += s.channels) {
      const T divisor = s.column_shares[first + window] * s.row_shares[row];
      const Vector<T> divisors = broadcast(divisor), inverses = broadcast(1 / divisor);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const Vector<T> gradient = load_lanes<IsPartial>(source + v * kWidth, count);
        const Vector<T> share = s.has_exact_inverses ? gradient * inverses : quotient<T>(gradient, divisors, inverses);
        line[v] = window == 0 ? share : line[v] + share;
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[v] = row == 0 ? line[v] : sum[v] + line[v];
  }
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) store_lanes<IsPartial>(out + lane + v * kWidth, sum[v], count);
}

template <class T>
static void spread_channels(const ChannelSpread<T>& s) {
  constexpr int kWidth = kLanes<T>;
  T* out = s.out;
  for (Index column = 0; column < s.columns; ++column, out += s.channels) {
    Index lane = 0;
    for (; lane + 4 * kWidth <= s.channels; lane += 4 * kWidth) spread_block<T, 4, false>(s, column, lane, out);
    for (; lane + kWidth <= s.channels; lane += kWidth) spread_block<T, 1, false>(s, column, lane, out);
    if (lane < s.channels) spread_block<T, 1, true>(s, column, lane, out);
  }
}
