// Ties of a maximum: sums over those taps whose key equals the element's own value.
//
// Layout:    one vector of planes; the elements of a plane lie one vector apart.
// Semantics: NaN equals NaN, -0.0 equals 0.0.
// Numerics:  one accumulator per element, from 0 or from what `out` holds, in row-major order of the taps.
// Cost:      two loads, two comparisons and a masked addition per tap and vector.

template <class T>
static void sum_of_ties(const TieTaps<T>& ties) {
  const Vector<T> own = load(ties.own);
  const auto own_is_nan = own != own;
  Vector<T> sum = ties.is_added ? load(static_cast<const T*>(ties.out)) : Vector<T>{};
  for (Index row = 0; row < ties.rows; ++row) {
    const Index first = ties.row_offsets[row] + ties.column_offset;
    for (Index column = 0; column < ties.columns; ++column) {
      const Index offset = first + column * ties.column_step;
      const Vector<T> key = load(ties.keys + offset);
      const auto is_tie = (key == own) | (own_is_nan & (key != key));
      sum += is_tie ? load(ties.values + offset) : Vector<T>{};
    }
  }
  store(ties.out, sum);
}
