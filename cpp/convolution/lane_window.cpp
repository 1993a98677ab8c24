#include "convolution/lane_window.hpp"

#include <algorithm>

#include "convolution/fetch_ahead.hpp"

namespace convpool {

namespace {

constexpr Index kRunLengths[] = {7, 5, 4, 3, 2, 1};  // that have kernels

// The longest kernel for what is left of a run, but 6 as 3 + 3.
Index next_length(Index left, bool is_grouped) {
  const Index most = left == 6 || is_grouped ? kMostGroupedLaneTaps : kMostLaneTaps;
  return *std::find_if(std::begin(kRunLengths), std::end(kRunLengths),
                       [=](Index length) { return length <= std::min(left, most); });
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
  Index row_taps = 0;
  for (const Tap& tap : taps) {
    const RowOffset row{tap.offset[0] - least_[0], tap.offset[1] - least_[1]};
    if (row_offsets_.empty() || row_offsets_.back().z != row.z || row_offsets_.back().y != row.y)
      row_offsets_.push_back(row);
    if (row_offsets_.size() == 1) ++row_taps;
  }
  make_runs(part, taps, row_taps);
}

// Taps are a product of axes, so the runs of the first row are those of every row.
void LaneWindow::make_runs(const Correlation& part, const std::vector<Tap>& taps, Index row_taps) {
  const auto tap_at = [&](Index row, Index i) -> const Tap& {
    return taps[static_cast<std::size_t>(row * row_taps + i)];
  };
  for (Index first = 0; first < row_taps;) {
    Index stop = first + 1;
    if (step_[2] <= kMostLaneStep)
      while (stop < row_taps && tap_at(0, stop).offset[2] == tap_at(0, stop - 1).offset[2] + 1) ++stop;
    while (first < stop) {
      const TapRun run{tap_at(0, first).offset[2] - least_[2], next_length(stop - first, part.channels > 1), depth()};
      for (Index row = 0; row < rows(); ++row)
        for (Index channel = 0; channel < part.channels; ++channel)
          for (Index tap = 0; tap < run.taps; ++tap)
            weight_offsets_.push_back(tap_at(row, first + tap).weight_offset + channel * part.weight_channel_stride);
      runs_.push_back(run);
      first += run.taps;
    }
  }
}

LaneBox LaneWindow::reads(const LaneBox& target) const noexcept {
  LaneBox read;
  for (int axis = 0; axis < kAxes; ++axis) {
    read.first[axis] = target.first[axis] * step_[axis] + least_[axis];
    read.count[axis] = (target.count[axis] - 1) * step_[axis] + span_[axis] + 1;
  }
  return read;
}

template <class T>
void LaneWindow::fill_table(const Index (&extent)[kAxes], const LanePixels<const T>& source, const T* zeros,
                            const LaneBox& read, const T** table) const noexcept {
  const Index width = read.count[2];
  const Index left = std::clamp<Index>(-read.first[2], 0, width);
  const Index right = std::clamp<Index>(extent[2] - read.first[2], left, width);
  for (Index z = read.first[0]; z < read.first[0] + read.count[0]; ++z)
    for (Index y = read.first[1]; y < read.first[1] + read.count[1]; ++y, table += width) {
      const bool is_inside = z >= 0 && z < extent[0] && y >= 0 && y < extent[1];
      const Index begin = is_inside ? left : width, end = is_inside ? right : width;
      std::fill_n(table, begin, zeros);
      for (Index x = begin; x < end; ++x) table[x] = source.at(z, y, read.first[2] + x);
      std::fill(table + end, table + width, zeros);
    }
}

template <class T>
void LaneWindow::pick_rows(const T* const* table, const LaneBox& read, Index z, Index y,
                           const T* const** rows) const noexcept {
  for (const RowOffset& offset : row_offsets_) *rows++ = table + table_row(offset, read, z, y);
}

template <class T>
void LaneWindow::fetch_new(const T* const* table, const LaneBox& read, Index z, Index y, Index first_pixel,
                           Index pixels, Index channels) const noexcept {
  if (step_[2] > span_[2] + 1) return;
  const Index first = first_pixel * step_[2], stop = std::min(first + pixels * step_[2], read.count[2]);
  const bool are_all_new = read.count[1] == span_[1] + 1;
  const Index new_rows = are_all_new ? rows() : std::min(step_[1], rows());
  for (std::size_t row = row_offsets_.size() - static_cast<std::size_t>(new_rows); row < row_offsets_.size(); ++row) {
    const T* const* columns = table + table_row(row_offsets_[row], read, z, y);
    for (Index column = first; column < stop; ++column) fetch_run(columns[column], channels);
  }
}

#define CONVPOOL_LANE_WINDOW(T)                                                                                        \
  template void LaneWindow::fill_table(const Index(&)[kAxes], const LanePixels<const T>&, const T*, const LaneBox&,    \
                                       const T**) const noexcept;                                                      \
  template void LaneWindow::pick_rows(const T* const*, const LaneBox&, Index, Index, const T* const**) const noexcept; \
  template void LaneWindow::fetch_new(const T* const*, const LaneBox&, Index, Index, Index, Index, Index) const noexcept
CONVPOOL_LANE_WINDOW(float);
CONVPOOL_LANE_WINDOW(double);
#undef CONVPOOL_LANE_WINDOW

}  // namespace convpool
