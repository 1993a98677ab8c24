// |x|^p in double, with the two common exponents free of pow(); and |x| for the infinite one.
#pragma once

#include <cmath>

namespace convpool {

template <class T, int Exponent>
struct Power {
  static_assert(Exponent == 1 || Exponent == 2);
  static constexpr bool kIsCopy = false;
  double operator()(T value) const noexcept {
    const double wide = value;
    return Exponent == 1 ? std::fabs(wide) : wide * wide;
  }
};

template <class T>
struct AnyPower {
  static constexpr bool kIsCopy = false;
  double exponent;
  double operator()(T value) const noexcept { return std::pow(std::fabs(static_cast<double>(value)), exponent); }
};

template <class T>
struct Magnitude {
  static constexpr bool kIsCopy = false;
  T operator()(T value) const noexcept { return std::fabs(value); }
};

}  // namespace convpool
