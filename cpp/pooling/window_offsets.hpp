// Positions in the plane to positions among the taps of the window, and back: a byte in place of four.
#pragma once

#include "pooling/pooling.hpp"

namespace convpool {

// Whether these functions serve a problem: sliding windows of at most 256 taps that are not larger than the input.
bool has_byte_offsets(const PoolGeometry& geometry);

// Numbering::pytorch to Numbering::window. False, and `offsets` not finished, at an index outside its window.
bool offsets_of_indices(const PoolGeometry& geometry, const std::int32_t* indices, std::uint8_t* offsets,
                        int num_threads);

// The way back. False at an offset that names no real element.
bool indices_of_offsets(const PoolGeometry& geometry, const std::uint8_t* offsets, std::int32_t* indices,
                        int num_threads);

}  // namespace convpool
