// How different libraries number the places of maxima, and the way from one numbering to another.
#pragma once

#include "geometry/pool_geometry.hpp"

namespace convpool {

enum class Numbering {
  pytorch,     // in the spatial plane of one (n, c): (z * H + y) * W + x
  onnx,        // in the whole (N, C, *spatial) tensor, row-major
  tensorflow,  // in one (*spatial, C) image: the position in the plane, times C, plus c
  window       // among the taps of the window, row-major, those in the padding counted
};

// Taps of the largest window: what numbers of Numbering::window stay below. Throws where 64 bits do not hold them.
std::int64_t largest_window_taps(const char* function, const PoolGeometry& geometry);

// `indices` and `converted` are C-contiguous arrays of the shape of geometry.output. Throws InvalidArgument at an index
// that names no element of its plane, or one outside its window where `target` counts inside windows.
// `geometry.axes` are read only where a numbering is that of windows.
template <class From>
void convert_indices(const char* function, const PoolGeometry& geometry, Numbering source, Numbering target,
                     const From* indices, std::int64_t* converted);

}  // namespace convpool
