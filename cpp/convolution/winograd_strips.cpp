#include "convolution/winograd_strips.hpp"

#include <algorithm>

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
  strip.z = index % target.extent[0];
  index /= target.extent[0];
  strip.x = index % x_phases + tile_x * x_step;
  index /= x_phases;
  strip.y = index % y_phases + tile_y * y_step;
  strip.batch = index / y_phases;
  const auto pixels_from = [](Index first, Index extent, Index step) {
    return first < extent ? ceil_divide(extent - first, step) : 0;
  };
  strip.rows = std::min(tile_height, pixels_from(strip.y, target.extent[1], y_step));
  strip.columns = std::min(strip_tiles * tile_width, pixels_from(strip.x, target.extent[2], x_step));
  strip.tiles = strip.rows == 0 ? 0 : ceil_divide(strip.columns, tile_width);
  return strip;
}

StripCut make_strip_cut(const Grid& target, const TapCube& cube, Index batch, Index tile_height, Index tile_width,
                        Index wanted_tiles) {
  StripCut cut{};
  cut.tile_height = tile_height;
  cut.tile_width = tile_width;
  cut.y_step = cube.dilation[1];
  cut.x_step = cube.dilation[2];
  cut.y_phases = std::min(cut.y_step, target.extent[1]);
  cut.x_phases = std::min(cut.x_step, target.extent[2]);
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

template <class T>
void StripReader::stage_row(const ConvKernels<T>& kernels, const PaddedRuns& runs, const T* row, Index lanes,
                            T* stage) const noexcept {
  for (const PaddedRun& run : runs) {
    const Index pixels = run.stop - run.first;
    kernels.move_block(pixels, lanes, row + run.source * grid.axis_stride[2], run.step * grid.axis_stride[2],
                       grid.channel_stride, stage, kernels.lanes, 1);
    stage += pixels * kernels.lanes;
  }
}

template <class T>
StripSource<T> StripReader::read(const ConvKernels<T>& kernels, const StripCut& cut, const Strip& strip, Index z,
                                 const T* source, Index lanes, T* stage) const noexcept {
  StripSource<T> result{};
  result.tiles = strip.tiles;
  result.lanes = lanes;
  std::fill_n(result.rows, rows, kZeros<T>);
  z = source_position(padding_mode, grid.extent[0], z);
  const PaddedRuns runs(padding_mode, grid.extent[2], strip.x + x_offset, cut.x_step,
                        strip.tiles * cut.tile_width + overlap);
  if (z < 0 || runs.begin() == runs.end()) return result;
  result.first = runs.begin()->first;
  result.stop = (runs.end() - 1)->stop;
  const bool has_lanes = grid.channel_stride == 1, is_plain = padding_mode == PaddingMode::zeros;
  const bool has_whole_rows =
      is_plain && cut.y_step == 1 && cut.x_step == 1 && result.stop - result.first == grid.axis_stride[1];
  source += strip.batch * grid.batch_stride + z * grid.axis_stride[0];
  for (Index row = 0; row < rows; ++row) {
    const Index y = source_position(padding_mode, grid.extent[1], strip.y + y_offset + row * cut.y_step);
    if (y < 0) continue;
    const T* pixels = source + y * grid.axis_stride[1];
    if (has_lanes && is_plain) {
      result.rows[row] = pixels + runs.begin()->source * grid.axis_stride[2];
      result.pitches[row] = cut.x_step * grid.axis_stride[2];
    } else {
      // Rows that follow each other in memory are one long row: short ones would fill no square of a transpose.
      const Index rows_left = std::min(rows - row, grid.extent[1] - y);
      if (!has_whole_rows) stage_row(kernels, runs, pixels, lanes, stage);
      else if (row == 0 || y == 0)
        kernels.move_block(rows_left * grid.axis_stride[1], lanes, pixels, 1, grid.channel_stride, stage, kernels.lanes,
                           1);
      result.rows[row] = stage;
      result.pitches[row] = kernels.lanes;
      stage += (result.stop - result.first) * kernels.lanes;
    }
  }
  return result;
}

template StripSource<float> StripReader::read(const ConvKernels<float>&, const StripCut&, const Strip&, Index,
                                              const float*, Index, float*) const noexcept;
template StripSource<double> StripReader::read(const ConvKernels<double>&, const StripCut&, const Strip&, Index,
                                               const double*, Index, double*) const noexcept;

}  // namespace convpool
