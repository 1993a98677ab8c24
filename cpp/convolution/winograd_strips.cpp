#include "convolution/winograd_strips.hpp"

#include <algorithm>

#include "convolution/padded_rows.hpp"

namespace convpool {

namespace {

constexpr Index kMostStripTiles = 16;  // their transformed columns stay in the first-level cache
constexpr int kMostLanes = 16;

template <class T>
constexpr T kZeros[kMostLanes] = {};

}  // namespace

Strip StripCut::strip(const Grid& target, Index index) const noexcept {
  Strip strip{};
  const Index tile_x = index % row_strips * strip_tiles * tile_width;
  index /= row_strips;
  const Index tile_y = index % tile_rows * tile_height;
  index /= tile_rows;
  strip.z = index % depth;
  index /= depth;
  strip.x = index % x_phases + tile_x * x_step;
  index /= x_phases;
  strip.y = index % y_phases + tile_y * y_step;
  strip.batch = index / y_phases;
  const auto pixels_from = [](Index first, Index extent, Index step) {
    return first < extent ? ceil_divide(extent - first, step) : 0;
  };
  const bool has_z = strip.z < target.extent[0];
  strip.rows = has_z ? std::min(tile_height, pixels_from(strip.y, target.extent[1], y_step)) : 0;
  strip.columns = std::min(strip_tiles * tile_width, pixels_from(strip.x, target.extent[2], x_step));
  strip.tiles = strip.rows == 0 ? 0 : ceil_divide(strip.columns, tile_width);
  return strip;
}

StripCut make_strip_cut(const Grid& target, const Index (&distance)[kAxes], Index batch, Index tile_height,
                        Index tile_width, Index wanted_tiles) {
  StripCut cut{};
  cut.tile_height = tile_height;
  cut.tile_width = tile_width;
  cut.y_step = distance[1];
  cut.x_step = distance[2];
  cut.y_phases = std::min(cut.y_step, target.extent[1]);
  cut.x_phases = std::min(cut.x_step, target.extent[2]);
  cut.depth = target.extent[0];
  cut.tile_rows = ceil_divide(ceil_divide(target.extent[1], cut.y_step), tile_height);
  const Index row_tiles = ceil_divide(ceil_divide(target.extent[2], cut.x_step), tile_width);
  const Index most_tiles = std::clamp<Index>(wanted_tiles, 1, kMostStripTiles);
  cut.strip_tiles = ceil_divide(row_tiles, ceil_divide(row_tiles, most_tiles));
  cut.row_strips = ceil_divide(row_tiles, cut.strip_tiles);
  cut.strips = batch * cut.y_phases * cut.x_phases * target.extent[0] * cut.tile_rows * cut.row_strips;
  cut.block_strips = std::max<Index>(1, wanted_tiles / cut.strip_tiles);
  cut.blocks = ceil_divide(cut.strips, cut.block_strips);
  cut.block_strips = ceil_divide(cut.strips, std::max<Index>(cut.blocks, 1));
  return cut;
}

StripReader StripReader::of_windows(const WinogradPhases& phases, Index tile_rows, Index tile_overlap) {
  const Correlation& part = *phases.phases.front().part;
  StripReader reader{};
  reader.grid = part.source;
  reader.padding_mode = part.padding_mode;
  std::copy_n(part.step, kAxes, reader.step);
  reader.tile_rows = tile_rows;
  reader.tile_overlap = tile_overlap;
  for (int axis = 1; axis < kAxes; ++axis) {
    const auto [least, most] =
        std::minmax_element(phases.views.begin(), phases.views.end(),
                            [axis](const View& a, const View& b) { return a.least[axis] < b.least[axis]; });
    reader.distance[axis - 1] = phases.source_distance[axis];
    reader.least[axis - 1] = least->least[axis];
    reader.span[axis - 1] = most->least[axis] - least->least[axis];
    reader.unit[axis - 1] = reader.span[axis - 1] == 0 ? phases.source_distance[axis] : 1;
  }
  return reader;
}

StripReader StripReader::of_tiles(const WinogradPhases& phases, Index tile_rows) {
  StripReader reader{};
  reader.grid = phases.phases.front().part->target;
  reader.padding_mode = PaddingMode::zeros;
  std::fill_n(reader.step, kAxes, Index{1});
  std::copy_n(phases.target_distance + 1, 2, reader.distance);
  std::copy_n(phases.target_distance + 1, 2, reader.unit);
  reader.tile_rows = tile_rows;
  return reader;
}

template <class T>
StripPixels<T>::StripPixels(const StripReader& reader, const ConvKernels<T>& kernels, const StripCut& cut,
                            const Strip& strip, Index z, const T* source, Index lanes, T* stage) noexcept
    : reader_(reader), tiles_(strip.tiles), columns_(strip.tiles * cut.tile_width + reader.tile_overlap), lanes_(lanes),
      first_(0), extent_(0), pitch_(0), unit_(1) {
  const Grid& grid = reader.grid;
  std::fill_n(rows_, kMostRows, nullptr);
  z = source_position(reader.padding_mode, grid.extent[0], z);
  if (z < 0) return;
  source += strip.batch * grid.batch_stride + z * grid.axis_stride[0];
  if (grid.channel_stride != 1 || reader.padding_mode != PaddingMode::zeros) stage_rows(kernels, strip, source, stage);
  else find_rows(strip, source);
}

template <class T>
void StripPixels<T>::find_rows(const Strip& strip, const T* source) noexcept {
  const Grid& grid = reader_.grid;
  first_ = strip.x * reader_.step[2] + reader_.least[1];
  extent_ = grid.extent[2];
  pitch_ = grid.axis_stride[2];
  for (Index row = 0; row < reader_.staged_rows(); ++row) {
    const Index y = strip.y * reader_.step[1] + reader_.least[0] + row * reader_.unit[0];
    if (y >= 0 && y < grid.extent[1]) rows_[row] = source + y * grid.axis_stride[1];
  }
}

template <class T>
void StripPixels<T>::stage_rows(const ConvKernels<T>& kernels, const Strip& strip, const T* source, T* stage) noexcept {
  const Grid& grid = reader_.grid;
  const PaddedRuns runs(reader_.padding_mode, grid.extent[2], strip.x * reader_.step[2] + reader_.least[1],
                        reader_.unit[1], reader_.staged(1, columns_));
  if (runs.begin() == runs.end()) return;
  first_ = -runs.begin()->first;
  extent_ = (runs.end() - 1)->stop - runs.begin()->first;
  pitch_ = kernels.lanes;
  unit_ = reader_.unit[1];
  const bool has_whole_rows = reader_.padding_mode == PaddingMode::zeros && reader_.unit[0] == 1 && unit_ == 1 &&
                              extent_ == grid.axis_stride[1];
  const Index rows = reader_.staged_rows();
  for (Index row = 0; row < rows; ++row) {
    const Index position = strip.y * reader_.step[1] + reader_.least[0] + row * reader_.unit[0];
    const Index y = source_position(reader_.padding_mode, grid.extent[1], position);
    if (y < 0) continue;
    const T* pixels = source + y * grid.axis_stride[1];
    // Rows that follow each other in memory are one long row: short ones would fill no square of a transpose.
    if (!has_whole_rows) stage_row(kernels, runs, pixels, stage);
    else if (row == 0 || y == 0)
      kernels.move_block(std::min(rows - row, grid.extent[1] - y) * grid.axis_stride[1], lanes_, pixels, 1,
                         grid.channel_stride, stage, kernels.lanes, 1);
    rows_[row] = stage;
    stage += extent_ * kernels.lanes;
  }
}

template <class T>
void StripPixels<T>::stage_row(const ConvKernels<T>& kernels, const PaddedRuns& runs, const T* row,
                               T* stage) const noexcept {
  const Grid& grid = reader_.grid;
  for (const PaddedRun& run : runs) {
    const Index pixels = run.stop - run.first;
    kernels.move_block(pixels, lanes_, row + run.source * grid.axis_stride[2], run.step * grid.axis_stride[2],
                       grid.channel_stride, stage, kernels.lanes, 1);
    stage += pixels * kernels.lanes;
  }
}

template <class T>
StripSource<T> StripPixels<T>::of(const View& view) const noexcept {
  StripSource<T> result{};
  result.tiles = tiles_;
  result.lanes = lanes_;
  const Index start = first_ + (view.least[2] - reader_.least[1]) / unit_, step = reader_.distance[1] / unit_;
  const Inside inside(start, step, extent_, columns_);
  result.first = inside.first;
  result.stop = inside.stop;
  const Index first_row = (view.least[1] - reader_.least[0]) / reader_.unit[0],
              row_step = reader_.distance[0] / reader_.unit[0];
  for (Index row = 0; row < reader_.tile_rows; ++row) {
    const T* pixels = rows_[first_row + row * row_step];
    const bool has_pixels = pixels != nullptr && inside.first < inside.stop;
    result.rows[row] = has_pixels ? pixels + (start + inside.first * step) * pitch_ : kZeros<T>;
    result.pitches[row] = has_pixels ? step * pitch_ : 0;
  }
  return result;
}

template class StripPixels<float>;
template class StripPixels<double>;

}  // namespace convpool
