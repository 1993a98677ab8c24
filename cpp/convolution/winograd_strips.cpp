#include "convolution/winograd_strips.hpp"

#include <algorithm>

namespace convpool {

namespace {

constexpr Index kMostStripTiles = 16;  // their transformed columns stay in the first-level cache
constexpr int kMostLanes = 16;

template <class T>
constexpr T kZeros[kMostLanes] = {};

// The part of [begin, begin + count) that lies in [0, extent), counted from begin.
struct Inside {
  Index first, stop;
  Inside(Index begin, Index count, Index extent) noexcept
      : first(std::clamp<Index>(-begin, 0, count)), stop(std::clamp<Index>(extent - begin, first, count)) {}
  Index count() const noexcept { return stop - first; }
};

}  // namespace

Strip StripCut::strip(const Grid& target, Index index) const noexcept {
  Strip strip{};
  strip.x = index % row_strips * strip_tiles * tile_width;
  index /= row_strips;
  strip.y = index % tile_rows * tile_height;
  index /= tile_rows;
  strip.z = index % target.extent[0];
  strip.batch = index / target.extent[0];
  strip.rows = std::min(tile_height, target.extent[1] - strip.y);
  strip.columns = std::min(strip_tiles * tile_width, target.extent[2] - strip.x);
  strip.tiles = ceil_divide(strip.columns, tile_width);
  return strip;
}

StripCut make_strip_cut(const Grid& target, Index batch, Index tile_height, Index tile_width, Index wanted_tiles) {
  StripCut cut{};
  cut.tile_height = tile_height;
  cut.tile_width = tile_width;
  cut.tile_rows = ceil_divide(target.extent[1], tile_height);
  const Index row_tiles = ceil_divide(target.extent[2], tile_width);
  cut.strip_tiles = ceil_divide(row_tiles, ceil_divide(row_tiles, kMostStripTiles));
  cut.row_strips = ceil_divide(row_tiles, cut.strip_tiles);
  cut.strips = batch * target.extent[0] * cut.tile_rows * cut.row_strips;
  cut.block_strips = std::max<Index>(1, wanted_tiles / cut.strip_tiles);
  cut.blocks = ceil_divide(cut.strips, cut.block_strips);
  cut.block_strips = ceil_divide(cut.strips, std::max<Index>(cut.blocks, 1));
  return cut;
}

template <class T>
StripSource<T> StripReader::read(const ConvKernels<T>& kernels, const StripCut& cut, const Strip& strip, Index z,
                                 const T* source, Index lanes, T* stage) const noexcept {
  StripSource<T> result{};
  result.tiles = strip.tiles;
  result.lanes = lanes;
  const bool exists = z >= 0 && z < grid.extent[0];
  const Inside x(strip.x + x_offset, strip.tiles * cut.tile_width + overlap, grid.extent[2]);
  const Inside y(strip.y + y_offset, rows, exists ? grid.extent[1] : 0);
  result.first = x.first;
  result.stop = x.stop;
  std::fill_n(result.rows, rows, kZeros<T>);
  if (x.count() == 0 || y.count() == 0) return result;
  source += strip.batch * grid.batch_stride + z * grid.axis_stride[0] +
            (strip.y + y_offset + y.first) * grid.axis_stride[1] + (strip.x + x_offset + x.first) * grid.axis_stride[2];
  const bool is_staged = grid.channel_stride != 1;
  const Index row_pitch = is_staged ? x.count() * kernels.lanes : grid.axis_stride[1];
  if (is_staged) {
    const bool is_dense = x.count() == grid.axis_stride[1];
    const Index runs = is_dense ? 1 : y.count(), pixels = is_dense ? y.count() * x.count() : x.count();
    for (Index run = 0; run < runs; ++run)
      kernels.move_block(pixels, lanes, source + run * grid.axis_stride[1], 1, grid.channel_stride,
                         stage + run * row_pitch, kernels.lanes, 1);
  }
  for (Index row = y.first; row < y.stop; ++row) {
    result.rows[row] = (is_staged ? stage : source) + (row - y.first) * row_pitch;
    result.pitches[row] = is_staged ? kernels.lanes : grid.axis_stride[2];
  }
  return result;
}

template StripSource<float> StripReader::read(const ConvKernels<float>&, const StripCut&, const Strip&, Index,
                                              const float*, Index, float*) const noexcept;
template StripSource<double> StripReader::read(const ConvKernels<double>&, const StripCut&, const Strip&, Index,
                                               const double*, Index, double*) const noexcept;

}  // namespace convpool
