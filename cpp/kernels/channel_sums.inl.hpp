// Sums over the pixels of an array (the gradient of a bias), and over lanes that were summed apart.
//
// Layout:    a run of one channel's pixels, or rows of channels.
// Semantics: a run adds in four vectors and then halves of their lanes; rows are added up per channel in a register
//            before they meet the sums. The caller cuts both into short pieces, which bounds the rounding error.

template <class T>
static T sum_run(const T* values, Index count) {
  constexpr Index kWidth = kLanes<T>;
  Vector<T> sums[4] = {};
  Index i = 0;
  for (; i + 4 * kWidth <= count; i += 4 * kWidth) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[v] += load(values + i + v * kWidth);
  }
  for (; i + kWidth <= count; i += kWidth) sums[0] += load(values + i);
  if (i < count) sums[1] += load_first(values + i, count - i);
  return sum_lanes<T>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// sums[column] += the column's sum over `count` rows.
template <class T>
static void add_rows(const T* rows, Index count, Index columns, T* sums) {
  constexpr Index kWidth = kLanes<T>;
  Index column = 0;
  for (; column + 4 * kWidth <= columns; column += 4 * kWidth) {
    Vector<T> block[4] = {};
    for (Index row = 0; row < count; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) block[v] += load(rows + row * columns + column + v * kWidth);
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) store(sums + column + v * kWidth, load(sums + column + v * kWidth) + block[v]);
  }
  for (; column < columns; column += kWidth) {
    const Index lanes = columns - column < kWidth ? columns - column : kWidth;
    Vector<T> block{};
    for (Index row = 0; row < count; ++row) block += load_first(rows + row * columns + column, lanes);
    store_first(sums + column, load_first(sums + column, lanes) + block, lanes);
  }
}

// totals[i] = the sum of sums[slice][i][lane] over slices, then lanes.
template <class T>
static void lane_totals(const T* sums, Index slices, Index count, T* totals) {
  for (Index i = 0; i < count; ++i) {
    Vector<T> total = load(sums + i * kLanes<T>);
    for (Index slice = 1; slice < slices; ++slice) total += load(sums + (slice * count + i) * kLanes<T>);
    totals[i] = sum_lanes<T>(total);
  }
}
