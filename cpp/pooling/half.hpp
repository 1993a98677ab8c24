// Floating-point numbers of 16 bits: stored as they are, computed with as float. Conversions are branch-free bit
// arithmetic, which compilers turn into vectors; to 16 bits they round to nearest, ties to even.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace convpool {

inline std::uint32_t bits_of(float value) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float float_of(std::uint32_t bits) noexcept {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// All ones where a < b, else 0; for numbers below 2^31. With conditions in place of masks GCC computes only the case
// that is needed, and no vectors.
inline std::uint32_t mask_of_less(std::uint32_t a, std::uint32_t b) noexcept {
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(a - b) >> 31);
}

// IEEE 754 binary16.
class Float16 {
 public:
  Float16() = default;
  explicit Float16(float value) noexcept : bits_(round(bits_of(value))) {}

  operator float() const noexcept {
    constexpr float kRebias = 5.192296858534828e33f;  // 2^112: the exponents' biases are 112 apart
    const std::uint32_t magnitude = bits_ & 0x7fffu, sign = static_cast<std::uint32_t>(bits_ & 0x8000u) << 16;
    const float finite = float_of(magnitude << 13) * kRebias;
    const std::uint32_t special = mask_of_less(0x7bffu, magnitude) & 0x7f800000u;  // infinity, NaN
    return float_of(bits_of(finite) | special | sign);
  }

 private:
  static std::uint16_t round(std::uint32_t value) noexcept {
    constexpr std::uint32_t kInfinity = 0x7f800000u, kOverflow = (127 + 16) << 23, kLeastNormal = (127 - 14) << 23;
    constexpr std::uint32_t kSubnormal = (127 - 15 + 23 - 10 + 1) << 23;  // adding it leaves a subnormal's bits
    const std::uint32_t sign = value & 0x80000000u, magnitude = value ^ sign;
    const std::uint32_t small = bits_of(float_of(magnitude) + float_of(kSubnormal)) - kSubnormal;
    const std::uint32_t normal = (magnitude - ((127 - 15) << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const std::uint32_t large = 0x7c00u | (mask_of_less(kInfinity, magnitude) & 0x200u);
    const std::uint32_t is_small = mask_of_less(magnitude, kLeastNormal);
    const std::uint32_t is_finite = mask_of_less(magnitude, kOverflow);
    const std::uint32_t rounded = (small & is_small) | (normal & is_finite & ~is_small) | (large & ~is_finite);
    return static_cast<std::uint16_t>(rounded | sign >> 16);
  }
  std::uint16_t bits_;
};

// The upper half of a float.
class BFloat16 {
 public:
  BFloat16() = default;
  explicit BFloat16(float value) noexcept : bits_(round(bits_of(value))) {}
  operator float() const noexcept { return float_of(static_cast<std::uint32_t>(bits_) << 16); }

 private:
  static std::uint16_t round(std::uint32_t value) noexcept {
    const bool is_nan = (value & 0x7fffffffu) > 0x7f800000u;
    const std::uint32_t rounded = value + 0x7fffu + ((value >> 16) & 1u);
    return static_cast<std::uint16_t>((is_nan ? value | 0x400000u : rounded) >> 16);
  }
  std::uint16_t bits_;
};

template <class T>
constexpr bool kIsHalf = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

// The type that sums and maxima of elements of type T are computed in.
template <class T>
using Computed = std::conditional_t<kIsHalf<T>, float, T>;

// Elements as they are computed with.
template <class T>
struct Widen {
  static constexpr bool kIsCopy = !kIsHalf<T>;
  Computed<T> operator()(T value) const noexcept { return static_cast<Computed<T>>(value); }
};

// target[i] = source[i] in the target's type.
template <class From, class To>
void convert(const From* source, std::int64_t count, To* target) noexcept {
  for (std::int64_t i = 0; i < count; ++i) target[i] = static_cast<To>(source[i]);
}

}  // namespace convpool
