// Division by whole numbers.

// value / divisor for a whole number. With fused multiply-adds, a multiplication by the inverse and one correction
// (Markstein 1990) give the correctly rounded quotient, infinities and NaN included, where |value| >= 2^-78 (float);
// below that the correction itself is rounded. It takes a third of the time of a division.
template <class T>
static inline __attribute__((always_inline)) Vector<T> quotient(Vector<T> value, Vector<T> divisor, Vector<T> inverse) {
  if constexpr (!kHasFusedMultiplyAdd) return value / divisor;
  const Vector<T> first = value * inverse;
  const Vector<T> rest = multiply_add(-first, divisor, value);
  const Vector<T> corrected = multiply_add(rest, inverse, first);
  return ((rest < 0) | (rest > 0)) ? corrected : first;  // else exact (and keeps the sign of a zero), or not finite
}
