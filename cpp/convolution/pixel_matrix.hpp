// Products of pixels as products of matrices: values are split into parts that a matrix unit multiplies.
#pragma once

#include "convolution/pixel_job.hpp"

namespace convpool {

// Weights of one phase and group: for each piece [vector][step][part].
struct MatrixColumns {
  float least;  // magnitude, zero apart; 0 where some cannot be split: then vectors multiply all
  const MatrixElement* parts;
};

// The pixels of one phase in a box; targets begin at channel `base`.
struct MatrixPixels {
  const float* const* pixels;
  float* const* targets;
  Index count, base;
};

Index column_elements(const PixelJob& job, std::size_t phase);  // of all groups, in float32
Index panel_elements(const PixelJob& job);

// All groups, one after the other.
void pack_columns(const PixelJob& job, const ConvKernels<float>& kernels, std::size_t phase, const float* weight,
                  float* packed, int num_threads);
MatrixColumns columns_of(const PixelJob& job, std::size_t phase, const float* packed, Index group);

// Tiles [first, stop). False where a pixel cannot be split: then the sums have to begin anew.
bool multiply_matrices(const PixelJob& job, const TapGroup& group, const PhasePieces& phase,
                       const MatrixColumns& columns, const float* bias, const MatrixPixels& box, Index first,
                       Index stop, MatrixElement* panel) noexcept;

}  // namespace convpool
