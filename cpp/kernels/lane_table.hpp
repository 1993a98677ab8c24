// Arguments and kernels of the convolutions that read pixels, planes and single elements where they lie.
#pragma once

#include "kernels/elements.hpp"
#include "kernels/spread_table.hpp"

namespace convpool {

// Channels as lanes. Each of some neighbouring target pixels sums weights[row][tap] * columns[row][first_column +
// pixel * step + tap], where every column points to the channels of a source pixel. With groups of several channels, in
// one vector each, a lane meets every channel of its group.
template <class T>
struct LaneTaps {
  Index pixels, channels;
  const T* const* const* columns;  // [rows]
  Index rows, first_column, step;
  const T* weights;  // [rows][group][taps][weight_pitch]
  Index weight_pitch, group;
  const T* bias;  // may be null
  T* target;
  Index target_pitch;  // from pixel to pixel
  bool is_added;       // to what the target holds, without the bias; only with as many pixels as the kernel takes
};

// sums[row][tap] += the products of the target pixels' gradients with the columns they have read. A multiple of the
// pixels that the kernel takes.
template <class T>
struct LaneProducts {
  Index pixels, channels;
  const T* const* const* columns;  // [rows]
  Index rows, first_column, step;
  const T* gradients;
  Index gradient_pitch;  // from pixel to pixel
  T* sums;               // [rows][group][taps][sum_pitch]
  Index sum_pitch, group;
};

// [whether groups have several channels][taps - 1][step - 1][pixels - 1]; null for other counts than 1, 2, 3, 4, 5, 7
// taps (1, 2, 3) and 1, 4, 7 pixels. One tap goes with any step, by the kernel of step 1.
constexpr int kMostLaneTaps = 7, kMostGroupedLaneTaps = 3, kMostLanePixels = 7, kMostLaneStep = 2;
template <class T>
struct LaneKernels {
  void (*taps[2][kMostLaneTaps][kMostLaneStep][kMostLanePixels])(const LaneTaps<T>& window);
  void (*products[2][kMostLaneTaps][kMostLaneStep][kMostLanePixels])(const LaneProducts<T>& window);
};

// A square kernel on one plane. Entry (i, j) of the window of target (y, x) is source[first_row + step * y + i]
// [first_column + step * x + j], 0 outside the source.
template <class T>
struct DepthwisePlane {
  Index rows, columns;  // of the target
  const T* source;
  Index source_rows, source_columns, source_pitch;
  Index first_row, first_column;
};

// target[y][x] = bias + the sum over i, j of weights[i][j] * the entry.
template <class T>
struct DepthwiseRows : DepthwisePlane<T> {
  const T* weights;
  T bias;
  T* target;
  Index target_pitch;
  Index source_ahead, target_ahead;  // how far ahead is fetched; target_ahead 0: not at all
};

// The gradient of the input at a stride: weights[i][j] * the gradient of a window goes to its element (i, j). Elements
// start from the bias.
template <class T>
struct DepthwiseSpread : WindowSpread<T> {
  const T* weights;
  T bias;
};

// sums[i][j][lane] += the products of gradients[y][x] with the entry, lane by lane.
template <class T>
struct DepthwiseProducts : DepthwisePlane<T> {
  const T* gradients;
  Index gradient_pitch;
};

constexpr int kMostDepthwiseKernel = 5, kMostDepthwiseStep = 2;
template <class T>
struct DepthwiseKernels {  // [kernel - 1] and [step - 1], or null
  void (*rows[kMostDepthwiseKernel][kMostDepthwiseStep])(const DepthwiseRows<T>& plane);
  WindowSpreadKernels<DepthwiseSpread<T>> spreads;
  void (*products[kMostDepthwiseKernel][kMostDepthwiseStep])(const DepthwiseProducts<T>& plane, T* sums);
  bool rows_read_borders, products_read_borders;  // as fast as other columns; else a padded copy is faster
};

// Planes that follow each other in memory, each under a square kernel of its own: entry (i, j) of the window of (y, x)
// is source[y + i - kernel / 2][x + j - kernel / 2], 0 outside the plane.
constexpr struct {
  Index least_rows = 3, most_rows = 8, least_columns = 4, most_columns = 8, most_kernel = 7;
} kSmallPlane;

// target[y][x] = the sum over i, j of weights[i][j] * the entry, without the rows of the kernel on padding, + ends[y].
template <class T>
struct SmallPlanes {
  Index planes, columns;
  const T* source;
  const T* weights;  // [plane][kernel][kernel]
  const T* ends;     // [plane][row]
  T* target;
};

// sums[plane][i][j][lane] += the products of gradients[y][x] with the entry; most_columns lanes.
template <class T>
struct SmallPlaneProducts {
  Index planes, columns;
  const T* source;
  const T* gradients;
  T* sums;
};

template <class T>
struct SmallPlaneKernels {  // [kernel / 2 - 1][rows - least_rows], null where a register holds no row
  static constexpr int kKernels = kSmallPlane.most_kernel / 2;
  static constexpr int kRows = kSmallPlane.most_rows - kSmallPlane.least_rows + 1;
  void (*rows[kKernels][kRows])(const SmallPlanes<T>& planes);
  void (*products[kKernels][kRows])(const SmallPlaneProducts<T>& planes);
  void (*totals)(const T* sums, Index slices, Index count, T* totals);  // as lane_totals, with their lanes
};

// Output channels as lanes. target[pixel][lane] = bias[lane] (or what it holds) + the sum over the entries e of
// weights[e][lane] * source[offsets[e] + pixel * step].
template <class T>
struct OutputLanes {
  const T* source;
  const Index* offsets;
  Index depth, step;
  const T* weights;
  const T* bias;
  T* target;
  Index target_pitch;
  bool is_added;
};

// sums[e][lane] += the sum over rows and pixels of gradients[row][pixel][lane] * source[offsets[e] + row *
// source_row_pitch + pixel * step].
template <class T>
struct OutputProducts {
  Index rows, pixels;
  const T* source;
  const Index* offsets;
  Index source_row_pitch, step;
  const T* gradients;
  Index gradient_row_pitch, gradient_pitch;
  T* sums;
};

constexpr int kMostOutputVectors = 4, kMostOutputPixels = 14, kMostOutputEntries = 8;
template <class T>
struct OutputLaneKernels {
  int most_vectors;
  // [vectors - 1][pixels - 1][whether the step is 1], null where there is none
  void (*taps[kMostOutputVectors][kMostOutputPixels][2])(const OutputLanes<T>& tile);
  void (*products[kMostOutputVectors][kMostOutputEntries])(
      const OutputProducts<T>& tile);  // [vectors - 1][entries - 1]
};

}  // namespace convpool
