// The rows of the table that serve pooling.
#pragma once

#include "kernels/elements.hpp"
#include "kernels/spread_table.hpp"

namespace convpool {

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
// `depth` planes z_step apart. The position of an element is base + its distance from `source`, in pixels. A sum is
// divided by row_shares[r] * column_shares[i], whole numbers of a product up to 4096, where there are any.
// Channels last: window i reads the column_counts[i] columns x_step apart from column_first[i].
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
  bool has_exact_inverses = false;        // all of them are powers of two
  Index source_ahead = 0, out_ahead = 0;  // how far ahead is fetched, 0: not at all
  Index channels = 1, x_step = 1;
  const Index* column_first = nullptr;
  const Index* column_counts = nullptr;
};
constexpr int kMostSmallKernel = 4;
template <class T>
struct SmallWindowsKernels {
  void (*of[kMostSmallKernel][kMostSmallKernel])(const SmallWindows<T>& windows);  // [kernel - 1][stride - 1], or null
  void (*channels)(const SmallWindows<T>& windows);                                // where they are last, or null
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

// out[x] = the gradient of the window over column x if its place names the column, position + x, else 0, for `channels`
// of neighbouring columns. The window lies windows[x] elements from `gradients` and `places`; negative: there is none.
template <class T>
struct ChannelGather {
  Index columns, channels;
  const T* gradients;
  const std::int32_t* places;
  const Index* windows;
  Index position;
  T* out;
};

// Gradients are added to the elements that `count` places name, which run through the channels of neighbouring
// positions from channel 0 on. Only positions [first, stop), at least one, are added to, which are no other thread's.
// `out` starts at position 0 and has fewer elements than 2^31; none is -0. Several planes, plane_places and
// plane_elements apart, are worked off together.
constexpr int kScatteredPlanes = 4;
template <class T>
struct PlaceScatter {
  Index count, channels;
  const T* gradients;
  const std::int32_t* places;
  Index first, stop;
  T* out;
  Index plane_places = 0, plane_elements = 0;
};

// Averages: a gradient is divided by row_shares[its row] * column_shares[its column], whole numbers of a product up to
// 4096.
template <class T>
struct AverageSpread : WindowSpread<T> {
  const T* column_shares;
  const T* row_shares;
  bool has_exact_inverses;  // all of them are powers of two
};

// Averages, channels last: a row of elements under `rows` rows of windows, which begin at row_offsets[i] elements and
// have the shares row_shares[i]; over column x lie counts[x] neighbours from window first[x] on.
template <class T>
struct ChannelSpread {
  Index columns, channels;
  const T* gradients;
  const Index* row_offsets;
  const T* row_shares;
  Index rows;
  const Index* first;
  const Index* counts;
  const T* column_shares;
  bool has_exact_inverses;
  T* out;
};

// Maxima: a gradient goes to the element that its place names, `position` + the element's number in the plane.
template <class T>
struct PlaceSpread : WindowSpread<T> {
  const std::int32_t* places;
  Index position;
};

// Whether every place lies in its window: the windows of row r reach over counts[r] rows y_step apart from first[r] on,
// in `depth` planes z_step apart; window i of a row over the columns [starts[i], + lengths[i]).
struct PlaceCheck {
  Index rows, columns, channels;
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

// LP pooling with exponent 2, summed in double. No target overlaps an array that is read.
template <class T>
struct NormKernels {
  void (*squares)(Index count, const T* source, double* target);
  void (*roots)(Index count, const double* sums, T* target);
  // gradients[i] / norms[i], 0 where the norm is 0.
  void (*over_norms)(Index count, const T* gradients, const T* norms, double* target);
  // sums[i] * values[i], 0 where the value is 0.
  void (*times_values)(Index count, const double* sums, const T* values, T* target);
  SmallWindowsKernels<T> windows;
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
  NormKernels<T> norms;
  void (*gather_channels)(const ChannelGather<T>& gather);
  // Whether a gradient that was added is NaN: then sums of several NaN may have kept any of them.
  bool (*scatter)(const PlaceScatter<T>& scatter);
  bool (*scatter_planes)(const PlaceScatter<T>& scatter);  // kScatteredPlanes
  WindowSpreadKernels<AverageSpread<T>> average_spreads;
  void (*spread_channels)(const ChannelSpread<T>& spread);
  WindowSpreadKernels<PlaceSpread<T>> place_spreads;  // of elements as wide as a place, or all null
};

}  // namespace convpool
