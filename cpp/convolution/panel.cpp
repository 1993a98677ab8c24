#include "convolution/panel.hpp"

#include <algorithm>

#include "convolution/fetch_ahead.hpp"

namespace convpool {

namespace {

// Offset in the source of (tap, run) at column 0, without the x axis; false where the row lies in a padding of zeros.
bool source_row(const Correlation& part, const Run& run, const Tap& tap, Index& offset) noexcept {
  offset = run.batch * part.source.batch_stride;
  for (int axis = 0; axis < 2; ++axis) {
    const Index position = source_position(part.padding_mode, part.source.extent[axis],
                                           run.position[axis] * part.step[axis] + tap.offset[axis]);
    if (position < 0) return false;
    offset += position * part.source.axis_stride[axis];
  }
  return true;
}

// Mostly one column beside the image: column by column then, a call for each row would cost more.
constexpr Index kFewColumns = 4;

template <class T>
void zero_columns(T* panel, Index rows, Index first, Index stop) noexcept {
  if (stop - first > kFewColumns) {
    for (Index row = 0; row < rows; ++row)
      std::fill(panel + row * kPanelPitch + first, panel + row * kPanelPitch + stop, T{0});
    return;
  }
  for (Index column = first; column < stop; ++column)
    for (Index row = 0; row < rows; ++row) panel[row * kPanelPitch + column] = T{0};
}

// One run of columns of `rows` channels; `source` is the first of them.
template <class T>
void pack_columns(const Correlation& part, const ConvKernels<T>& kernels, const T* source, const PaddedRun& columns,
                  Index rows, T* panel) noexcept {
  const Index row_stride = part.source.channel_stride, step = columns.step * part.source.axis_stride[2];
  const Index count = columns.stop - columns.first;
  source += columns.source * part.source.axis_stride[2];
  panel += columns.first;
  if (columns.is_real || count > kFewColumns)
    return kernels.move_block(rows, count, source, row_stride, step, panel, kPanelPitch, 1);
  for (Index column = 0; column < count; ++column)
    for (Index row = 0; row < rows; ++row) panel[row * kPanelPitch + column] = source[row * row_stride + column * step];
}

// Channels [channel, channel + rows) of one tap and run.
template <class T>
void pack_run(const Correlation& part, const ConvKernels<T>& kernels, const T* source, const Run& run, const Tap& tap,
              Index channel, Index rows, T* panel) noexcept {
  Index offset, done = 0;
  panel += run.column;
  if (!source_row(part, run, tap, offset)) return zero_columns(panel, rows, 0, run.count);
  const Index step = part.step[2], start = run.position[2] * step + tap.offset[2];
  for (const PaddedRun& columns : PaddedRuns(part.padding_mode, part.source.extent[2], start, step, run.count)) {
    zero_columns(panel, rows, done, columns.first);
    pack_columns(part, kernels, source + offset + channel * part.source.channel_stride, columns, rows, panel);
    done = columns.stop;
  }
  zero_columns(panel, rows, done, run.count);
}

}  // namespace

PixelBlock::PixelBlock(const Correlation& part, Index block, Side side) noexcept {
  const Index* extent = part.target.extent;
  const bool joins_rows = side == Side::target && part.has_dense_target();
  const Index length = joins_rows ? extent[0] * extent[1] * extent[2] : extent[2];
  Index pixel = block * kPanelPixels;
  const Index stop = std::min(pixel + kPanelPixels, part.pixels());
  while (pixel < stop) {
    Run& run = runs_[run_count_++];
    const Index row = pixel / extent[2];
    run.position[2] = pixel % extent[2];
    run.position[1] = row % extent[1];
    run.position[0] = row / extent[1] % extent[0];
    run.batch = row / extent[1] / extent[0];
    run.column = pixels_;
    run.count = std::min(length - pixel % length, stop - pixel);
    pixel += run.count;
    pixels_ += run.count;
  }
}

template <class T>
void pack_panel(const Correlation& part, const ConvKernels<T>& kernels, const T* source, const PixelBlock& block,
                Index first, Index stop, T* panel) noexcept {
  for (Index entry = first; entry < stop;) {
    const Tap& tap = part.taps[static_cast<std::size_t>(entry / part.channels)];
    const Index channel = entry % part.channels;
    const Index rows = std::min(part.channels - channel, stop - entry);
    T* target = panel + (entry - first) * kPanelPitch;
    for (const Run& run : block) pack_run(part, kernels, source, run, tap, channel, rows, target);
    const Index padded = ceil_divide(block.pixels(), kernels.lanes) * kernels.lanes;
    zero_columns(target, rows, block.pixels(), padded);
    entry += rows;
  }
}

bool has_far_planes(const Grid& grid) noexcept {
  constexpr Index kLeastDistance = 128;
  return grid.axis_stride[2] == 1 && grid.channel_stride >= kLeastDistance;
}

bool reads_far_runs(const Correlation& part) noexcept {
  constexpr Index kMostStep = 4;  // of wider ones most lines would be fetched for nothing
  return part.taps.size() == 1 && part.step[2] <= kMostStep && has_far_planes(part.source);
}

template <class T>
void fetch_panel(const Correlation& part, const T* source, const PixelBlock& block, Index channel) noexcept {
  const Tap& tap = part.taps.front();
  source += channel * part.source.channel_stride;
  for (const Run& run : block) {
    Index offset;
    const Index start = run.position[2] * part.step[2] + tap.offset[2];
    const Index first = std::max<Index>(start, 0);
    const Index stop = std::min(start + (run.count - 1) * part.step[2] + 1, part.source.extent[2]);
    if (first < stop && source_row(part, run, tap, offset)) fetch_run(source + offset + first, stop - first);
  }
}

template void pack_panel(const Correlation&, const ConvKernels<float>&, const float*, const PixelBlock&, Index, Index,
                         float*) noexcept;
template void pack_panel(const Correlation&, const ConvKernels<double>&, const double*, const PixelBlock&, Index, Index,
                         double*) noexcept;
template void fetch_panel(const Correlation&, const float*, const PixelBlock&, Index) noexcept;
template void fetch_panel(const Correlation&, const double*, const PixelBlock&, Index) noexcept;

}  // namespace convpool
