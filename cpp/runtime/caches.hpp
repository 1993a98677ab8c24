// What algorithms take for granted about caches, measured: notes 44 and 45 of cpp/README.md.
#pragma once

#include "kernels/elements.hpp"

namespace convpool {

// Arrays of so many bytes come from memory.
constexpr bool are_far(Index bytes) noexcept { return bytes > 16 << 20; }

// How many rows strips walk down before they turn to the next columns: so few that what they fetch for the rows below
// is still in a cache when it is needed, so many that windows seldom reach from band to band.
constexpr Index strip_rows(Index rows, Index row_bytes) noexcept {
  constexpr Index kMostBytes = 8 << 10, kLeastRows = 16;
  while (rows > kLeastRows && rows * row_bytes > kMostBytes) rows = (rows + 1) / 2;
  return rows;
}

// From a band of rows to the next one, `pitch` elements between rows: how far ahead strips fetch.
constexpr Index band_ahead(Index rows, Index pitch, std::size_t element_bytes) noexcept {
  return rows > 1 ? rows * pitch : kFetchAheadBytes / static_cast<Index>(element_bytes);
}

// The same for what they write, which in a cache is not worth it: 0 unless the arrays, `elements` together, are far.
constexpr Index far_band_ahead(Index elements, Index rows, Index pitch, std::size_t element_bytes) noexcept {
  return are_far(elements * static_cast<Index>(element_bytes)) ? band_ahead(rows, pitch, element_bytes) : 0;
}

}  // namespace convpool
