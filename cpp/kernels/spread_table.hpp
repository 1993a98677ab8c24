// Gradients of windows given back to what they have read, one channel: what pooling and depthwise convolutions share.
#pragma once

#include "kernels/elements.hpp"

namespace convpool {

// Rows [first_row, + rows) of a plane of `columns` columns, under windows whose kernel and stride are those of the
// function called. `shift` = padding / stride of a row.
template <class T>
struct WindowSpread {
  Index first_row, rows, columns;
  const T* gradients;
  Index window_rows, windows;  // windows of a row
  Index row_padding, shift;
  T* out;                            // the plane
  Index gradients_ahead, out_ahead;  // how far ahead is fetched; out_ahead 0: not at all
};

constexpr int kMostSpreadKernel = 5, kMostSpreadStride = 4;
template <class Spread>
struct WindowSpreadKernels {
  using Function = void (*)(const Spread& spread);
  // [kernel - 1][stride - 1][padding % stride], or null; for windows as high as wide, and of one row.
  Function square[kMostSpreadKernel][kMostSpreadStride][kMostSpreadStride];
  Function flat[kMostSpreadKernel][kMostSpreadStride][kMostSpreadStride];
};

}  // namespace convpool
