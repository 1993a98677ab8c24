// Products of small matrices by a unit of the processor that multiplies bfloat16 and sums float32. A float32 is the sum
// of three bfloat16 of 8 bits each, so that a few of their products make one of float32.
#pragma once

#include <cstdint>

#include "kernels/elements.hpp"

namespace convpool {

using MatrixElement = std::uint16_t;  // a bfloat16: the upper half of a float32

constexpr Index kMatrixRows = 32;        // of a block
constexpr Index kMatrixDepth = 32;       // products summed in one step
constexpr Index kMatrixLanes = 16;       // output channels of a vector
constexpr Index kMostMatrixPiece = 256;  // depth of a piece: a block of it stays in the first-level cache

// Values whose products are smaller have parts whose products are subnormal, which the unit takes for zero.
constexpr float kLeastProduct = 0x1p-96F;
// A smaller value has subnormal parts.
constexpr float kLeastValue = 0x1p-102F;

// The smallest value that may meet another factor, whose least is `other`.
static constexpr float least_beside(float other) {
  return kLeastProduct / other > kLeastValue ? kLeastProduct / other : kLeastValue;
}

// Elements of one step, in each part.
constexpr Index kPanelStep = kMatrixRows * kMatrixDepth;
constexpr Index kColumnStep = kMatrixLanes * kMatrixDepth;

static constexpr Index matrix_steps(Index depth) { return (depth + kMatrixDepth - 1) / kMatrixDepth; }

// Weights of one vector, split: packed[step][part][pair of rows][lane][2].
struct MatrixColumn {
  const float* rows;  // [depth][pitch]
  Index pitch, depth;
  MatrixElement* packed;
};

// A product of any number of rows, in blocks, with split columns. What it adds to are targets[row][column + lane].
struct MatrixProduct {
  Index count;           // of rows
  MatrixElement* panel;  // scratch: [step][part][row of a block][kMatrixDepth]
  const MatrixElement* columns;
  Index vectors;
  float* const* targets;
  Index column, last_column;  // of the first vector and of the last, which may overlap the one before
  const float* start;         // [vectors * lanes]: what is added to in place of the targets; may be null
  float least;                // that a row may hold, zero apart
};

// Rows are pixels, the depth is what a PixelTile sums.
struct MatrixPiece : MatrixProduct {
  const float* const* pixels;
  const Index* offsets;
  Index segments, length;
};

// Rows are neighbouring channels at an offset from pixels, which are the depth: those of a GradientTile.
struct MatrixGradient : MatrixProduct {
  const float* const* pixels;
  Index pixel_count, offset;
};

struct MatrixKernels {
  Index parts;  // of a value
  // Returns the least magnitude, zero apart; 0 where a value cannot be split: it is NaN, infinite, too small, or with
  // two parts so large that rounding may make products infinite.
  float (*split_column)(const MatrixColumn& column);
  // False where a value cannot be split, or is less than the product allows. Then the product is left incomplete.
  bool (*multiply)(const MatrixPiece& piece);
  bool (*multiply_gradient)(const MatrixGradient& gradient);
};

// Three products (of the larger parts of two each), or six of three.
struct MatrixSets {
  MatrixKernels three, six;
};

}  // namespace convpool
