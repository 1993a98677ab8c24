// The kernels of one instruction set, one row each. Everything above this room calls kernels through a table only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convpool {

using Index = std::ptrdiff_t;

// ---- convolution ----

// Pixels of one packed block. A block is a matrix [depth][kPanelPitch] of which the first kPanelPixels columns count;
// the odd pitch in cache lines spreads the rows over all sets of the first-level cache.
constexpr Index kPanelPixels = 192;
constexpr Index kPanelPitch = 208;
constexpr int kMostTileRows = 8;
constexpr int kMostTileVectors = 4;

// c[row][lane] += sum over p in [0, depth) of a(row, p) * b[p][lane], for a tile of rows x vectors accumulators that
// live in registers over the whole sum. `a` is [depth][rows] (packed weights) or [row][kPanelPitch] (a packed block).
template <class T>
using TileFunction = void (*)(const T* a, const T* b, Index b_pitch, T* c, Index c_pitch, Index depth);

// c[row][v][lane] += sum over entries p of a[p][row] * b[offsets[p] + v * b_vector + lane]: taps of padded rows, read
// where they lie. The vectors of a tile are neighbours in a row or one below the other; the strides say which.
template <class T>
struct RowTile {
  const T* a;  // [depth][rows]
  const T* b;
  Index b_vector;
  const Index* offsets;
  T* c;
  Index c_row, c_vector;
  Index depth;
};

// Rows of two images that are multiplied element by element and summed, at several relative positions.
template <class T>
struct DotRows {
  const T* rows;  // [count][row_pitch]
  Index row_pitch;
  const T* shifted;  // the row that meets row i at tap t starts at shifted + i * shifted_pitch + offsets[t]
  Index shifted_pitch;
  const Index* offsets;
  Index count, columns;
};

constexpr int kMostRowTileRows = 8;
constexpr int kDotTaps = 8;

template <class T>
struct ConvKernels {
  int lanes;        // elements in a vector
  int weight_rows;  // largest tile with packed weights: rows x vectors of pixels
  int pixel_vectors;
  int gradient_rows;  // largest tile with a packed block: rows of the block x vectors of output channels
  int channel_vectors;
  TileFunction<T> tile_from_weights[kMostTileRows][kMostTileVectors];  // [rows - 1][vectors - 1]; null where too large
  TileFunction<T> tile_from_block[kMostTileRows][kMostTileVectors];
  int row_vectors[kMostRowTileRows];  // most vectors of a row tile, 0 where the registers do not suffice; [rows - 1]
  void (*row_tile[kMostRowTileRows][kMostTileVectors])(
      const RowTile<T>& tile);  // [rows - 1][vectors - 1], null if too large
  // sums[t][lane] += products at tap t, lane by lane; [taps - 1].
  void (*dot_rows[kDotTaps])(const DotRows<T>& dot, T* sums);
  // Copies rows x columns elements between two strided matrices (strides in elements), transposing in registers where
  // one side runs along rows and the other along columns.
  void (*move_block)(Index rows, Index columns, const T* source, Index source_row, Index source_column, T* target,
                     Index target_row, Index target_column);
};

// ---- pooling ----

// Positions travel beside the values, so they have their width.
template <class T>
struct LanePositionOf {
  using type = std::int64_t;
};
template <>
struct LanePositionOf<float> {
  using type = std::int32_t;
};
template <>
struct LanePositionOf<std::int32_t> {
  using type = std::int32_t;
};
template <class T>
using LanePosition = typename LanePositionOf<T>::type;

// out[i] = reduction over t in [0, taps) of values[offsets[t] + i], for i in [0, count). Where count is less than a
// vector, a whole vector is read at every tap.
template <class T>
struct TapReduction {
  Index count, taps;
  const T* values;
  const Index* offsets;
  T* out;
  // Only maxima with positions use the rest. In a row the position of tap t at output i is
  // base + max(labels[t] + start[i], least[i]), or base + labels[t] without start; over rows it is
  // positions[offsets[t] + i].
  const LanePosition<T>* labels = nullptr;
  const LanePosition<T>* start = nullptr;
  const LanePosition<T>* least = nullptr;
  LanePosition<T> base = 0;
  const LanePosition<T>* positions = nullptr;
  LanePosition<T>* out_positions = nullptr;
};

// out[o] = reduction of the counts[o] >= 1 elements from values[first[o] - shift]; the position of an element is
// base + first[o] + its place in the segment.
template <class T>
struct SegmentReduction {
  Index outputs;
  const T* values;
  const Index* first;
  const Index* counts;
  Index shift;
  T* out;
  LanePosition<T> base = 0;
  LanePosition<T>* out_positions = nullptr;  // may be null
};

template <class T>
struct ReductionKernels {
  void (*in_row)(const TapReduction<T>& reduction);
  void (*over_rows)(const TapReduction<T>& reduction);
  void (*segments)(const SegmentReduction<T>& reduction);
};

// The taps of one element for a vector of planes: rows at row_offsets[i] + column_offset, columns column_step apart.
template <class T>
struct TieTaps {
  const T *own, *keys, *values;
  const Index* row_offsets;
  Index rows, column_offset, columns, column_step;
  T* out;
};

template <class T>
struct PoolKernels {
  int lanes;
  ReductionKernels<T> max, max_with_positions;
  ReductionKernels<T> sum;  // floating types only
  void (*divide)(Index count, const T* shares, T scale,
                 T* values);                    // values[i] /= shares[i] * scale; shares may be null
  void (*sum_of_ties)(const TieTaps<T>& ties);  // floating types only
  void (*split_row)(Index count, const T* source, Index step, T* target);  // target[i] = source[i * step]
  // target[i * step + p] = phases[p * pitch + i]: takes apart split_row's work.
  void (*join_rows)(Index count, Index step, const T* phases, Index pitch, T* target);
};

// ---- all of one instruction set ----

struct KernelTable {
  const char* isa;
  ConvKernels<float> conv_f32;
  ConvKernels<double> conv_f64;
  PoolKernels<float> pool_f32;
  PoolKernels<double> pool_f64;
  PoolKernels<std::int32_t> pool_i32;
  PoolKernels<std::int64_t> pool_i64;
  double (*fma_peak)(std::int64_t rounds);  // runs register-only multiply-adds; returns how many flops they were
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
template <>
inline const PoolKernels<float>& pool_kernels<float>(const KernelTable& table) {
  return table.pool_f32;
}
template <>
inline const PoolKernels<double>& pool_kernels<double>(const KernelTable& table) {
  return table.pool_f64;
}
template <>
inline const PoolKernels<std::int32_t>& pool_kernels<std::int32_t>(const KernelTable& table) {
  return table.pool_i32;
}
template <>
inline const PoolKernels<std::int64_t>& pool_kernels<std::int64_t>(const KernelTable& table) {
  return table.pool_i64;
}

}  // namespace convpool
