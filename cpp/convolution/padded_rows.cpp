#include "convolution/padded_rows.hpp"

#include <algorithm>

namespace convpool {

TargetBox target_box(const Grid& target, Index box_rows, Index y_boxes, Index box_columns, Index x_boxes,
                     Index index) noexcept {
  TargetBox box{};
  box.x = index % x_boxes * box_columns;
  index /= x_boxes;
  box.y = index % y_boxes * box_rows;
  index /= y_boxes;
  box.z = index % target.extent[0];
  box.batch = index / target.extent[0];
  box.rows = std::min(box_rows, target.extent[1] - box.y);
  box.columns = std::min(box_columns, target.extent[2] - box.x);
  return box;
}

PaddedRows::PaddedRows(const Correlation& part, Index rows, Index columns)
    : step_y_(part.step[1]), step_x_(part.step[2]) {
  Index span[kAxes] = {0, 0, 0};
  std::fill(least_, least_ + kAxes, 0);
  for (int axis = 0; axis < kAxes && !part.taps.empty(); ++axis) {
    const auto [least, most] =
        std::minmax_element(part.taps.begin(), part.taps.end(),
                            [axis](const Tap& a, const Tap& b) { return a.offset[axis] < b.offset[axis]; });
    least_[axis] = least->offset[axis];
    span[axis] = most->offset[axis] - least->offset[axis];
  }
  depth_ = span[0] + 1;
  rows_ = (rows - 1) * step_y_ + span[1] + 1;
  phases_ = std::min(step_x_, span[2] + 1);
  phase_pitch_ = columns + span[2] / step_x_;
  row_pitch_ = phases_ * phase_pitch_;
}

Index PaddedRows::tap_offset(const Tap& tap) const noexcept {
  const Index column = tap.offset[2] - least_[2];
  return ((tap.offset[0] - least_[0]) * rows_ + tap.offset[1] - least_[1]) * row_pitch_ +
         column % step_x_ * phase_pitch_ + column / step_x_;
}

// Zeros around the rows x columns that exist, of rows [0, rows_) in each channel.
template <class T>
void PaddedRows::pad_phase(Index channels, const Inside& rows, const Inside& columns, T* tile) const noexcept {
  for (Index channel = 0; channel < channels; ++channel, tile += channel_pitch()) {
    T* row = tile;
    for (Index y = 0; y < rows_; ++y, row += row_pitch_) {
      const bool is_inside = y >= rows.first && y < rows.stop;
      std::fill(row, row + (is_inside ? columns.first : phase_pitch_), T{0});
      if (is_inside) std::fill(row + columns.stop, row + phase_pitch_, T{0});
    }
  }
}

// One z plane and one phase of all channels.
template <class T>
void PaddedRows::pack_phase(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channels,
                            Index z, Index first_y, Index first_x, bool is_clear, T* tile) const noexcept {
  const Grid& grid = part.source;
  z = source_position(part.padding_mode, grid.extent[0], z);
  if (!is_clear)
    pad_phase(channels, Inside(first_y, 1, z < 0 ? 0 : grid.extent[1], rows_),
              Inside(first_x, step_x_, grid.extent[2], phase_pitch_), tile);
  if (z < 0) return;
  for (const PaddedRun& rows : PaddedRuns(part.padding_mode, grid.extent[1], first_y, 1, rows_))
    for (const PaddedRun& columns : PaddedRuns(part.padding_mode, grid.extent[2], first_x, step_x_, phase_pitch_))
      pack_runs(part, kernels, source + z * grid.axis_stride[0], channels, rows, columns, tile);
}

// A rectangle of one plane. Channels first, a move runs over the rows of one channel; channels last, over the channels
// of one row, transposing.
template <class T>
void PaddedRows::pack_runs(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channels,
                           const PaddedRun& rows, const PaddedRun& columns, T* tile) const noexcept {
  const Grid& grid = part.source;
  const Index row_count = rows.stop - rows.first, column_count = columns.stop - columns.first;
  const Index row_step = rows.step * grid.axis_stride[1], column_step = columns.step * grid.axis_stride[2];
  source += rows.source * grid.axis_stride[1] + columns.source * grid.axis_stride[2];
  tile += rows.first * row_pitch_ + columns.first;
  if (grid.axis_stride[2] == 1 || grid.channel_stride != 1) {
    for (Index channel = 0; channel < channels; ++channel)
      kernels.move_block(row_count, column_count, source + channel * grid.channel_stride, row_step, column_step,
                         tile + channel * channel_pitch(), row_pitch_, 1);
  } else {
    for (Index row = 0; row < row_count; ++row)
      kernels.move_block(channels, column_count, source + row * row_step, 1, column_step, tile + row * row_pitch_,
                         channel_pitch(), 1);
  }
}

template <class T>
void PaddedRows::pack(const Correlation& part, const ConvKernels<T>& kernels, const T* source, Index channel,
                      Index channels, const TargetBox& box, T* tile) const noexcept {
  // In the first-level cache, clearing all takes less time than finding the borders, of which other modes fill a part.
  constexpr Index kMostClearedBytes = 48 << 10;
  const Index elements = channels * channel_pitch();
  const bool is_clear =
      elements * static_cast<Index>(sizeof(T)) <= kMostClearedBytes || part.padding_mode != PaddingMode::zeros;
  if (is_clear) std::fill(tile, tile + elements, T{0});
  source += box.batch * part.source.batch_stride + channel * part.source.channel_stride;
  for (Index plane = 0; plane < depth_; ++plane)
    for (Index phase = 0; phase < phases_; ++phase)
      pack_phase(part, kernels, source, channels, box.z * part.step[0] + least_[0] + plane, box.y * step_y_ + least_[1],
                 box.x * step_x_ + least_[2] + phase, is_clear,
                 tile + plane * rows_ * row_pitch_ + phase * phase_pitch_);
}

template void PaddedRows::pack(const Correlation&, const ConvKernels<float>&, const float*, Index, Index,
                               const TargetBox&, float*) const noexcept;
template void PaddedRows::pack(const Correlation&, const ConvKernels<double>&, const double*, Index, Index,
                               const TargetBox&, double*) const noexcept;

}  // namespace convpool
