// What kernels count and number elements with.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convpool {

using Index = std::ptrdiff_t;

// Positions and lane numbers travel beside the values, so they have their width.
template <int Bytes>
struct SignedOf;
template <>
struct SignedOf<1> {
  using type = std::int8_t;
};
template <>
struct SignedOf<2> {
  using type = std::int16_t;
};
template <>
struct SignedOf<4> {
  using type = std::int32_t;
};
template <>
struct SignedOf<8> {
  using type = std::int64_t;
};
template <class T>
using LanePosition = typename SignedOf<sizeof(T)>::type;

// How far ahead walks along rows fetch what they read.
constexpr Index kFetchAheadBytes = 4096;

}  // namespace convpool
