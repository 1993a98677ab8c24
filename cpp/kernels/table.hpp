// The kernels of one instruction set, one row each. Everything above this room calls kernels through a table only.
#pragma once

#include "kernels/lane_table.hpp"
#include "kernels/matrix_table.hpp"

#include "kernels/pooling_table.hpp"

namespace convpool {

// ---- convolution ----

// Pixels of one packed block. A block is a matrix [depth][kPanelPitch] of which the first kPanelPixels columns count;
// the odd pitch in cache lines spreads the rows over all sets of the first-level cache.
constexpr Index kPanelPixels = 192;
constexpr Index kPanelPitch = 208;
constexpr int kMostTileRows = 8;
constexpr int kMostTileVectors = 4;

// c[row][lane] += sum over p in [0, depth) of a(row, p) * b[p][lane], for a tile of rows x vectors accumulators that
// live in registers over the whole sum. Where `start` is not null, start[row] is added to in place of c. `a` is
// [depth][rows] (packed weights) or [row][kPanelPitch] (a packed block).
template <class T>
using TileFunction = void (*)(const T* a, const T* b, Index b_pitch, T* c, Index c_pitch, Index depth, const T* start);

// c[row][v][lane] = bias[row] (or what it holds) + sum over entries p of a[p][row] * b[offsets[p] + v * b_vector +
// lane]: taps of padded rows, read where they lie. The vectors of a tile are neighbours in a row or one below the
// other; the strides say which.
template <class T>
struct RowTile {
  const T* a;  // [depth][rows]
  const T* b;
  Index b_vector;
  const Index* offsets;
  T* c;
  Index c_row, c_vector;
  Index columns;  // of each vector that are stored, all if there are as many or more
  Index depth;
  const T* bias;  // may be null
  bool is_added;  // to what c holds, without the bias
};

// Rows of some images that are multiplied element by element with rows of another, at several relative positions, and
// summed: sums[row * sums_row + tap][lane] += products, lane by lane.
template <class T>
struct DotRows {
  const T* values;  // values[row * values_row + y * values_pitch], y in [0, count)
  Index values_row, values_pitch;
  const T* shifted;  // what meets y at a tap starts at shifted + y * shifted_pitch + offsets[tap]
  Index shifted_pitch;
  const Index* offsets;
  Index count, columns;
  Index sums_row;
};

// targets[row][lane] += sum over segments s and elements p of pixels[row][offsets[s] + p] * weights[s][p][lane].
template <class T>
struct PixelTile {
  const T* const* pixels;  // those of the next tile follow
  bool are_far;            // the pixels come from memory: those of the next tile are prefetched
  const Index* offsets;
  Index segments, length;
  const T* weights;  // [segments][length][vectors * lanes]
  T* const* targets;
  Index column, last_column;  // of the first vector and of the last, which may overlap the one before
  const T* start;             // [vectors * lanes]: what is added to in place of the targets; may be null
};

// sums[row][lane] += sum over pixels i of pixels[i][offset + row] * gradients[i][lane].
template <class T>
struct GradientTile {
  const T* const* pixels;
  Index offset, count;
  const T* gradients;
  Index pitch;
  T* sums;
  Index sums_pitch;
};

// sums[row][lane] += sum over segments s and elements p of values[offsets[s] + row * row_pitch + p * step] *
// panel[s][p][lane]: rows of an array, read where they lie.
template <class T>
struct PlaneTile {
  const T* values;
  Index row_pitch, step;
  const Index* offsets;
  Index segments, length;
  const T* panel;  // [segments][length][vectors * lanes]
  T* sums;
  Index sums_pitch;
  Index ahead;  // elements so far behind those of the first row are brought to the cache
};

constexpr int kMostRowTileRows = 8;
constexpr int kMostDotRows = 4, kMostDotTaps = 8;

// Winograd: 2 or 3 taps along an axis become products at `points` = outputs + taps - 1 points. Matrices of transformed
// values, one for each point, are [tile][channel]; their pitches are constants, so that a micro-kernel's rows are
// displacements.
constexpr int kMostPoints = 6, kMostSideTaps = 3;
constexpr Index kPointDepth = 128;        // channels of a tile's row, summed in registers
constexpr Index kTransformedPitch = 144;  // an odd number of cache lines: rows spread over all sets
constexpr Index kPointRows = 64;          // target channels of a block of transformed weights
constexpr Index kProductPitch = 80;       // of a tile's row of products

// A strip: tiles of one tile row that follow each other. Lanes are channels.
template <class T>
struct StripSource {
  const T* rows[kMostPoints];  // pixel 0 of the strip's columns; a row of padding points at zeros, its pitch is 0
  Index pitches[kMostPoints];  // from pixel to pixel
  Index first, stop;           // columns that exist, the others are zero
  Index tiles, lanes;          // channels that exist
  T* columns;                  // scratch of points * (outputs * tiles + taps - 1) vectors
  T* transformed;              // [point][tile][tile_pitch]
  Index tile_pitch, point_pitch;
};

template <class T>
struct StripTarget {
  const T* products;  // [point][tile][kProductPitch]
  Index point_pitch;
  const T* bias;  // one vector
  T* target;
  Index row_pitch, column_pitch;
  Index rows, columns;  // pixels that exist
  Index lanes;          // channels that exist
};

// The taps of some channels and rows. The array is read on the way to the points and written on the way back; then
// its rows are neighbours, and writable up to a whole vector.
template <class T>
struct PointWeights {
  T* weight;
  Index offsets[kMostSideTaps * kMostSideTaps];  // [y][x] from the first tap in the source; negative: no tap
  Index channels, channel_stride;
  Index rows, row_stride;
  T* points;  // [point][channel][kPointRows]
  Index point_pitch;
};

struct WinogradAxis {
  Index taps, outputs, points;  // 1, 1 and 1 where an axis stays as it is
};

// The shortest sums whose error is what a precision allows: that of the transforms does not shrink with the sum.
struct WinogradTerms {
  Index high, phases;  // up to twice the error of a sum in sequence; phases of a stride: the mean of theirs
  Index highest;       // no more than that error
};

template <class T>
struct WinogradKernels {
  WinogradAxis y, x;
  WinogradTerms least_terms;
  // Both return whether every value that was read is small enough to be transformed: not NaN, not inf, no overflow.
  bool (*transform_source)(const StripSource<T>& strip);
  bool (*transform_gradient)(const StripSource<T>& strip);  // the adjoint of transform_products
  void (*transform_products)(const StripTarget<T>& strip);
  bool (*transform_weights)(const PointWeights<T>& weights);
  void (*transform_weight_gradient)(const PointWeights<T>& weights);  // its adjoint
};

// products[tile][row] = (or, adding, +=) sum over channels of transformed[tile][channel] * weights[channel][row].
template <class T>
using PointProduct = void (*)(const T* transformed, const T* weights, T* products, Index depth);
// sums[channel][row] += sum over tiles of transformed[tile][channel] * gradients[tile][row].
template <class T>
using PointGradient = void (*)(const T* transformed, Index tile_pitch, const T* gradients, T* sums, Index tiles);

// For 2 and for 3 taps, along x or along both axes.
template <class T>
struct WinogradSizes {
  WinogradKernels<T> along_x[kMostSideTaps - 1], along_both[kMostSideTaps - 1];  // [taps - 2]
};

template <class T>
struct PointKernels {
  WinogradSizes<T> two_outputs, four_outputs;  // of a tile, along an axis
  int tile_rows, tile_vectors;                 // largest micro-kernel
  PointProduct<T> set[kMostTileRows][kMostTileVectors], add[kMostTileRows][kMostTileVectors];
  PointGradient<T> gradient[kMostTileRows][kMostTileVectors];
};

template <class T>
struct ConvKernels {
  int lanes;        // elements in a vector
  int weight_rows;  // largest tile with packed weights: rows x vectors of pixels
  int pixel_vectors;
  int gradient_rows;  // largest tile with a packed block: rows of the block x vectors of output channels
  int channel_vectors;
  TileFunction<T> tile_from_weights[kMostTileRows][kMostTileVectors];  // [rows - 1][vectors - 1]; null where too large
  TileFunction<T> tile_from_block[kMostTileRows][kMostTileVectors];
  int output_vectors;                // most vectors of output channels in a tile of pixels
  int pixel_rows[kMostTileVectors];  // pixels of a tile of so many vectors; [vectors - 1]
  void (*pixel_tile[kMostTileVectors])(const PixelTile<T>& tile);
  void (*gradient_tile[kMostTileRows][kMostTileVectors])(
      const GradientTile<T>& tile);  // [rows - 1][vectors - 1], up to gradient_rows and channel_vectors
  void (*plane_tile[kMostTileRows][kMostTileVectors])(const PlaneTile<T>& tile);  // the same sizes
  int row_tile_rows;                  // most rows of a row tile that has more than one vector
  int row_vectors[kMostRowTileRows];  // most vectors of a row tile; [rows - 1]
  void (*row_tile[kMostRowTileRows][kMostTileVectors])(
      const RowTile<T>& tile);  // [rows - 1][vectors - 1], null if too large
  int dot_taps[kMostDotRows];   // most taps of as many rows
  void (*dot_rows[kMostDotRows][kMostDotTaps])(const DotRows<T>& dot, T* sums);  // [rows - 1][taps - 1], or null
  LaneKernels<T> lane;
  DepthwiseKernels<T> depthwise;
  SmallPlaneKernels<T> small_plane;
  OutputLaneKernels<T> output_lane;
  // Copies rows x columns elements between two strided matrices (strides in elements), transposing in registers where
  // one side runs along rows and the other along columns.
  void (*move_block)(Index rows, Index columns, const T* source, Index source_row, Index source_column, T* target,
                     Index target_row, Index target_column);
  T (*sum_run)(const T* values, Index count);
  void (*lane_totals)(const T* sums, Index slices, Index count, T* totals);
  void (*add_rows)(const T* rows, Index count, Index columns, T* sums);  // to the sums of the columns
  PointKernels<T> winograd;
};

// ---- all of one instruction set ----

template <class I>
struct Bounds {
  I least, largest;
};

struct KernelTable {
  const char* isa;
  ConvKernels<float> conv_f32;
  ConvKernels<double> conv_f64;
  PoolKernels<float> pool_f32;
  PoolKernels<double> pool_f64;
  PoolKernels<std::int8_t> pool_i8;
  PoolKernels<std::int16_t> pool_i16;
  PoolKernels<std::int32_t> pool_i32;
  PoolKernels<std::int64_t> pool_i64;
  PoolKernels<std::uint8_t> pool_u8;
  PoolKernels<std::uint16_t> pool_u16;
  PoolKernels<std::uint32_t> pool_u32;
  PoolKernels<std::uint64_t> pool_u64;
  bool (*are_inside)(const PlaceCheck& check);
  Bounds<std::int32_t> (*bounds_i32)(Index count, const std::int32_t* numbers);  // count >= 1
  Bounds<std::int64_t> (*bounds_i64)(Index count, const std::int64_t* numbers);
  double (*fma_peak)(std::int64_t rounds);  // runs register-only multiply-adds; returns how many flops they were
  const MatrixSets* matrices = nullptr;     // ask usable_matrices (runtime/isa.hpp)
};

template <class T>
const ConvKernels<T>& conv_kernels(const KernelTable& table);
template <>
inline const ConvKernels<float>& conv_kernels<float>(const KernelTable& table) {
  return table.conv_f32;
}
template <>
inline const ConvKernels<double>& conv_kernels<double>(const KernelTable& table) {
  return table.conv_f64;
}

template <class T>
const PoolKernels<T>& pool_kernels(const KernelTable& table);

#define CONVPOOL_POOL_KERNELS(T, member)                                   \
  template <>                                                              \
  inline const PoolKernels<T>& pool_kernels<T>(const KernelTable& table) { \
    return table.member;                                                   \
  }
CONVPOOL_POOL_KERNELS(float, pool_f32)
CONVPOOL_POOL_KERNELS(double, pool_f64)
CONVPOOL_POOL_KERNELS(std::int8_t, pool_i8)
CONVPOOL_POOL_KERNELS(std::int16_t, pool_i16)
CONVPOOL_POOL_KERNELS(std::int32_t, pool_i32)
CONVPOOL_POOL_KERNELS(std::int64_t, pool_i64)
CONVPOOL_POOL_KERNELS(std::uint8_t, pool_u8)
CONVPOOL_POOL_KERNELS(std::uint16_t, pool_u16)
CONVPOOL_POOL_KERNELS(std::uint32_t, pool_u32)
CONVPOOL_POOL_KERNELS(std::uint64_t, pool_u64)
#undef CONVPOOL_POOL_KERNELS

}  // namespace convpool
