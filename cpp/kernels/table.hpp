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
// live in registers over the whole sum. Where `start` is not null, start[row] is added to in place of c. `a` is
// [depth][rows] (packed weights) or [row][kPanelPitch] (a packed block).
template <class T>
using TileFunction = void (*)(const T* a, const T* b, Index b_pitch, T* c, Index c_pitch, Index depth, const T* start);

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

// targets[row][lane] += sum over segments s and elements p of pixels[row][offsets[s] + p] * weights[s][p][lane].
template <class T>
struct PixelTile {
  const T* const* pixels;
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
  int output_vectors;                // most vectors of output channels in a tile of pixels
  int pixel_rows[kMostTileVectors];  // pixels of a tile of so many vectors; [vectors - 1]
  void (*pixel_tile[kMostTileVectors])(const PixelTile<T>& tile);
  void (*gradient_tile[kMostTileRows][kMostTileVectors])(
      const GradientTile<T>& tile);   // [rows - 1][vectors - 1], up to gradient_rows and channel_vectors
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

// All reductions: the first element is the best one until a later one is better, so taps come in row-major order.
// Only maxima with positions read or write positions; a nested reduction is one of values that bring their positions.

// out[i] = reduction over t in [0, taps) of values[offsets[t] + i], for i in [0, count). The position of tap t is
// labels[t], nested: labels[t] + positions[offsets[t] + i]. Where count is less than a vector, whole vectors are read.
template <class T>
struct TapReduction {
  Index count, taps;
  const T* values;
  const Index* offsets;
  T* out;
  const LanePosition<T>* labels = nullptr;
  const LanePosition<T>* positions = nullptr;
  LanePosition<T>* out_positions = nullptr;
};

// Rows of `columns` elements. Output row r reduces counts[r] source rows, tap_step elements apart, from values +
// first[r]. The position of tap t is first_label[r] + t * label_step (nested: + the one it brings), and in the end
// + column_labels[i] where there are any. Rows of no taps are filled with zeros.
template <class T>
struct RowPass {
  Index rows, columns;
  const T* values;
  const Index* first;
  const Index* counts;
  Index tap_step;
  T* out;
  Index out_pitch;
  const LanePosition<T>* positions = nullptr;
  const LanePosition<T>* first_label = nullptr;
  LanePosition<T> label_step = 0;
  const LanePosition<T>* column_labels = nullptr;
  LanePosition<T>* out_positions = nullptr;
  Index out_positions_pitch = 0;
};

// The same for windows of one length, at a cost that does not depend on it: output row r reduces the source rows
// [begin + r * stride, + window) of those that exist, [0, sources). Partial results begin and end at `piece` (<= begin)
// and every `window` rows from there: a sum depends on it in its last bits.
template <class T>
struct RunningPass {
  Index rows, columns;
  Index sources, begin, stride, window, piece;
  const T* values;
  Index tap_step;
  T* out;
  Index out_pitch;
  T* tails;  // window * kRunningVectors vectors of scratch
  const LanePosition<T>* positions = nullptr;
  LanePosition<T> first_label = 0;  // of source row 0
  LanePosition<T> label_step = 0;
  const LanePosition<T>* column_labels = nullptr;
  LanePosition<T>* out_positions = nullptr;
  Index out_positions_pitch = 0;
  LanePosition<T>* tail_positions = nullptr;
};
constexpr int kRunningVectors = 4;

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

// Rows of small windows, read where the elements lie. Window i of row r reduces the columns [begin + i * stride,
// + kernel) that exist of [0, source_columns), in counts[r] >= 1 rows y_step elements apart from source + first[r], of
// `depth` planes z_step apart. The position of an element is base + its distance from `source`. A sum is divided by
// row_shares[r] * column_shares[i], whole numbers of a product up to 4096, where there are any.
template <class T>
struct SmallWindows {
  Index rows, columns;  // of windows
  const T* source;
  Index source_columns, begin;
  const Index* first;
  const Index* counts;
  Index y_kernel, y_stride, y_step, depth, z_step;
  T padding;  // worse than or equal to any element; 0 in a sum
  T* out;
  LanePosition<T>* out_positions;
  Index out_pitch, base;
  const T* column_shares = nullptr;
  const T* row_shares = nullptr;
  bool has_exact_inverses = false;  // all of them are powers of two
};
constexpr int kMostSmallKernel = 4;
template <class T>
struct SmallWindowsKernels {
  void (*of[kMostSmallKernel][kMostSmallKernel])(const SmallWindows<T>& windows);  // [kernel - 1][stride - 1], or null
};

template <class T>
struct ReductionKernels {
  void (*taps)(const TapReduction<T>& reduction);
  void (*nested_taps)(const TapReduction<T>& reduction);
  void (*rows)(const RowPass<T>& pass);
  void (*nested_rows)(const RowPass<T>& pass);
  void (*running)(const RunningPass<T>& pass);
  void (*nested_running)(const RunningPass<T>& pass);
  void (*segments)(const SegmentReduction<T>& reduction);
  SmallWindowsKernels<T> windows;
};

// Rows of `count` elements, split by the residue of the column modulo `step`: element i of residue r of row y goes to
// targets[r][y * target_pitch + i], or nowhere where targets[r] is null. `padding` is written up to a vector past the
// end of every row.
template <class T>
struct RowSplit {
  Index rows, count;
  const T* source;
  Index source_pitch, step;
  T* const* targets;
  Index target_pitch;
  T padding;
};

// The taps of one element for a vector of planes: rows at row_offsets[i] + column_offset, columns column_step apart.
template <class T>
struct TieTaps {
  const T *own, *keys, *values;
  const Index* row_offsets;
  Index rows, column_offset, columns, column_step;
  T* out;
  bool is_added;  // to what `out` holds
};

// out[x] = sum of those gradients whose places name the position of column x, position + x, for `lanes` channels of
// neighbouring columns: column x reads counts[x] windows, window_step elements apart, from first[x] of each of `rows`
// rows.
template <class T>
struct ChannelGather {
  Index columns, lanes;
  const T* gradients;
  const std::int32_t* places;
  const Index* row_offsets;
  Index rows;
  const Index* first;
  const Index* counts;
  Index window_step, position;
  T* out;
  Index out_pitch;
  bool is_added;  // to what `out` holds
};

// Gradients of averages over small windows, whose kernel and stride are those of the kernel called: rows [first_row,
// + rows) of a plane of `columns` columns. A gradient is divided by row_shares[its row] * column_shares[its column],
// whole numbers of a product up to 4096. `shift` = padding / stride of a row.
template <class T>
struct WindowSpread {
  Index first_row, rows, columns;
  const T* gradients;
  Index window_rows, windows;  // windows of a row
  Index row_padding, shift;
  const T* column_shares;
  const T* row_shares;
  bool has_exact_inverses;  // all of them are powers of two
  T* out;                   // the plane
};
template <class T>
struct WindowSpreadKernels {
  using Function = void (*)(const WindowSpread<T>& spread);
  // [kernel - 1][stride - 1][padding % stride], or null; for windows as high as wide, and of one row.
  Function square[kMostSmallKernel][kMostSmallKernel][kMostSmallKernel];
  Function flat[kMostSmallKernel][kMostSmallKernel][kMostSmallKernel];
};

// Whether every place lies in its window: the windows of row r reach over counts[r] rows y_step apart from first[r] on,
// in `depth` planes z_step apart; window i of a row over the columns [starts[i], + lengths[i]).
struct PlaceCheck {
  Index rows, columns;
  const std::int32_t* places;
  const std::int32_t* first;
  const std::int32_t* counts;
  std::int32_t y_step;
  Index depth;
  std::int32_t z_step;
  const std::int32_t* starts;
  const std::int32_t* lengths;
  std::int32_t base;  // of the first plane
};

template <class T>
struct PoolKernels {
  int lanes;
  ReductionKernels<T> max, max_with_positions;  // with positions: elements of four and eight bytes only
  ReductionKernels<T> min, min_with_positions;
  ReductionKernels<T> sum;
  void (*split_rows)(const RowSplit<T>& split);
  // target[i * step + p] = phases[p * pitch + i] for the `count` elements of a row. Whole vectors of phases are read.
  void (*join_rows)(Index count, Index step, const T* phases, Index pitch, T* target);
  // Floating types only: target[i] = source[i] / divisor, a whole number; and the sums of ties.
  void (*divide)(Index count, const T* source, T divisor, T* target);
  // The same with a divisor for each, up to 4096, and its inverse.
  void (*divide_each)(Index count, const T* source, const T* divisors, const T* inverses, T* target);
  void (*sum_of_ties)(const TieTaps<T>& ties);
  void (*gather_channels)(const ChannelGather<T>& gather);
  WindowSpreadKernels<T> window_spreads;
};

// ---- all of one instruction set ----

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
  bool (*are_below_i32)(Index count, const std::int32_t* numbers, std::int32_t bound);  // 0 <= each < bound; bound >= 1
  bool (*are_below_i64)(Index count, const std::int64_t* numbers, std::int64_t bound);
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
