#include "convolution/lane_window.hpp"

#include <algorithm>

namespace convpool {

namespace {

constexpr Index kRunLengths[] = {7, 5, 4, 3, 2, 1};  // that have kernels

// The longest kernel for what is left of a run, but 6 as 3 + 3.
Index next_length(Index left) {
  if (left == 6) return 3;
  return *std::find_if(std::begin(kRunLengths), std::end(kRunLengths), [=](Index length) { return length <= left; });
}

}  // namespace

LaneWindow::LaneWindow(const Correlation& part) {
  std::vector<Tap> taps = part.taps;
  std::sort(taps.begin(), taps.end(), [](const Tap& a, const Tap& b) {
    return std::lexicographical_compare(a.offset, a.offset + kAxes, b.offset, b.offset + kAxes);
  });
  for (int axis = 0; axis < kAxes; ++axis) {
    const auto [least, most] = std::minmax_element(
        taps.begin(), taps.end(), [axis](const Tap& a, const Tap& b) { return a.offset[axis] < b.offset[axis]; });
    least_[axis] = least->offset[axis];
    span_[axis] = most->offset[axis] - least->offset[axis];
    step_[axis] = part.step[axis];
  }
  depth_ = span_[0] + 1;
  Index row_taps = 0;
  for (const Tap& tap : taps) {
    const RowOffset row{tap.offset[0] - least_[0], tap.offset[1] - least_[1]};
    if (row_offsets_.empty() || row_offsets_.back().z != row.z || row_offsets_.back().y != row.y)
      row_offsets_.push_back(row);
    if (row_offsets_.size() == 1) ++row_taps;
  }
  make_runs(taps, row_taps);
}

// Taps are a product of axes, so the runs of the first row are those of every row.
void LaneWindow::make_runs(const std::vector<Tap>& taps, Index row_taps) {
  const auto tap_at = [&](Index row, Index i) -> const Tap& {
    return taps[static_cast<std::size_t>(row * row_taps + i)];
  };
  for (Index first = 0; first < row_taps;) {
    Index stop = first + 1;
    if (step_[2] <= kMostLaneStep)
      while (stop < row_taps && tap_at(0, stop).offset[2] == tap_at(0, stop - 1).offset[2] + 1) ++stop;
    while (first < stop) {
      const TapRun run{tap_at(0, first).offset[2] - least_[2], next_length(stop - first), first * rows()};
      for (Index row = 0; row < rows(); ++row)
        for (Index tap = 0; tap < run.taps; ++tap) weight_offsets_.push_back(tap_at(row, first + tap).weight_offset);
      runs_.push_back(run);
      first += run.taps;
    }
  }
}

template <class T>
void LaneWindow::fill_table(const Grid& grid, const T* source, const T* zeros, const Index (&first)[kAxes],
                            Index box_rows, Index box_columns, const T** table) const noexcept {
  const Index width = table_columns(box_columns), first_x = first[2] * step_[2] + least_[2];
  const Index left = std::clamp<Index>(-first_x, 0, width);
  const Index right = std::clamp<Index>(grid.extent[2] - first_x, left, width);
  for (Index plane = 0; plane < depth_; ++plane)
    for (Index row = 0; row < plane_rows(box_rows); ++row, table += width) {
      const Index z = first[0] * step_[0] + least_[0] + plane, y = first[1] * step_[1] + least_[1] + row;
      if (z < 0 || z >= grid.extent[0] || y < 0 || y >= grid.extent[1]) {
        std::fill_n(table, width, zeros);
        continue;
      }
      std::fill_n(table, left, zeros);
      const T* pixel =
          source + z * grid.axis_stride[0] + y * grid.axis_stride[1] + (first_x + left) * grid.axis_stride[2];
      for (Index x = left; x < right; ++x, pixel += grid.axis_stride[2]) table[x] = pixel;
      std::fill(table + right, table + width, zeros);
    }
}

template <class T>
void LaneWindow::pick_rows(const T* const* table, Index box_rows, Index box_columns, Index y,
                           const T* const** rows) const noexcept {
  const Index width = table_columns(box_columns);
  for (const RowOffset& offset : row_offsets_)
    *rows++ = table + (offset.z * plane_rows(box_rows) + y * step_[1] + offset.y) * width;
}

// A band of source rows stays in the second-level cache, and so does the table.
LaneCut make_lane_cut(const Correlation& part, const LaneWindow& window, Index lanes, std::size_t element_bytes) {
  constexpr Index kMostBytes = 256 << 10, kWantedRows = 8, kLeastColumns = 64, kMostColumns = 512;
  LaneCut cut{};
  cut.columns = std::min(part.target.extent[2], kMostColumns);
  cut.rows = std::min(part.target.extent[1], kWantedRows);
  const auto table_bytes = [&] {
    return window.table_rows(cut.rows) * window.table_columns(cut.columns) * static_cast<Index>(sizeof(void*));
  };
  while (cut.rows > 1 && table_bytes() > kMostBytes) cut.rows = ceil_divide(cut.rows, 2);
  while (cut.columns > kLeastColumns && table_bytes() > kMostBytes) cut.columns = ceil_divide(cut.columns, 2);
  const Index pixels_at_once = window.table_rows(1) * window.table_columns(cut.columns);
  const Index wanted = kMostBytes / (pixels_at_once * static_cast<Index>(element_bytes)) / lanes * lanes;
  cut.channels = std::min(part.groups, std::max(wanted, 4 * lanes));
  cut.channel_blocks = ceil_divide(part.groups, cut.channels);
  cut.channels = std::min(part.groups, ceil_divide(ceil_divide(part.groups, cut.channel_blocks), lanes) * lanes);
  cut.channel_blocks = ceil_divide(part.groups, cut.channels);
  cut.bands = ceil_divide(part.target.extent[1], cut.rows);
  cut.boxes = ceil_divide(part.target.extent[2], cut.columns);
  return cut;
}

#define CONVPOOL_LANE_WINDOW(T)                                                                              \
  template void LaneWindow::fill_table(const Grid&, const T*, const T*, const Index(&)[kAxes], Index, Index, \
                                       const T**) const noexcept;                                            \
  template void LaneWindow::pick_rows(const T* const*, Index, Index, Index, const T* const**) const noexcept
CONVPOOL_LANE_WINDOW(float);
CONVPOOL_LANE_WINDOW(double);
#undef CONVPOOL_LANE_WINDOW

}  // namespace convpool
