// |x|^p in double, with the two common exponents free of pow(); and |x| for the infinite one.
#pragma once

#include <cmath>

#include "kernels/table.hpp"

namespace convpool {

template <class T>
struct Square {
  static constexpr bool kIsCopy = false;
  const NormKernels<T>& kernels;
  void operator()(Index count, const T* source, double* target) const noexcept {
    kernels.squares(count, source, target);
  }
};

template <class T>
struct WideMagnitude {
  static constexpr bool kIsCopy = false;
  double operator()(T value) const noexcept { return std::fabs(static_cast<double>(value)); }
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
