#include "convolution/winograd.hpp"

#include <algorithm>

#include "convolution/packed_correlation.hpp"
#include "convolution/packed_weights.hpp"
#include "convolution/tap_cube.hpp"
#include "convolution/winograd_strips.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kLargeWeightBytes = 4 << 20;  // of transformed weights: beyond the second-level cache
constexpr Index kMostWeightBytes = 10 << 20;  // held at once: larger blocks come as fresh pages each time
constexpr Index kMostTransformedBytes = 3 << 20;
constexpr Index kLeastChannels = 16, kLeastRows = 16;
constexpr Index kWeightChannels = 16;  // of a task of the transform of the weights

// One call. The depth is that of the sum: (tap along z, channel), the channels of a tap filled up to whole vectors.
template <class T>
struct Problem {
  const Correlation& part;
  const ConvKernels<T>& kernels;
  const WinogradKernels<T>& transforms;
  const TapCube& cube;
  StripCut cut;
  StripReader reader;
  Index points;  // of a tile
  Index tap_depth, depth, chunk_depth, chunks;
  Index row_block, row_blocks;  // target channels multiplied at once
  Index pass_blocks;            // row blocks whose transformed weights are held at once
  Index weight_pitch;           // of the transformed weights, from point to point
  Index tile_pitch;             // of the transformed source, from point to point
  Index product_pitch;          // of the products

  Index weight_block() const { return points * weight_pitch; }
  Index pass_weights() const { return part.groups * pass_blocks * weight_block(); }
};

// Tiles of a block. Transformed, they lie in the second-level cache beside their products; weights that do not are read
// once for each block, so there should be fewer blocks.
template <class T>
Index wanted_tiles(const Problem<T>& problem) {
  const Index few = 28 * 36 / problem.points;  // of six by six points each
  const Index weights = problem.points * problem.depth * problem.part.rows;
  const Index tile_bytes = problem.chunks * problem.points * kTransformedPitch * Index{sizeof(T)};
  const Index wanted = weights * Index{sizeof(T)} > kLargeWeightBytes ? 2 * few : few;
  return std::min(wanted, kMostTransformedBytes / tile_bytes);
}

template <class T>
Problem<T> make_problem(const Correlation& part, const TapCube& cube, const ConvKernels<T>& kernels,
                        const WinogradKernels<T>& transforms, bool keeps_weights) {
  Problem<T> problem{part, kernels, transforms, cube, {}, {}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Index lanes = kernels.lanes;
  problem.reader = {part.source,   part.padding_mode,   cube.least[1],
                    cube.least[2], transforms.y.points, transforms.x.taps - 1};
  problem.points = transforms.y.points * transforms.x.points;
  problem.tap_depth = cube.depth == 1 ? part.channels : ceil_divide(part.channels, lanes) * lanes;
  problem.depth = cube.depth * problem.tap_depth;
  problem.chunk_depth = even_block(problem.depth, kPointDepth, lanes);
  problem.chunks = ceil_divide(problem.depth, problem.chunk_depth);
  problem.cut =
      make_strip_cut(part.target, cube, part.batch, transforms.y.outputs, transforms.x.outputs, wanted_tiles(problem));
  problem.row_block = even_block(part.rows, kPointRows, lanes);
  problem.row_blocks = ceil_divide(part.rows, problem.row_block);
  problem.weight_pitch = odd_lines<T>(problem.depth * kPointRows);
  const Index block_bytes = part.groups * problem.weight_block() * Index{sizeof(T)};
  const Index most_blocks = keeps_weights ? problem.row_blocks : kMostWeightBytes / block_bytes;
  problem.pass_blocks = std::clamp<Index>(most_blocks, 1, problem.row_blocks);
  problem.tile_pitch = odd_lines<T>(problem.cut.block_tiles() * kTransformedPitch);
  problem.product_pitch = odd_lines<T>(problem.cut.block_tiles() * kProductPitch);
  return problem;
}

// Where rows lie apart in the array, they are brought together first: [channel][tap][row]. Taps that follow each other
// move with their channels; otherwise channels that do. (Neither: the transform gathers.)
template <class T>
void stage_weights(const Problem<T>& problem, PointWeights<T>& weights, T* stage) noexcept {
  const Index pitch = problem.row_block, taps = problem.cube.plane_taps();
  const bool is_run = problem.cube.has_dense_weights(problem.part);
  if (weights.row_stride == 1 || (!is_run && weights.channel_stride != 1)) return;
  const Index runs = is_run ? 1 : taps, count = is_run ? taps * weights.channels : weights.channels;
  for (Index run = 0; run < runs; ++run)
    problem.kernels.move_block(count, weights.rows, weights.weight + weights.offsets[run], 1, weights.row_stride,
                               stage + run * pitch, is_run ? pitch : taps * pitch, 1);
  weights.weight = stage;
  for (Index tap = 0; tap < taps; ++tap) weights.offsets[tap] = tap * pitch;
  weights.channel_stride = taps * pitch;
  weights.row_stride = 1;
}

// Some channels of one tap along z and of one block of rows.
template <class T>
bool transform_weight_block(const Problem<T>& problem, const T* weight, T* transformed, Index row, Index z,
                            Index channel, T* stage) noexcept {
  const Correlation& part = problem.part;
  PointWeights<T> weights{};
  std::copy_n(problem.cube.weight_offsets.begin() + z * problem.cube.plane_taps(), problem.cube.plane_taps(),
              weights.offsets);
  weights.channels = std::min(kWeightChannels, part.channels - channel);
  weights.channel_stride = part.weight_channel_stride;
  weights.rows = std::min(problem.row_block, part.rows - row);
  weights.row_stride = part.weight_row_stride;
  weights.weight = const_cast<T*>(weight + row * part.weight_row_stride + channel * part.weight_channel_stride);
  weights.points = transformed + (z * problem.tap_depth + channel) * kPointRows;
  weights.point_pitch = problem.weight_pitch;
  stage_weights(problem, weights, stage);
  return problem.transforms.transform_weights(weights);
}

// Row blocks [first, stop). False where a weight is not finite or too large to be transformed.
template <class T>
bool transform_weights(const Problem<T>& problem, const T* weight, Index first, Index stop, T* transformed,
                       int num_threads) {
  const Correlation& part = problem.part;
  const Index channel_blocks = ceil_divide(part.channels, kWeightChannels);
  const Index block_tasks = problem.cube.depth * channel_blocks, group_tasks = (stop - first) * block_tasks;
  const Index tasks = part.groups * group_tasks;
  const int workers = worker_count(num_threads, tasks, problem.pass_weights());
  if (problem.tap_depth != part.channels) std::fill_n(transformed, problem.pass_weights(), T{0});
  std::vector<unsigned char> is_small(static_cast<std::size_t>(tasks), 1);
  const Workspace stage(
      workers, static_cast<std::size_t>(kWeightChannels * problem.cube.plane_taps() * problem.row_block) * sizeof(T));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    const Index group = task / group_tasks, block = task % group_tasks / block_tasks;
    const Index z = task % block_tasks / channel_blocks, channel = task % channel_blocks * kWeightChannels;
    T* target = transformed + (group * problem.pass_blocks + block) * problem.weight_block();
    is_small[static_cast<std::size_t>(task)] =
        transform_weight_block(problem, weight + group * part.weight_group_stride, target,
                               (first + block) * problem.row_block, z, channel, reinterpret_cast<T*>(stage.of(worker)));
  });
  return std::find(is_small.begin(), is_small.end(), 0) == is_small.end();
}

template <class T>
struct Scratch {
  T *stage, *columns, *transformed, *products, *bias;

  static std::size_t carve(Carver carver, const Problem<T>& problem, Scratch& scratch) {
    const Index lanes = problem.kernels.lanes;
    scratch.stage = carver.take<T>(problem.reader.staged_pixels(problem.cut) * lanes);
    scratch.columns = carver.take<T>(problem.transforms.y.points * problem.reader.columns(problem.cut) * lanes);
    scratch.transformed = carver.take<T>(problem.chunks * problem.points * problem.tile_pitch);
    scratch.products = carver.take<T>(problem.points * problem.product_pitch);
    scratch.bias = carver.take<T>(kPointRows);
    return carver.used();
  }
};

// All channels of one strip. False where a value is not finite or too large.
template <class T>
bool transform_strip(const Problem<T>& problem, const T* source, const Strip& strip, Index tile,
                     const Scratch<T>& scratch) noexcept {
  const Correlation& part = problem.part;
  const Index lanes = problem.kernels.lanes;
  bool is_small = true;
  for (Index z = 0; z < problem.cube.depth; ++z)
    for (Index channel = 0; channel < part.channels; channel += lanes) {
      StripSource<T> values = problem.reader.read(
          problem.kernels, problem.cut, strip, strip.z + problem.cube.least[0] + z * problem.cube.dilation[0],
          source + channel * part.source.channel_stride, std::min(lanes, part.channels - channel), scratch.stage);
      const Index entry = z * problem.tap_depth + channel, chunk = entry / problem.chunk_depth;
      values.columns = scratch.columns;
      values.transformed = scratch.transformed + chunk * problem.points * problem.tile_pitch +
                           tile * kTransformedPitch + entry % problem.chunk_depth;
      values.tile_pitch = kTransformedPitch;
      values.point_pitch = problem.tile_pitch;
      is_small &= problem.transforms.transform_source(values);
    }
  return is_small;
}

// Products of all points of `tiles` tiles with one block of rows.
template <class T>
void multiply_points(const Problem<T>& problem, const T* weights, Index tiles, Index rows,
                     const Scratch<T>& scratch) noexcept {
  const PointKernels<T>& kernels = problem.kernels.winograd;
  const Index lanes = problem.kernels.lanes, row_vectors = ceil_divide(rows, lanes);
  const Index tile_rows = ceil_divide(tiles, ceil_divide(tiles, kernels.tile_rows));
  for (Index point = 0; point < problem.points; ++point)
    for (Index chunk = 0; chunk < problem.chunks; ++chunk) {
      const T* transformed = scratch.transformed + (chunk * problem.points + point) * problem.tile_pitch;
      const T* point_weights = weights + point * problem.weight_pitch + chunk * problem.chunk_depth * kPointRows;
      T* products = scratch.products + point * problem.product_pitch;
      const Index depth = std::min(problem.chunk_depth, problem.depth - chunk * problem.chunk_depth);
      const auto& product = chunk == 0 ? kernels.set : kernels.add;
      for (Index vector = 0; vector < row_vectors; vector += kernels.tile_vectors) {
        const Index vectors = std::min<Index>(kernels.tile_vectors, row_vectors - vector);
        for (Index tile = 0; tile < tiles; tile += tile_rows)
          product[std::min(tile_rows, tiles - tile) - 1][vectors - 1](
              transformed + tile * kTransformedPitch, point_weights + vector * lanes,
              products + tile * kProductPitch + vector * lanes, depth);
      }
    }
}

// One vector of target channels of one strip: straight to the target, or through the stage where they lie apart.
template <class T>
void write_strip(const Problem<T>& problem, const Strip& strip, const T* products, const T* bias, Index lanes,
                 T* target, T* stage) noexcept {
  const Grid& grid = problem.part.target;
  const Index vector = problem.kernels.lanes;
  const bool is_staged = grid.channel_stride != 1;
  target += strip.batch * grid.batch_stride + strip.z * grid.axis_stride[0] + strip.y * grid.axis_stride[1] +
            strip.x * grid.axis_stride[2];
  const Index row_pitch = problem.cut.y_step * grid.axis_stride[1];
  const Index column_pitch = problem.cut.x_step * grid.axis_stride[2];
  StripTarget<T> values{products,   problem.product_pitch, bias, target, row_pitch, column_pitch,
                        strip.rows, strip.columns,         lanes};
  if (is_staged) {
    values.target = stage;
    values.row_pitch = strip.columns * vector;
    values.column_pitch = vector;
  }
  problem.transforms.transform_products(values);
  if (!is_staged) return;
  const bool is_dense = strip.columns == row_pitch && column_pitch == 1;
  const Index runs = is_dense ? 1 : strip.rows, pixels = is_dense ? strip.rows * strip.columns : strip.columns;
  for (Index run = 0; run < runs; ++run)
    problem.kernels.move_block(lanes, pixels, stage + run * values.row_pitch, 1, vector, target + run * row_pitch,
                               grid.channel_stride, column_pitch);
}

// Work is cut into (group, block of strips, range of row blocks). `weights` are those of the first row block.
template <class T>
struct Task {
  Index group, first_strip, stop_strip, first_row_block, stop_row_block;
  const T* weights;
};

template <class T>
void run_task(const Problem<T>& problem, const Task<T>& task, const T* source, const T* bias, T* target,
              unsigned char* is_small, const Scratch<T>& scratch) noexcept {
  const Correlation& part = problem.part;
  const Index lanes = problem.kernels.lanes;
  source += task.group * part.channels * part.source.channel_stride;
  Index tiles = 0;
  for (Index index = task.first_strip; index < task.stop_strip; ++index) {
    const Strip strip = problem.cut.strip(part.target, index);
    if (strip.tiles == 0) continue;
    const bool strip_is_small = transform_strip(problem, source, strip, tiles, scratch);
    if (task.first_row_block == 0) is_small[index] = strip_is_small;
    tiles += strip.tiles;
  }
  if (tiles == 0) return;
  for (Index block = task.first_row_block; block < task.stop_row_block; ++block) {
    const Index row = block * problem.row_block, rows = std::min(problem.row_block, part.rows - row);
    const Index first_row = task.group * part.rows + row;
    multiply_points(problem, task.weights + (block - task.first_row_block) * problem.weight_block(), tiles, rows,
                    scratch);
    std::fill_n(scratch.bias, kPointRows, T{0});
    if (bias != nullptr) std::copy_n(bias + first_row, rows, scratch.bias);
    const T* products = scratch.products;
    for (Index index = task.first_strip; index < task.stop_strip; ++index) {
      const Strip strip = problem.cut.strip(part.target, index);
      for (Index first = 0; first < rows && strip.tiles > 0; first += lanes)
        write_strip(problem, strip, products + first, scratch.bias + first, std::min(lanes, rows - first),
                    target + (first_row + first) * part.target.channel_stride, scratch.stage);
      products += strip.tiles * kProductPitch;
    }
  }
}

// Images with a value that a transform would spread, once more by packed tiles: there it reaches what its windows hold.
template <class T>
void run_images_directly(const KernelTable* table, const Correlation& part, const T* source, const T* weight,
                         const T* bias, T* target, const std::vector<unsigned char>& is_small, int num_threads) {
  const std::size_t image_strips = is_small.size() / static_cast<std::size_t>(part.groups * part.batch);
  for (Index image = 0; image < part.batch; ++image) {
    bool is_done = true;
    for (Index group = 0; group < part.groups; ++group) {
      const auto first = is_small.begin() + static_cast<std::ptrdiff_t>(image_strips) * (group * part.batch + image);
      is_done &= std::find(first, first + static_cast<std::ptrdiff_t>(image_strips), 0) ==
                 first + static_cast<std::ptrdiff_t>(image_strips);
    }
    if (is_done) continue;
    Correlation one = part;
    one.batch = 1;
    run_packed<T>(table, {one}, source + image * part.source.batch_stride, weight, bias,
                  target + image * part.target.batch_stride, num_threads);
  }
}

// What the transforms can read: neighbouring taps, and arrays where channels or pixels are neighbours.
std::optional<TapCube> winograd_taps(const Correlation& part) {
  const auto has_neighbours = [](const Grid& grid) { return grid.channel_stride == 1 || grid.axis_stride[2] == 1; };
  if (!has_neighbours(part.source) || !has_neighbours(part.target)) return {};
  return TapCube::find(part);
}

// Products for each pair of a source and a target channel. To transform a weight costs as much as some tiles do; the
// gradient of the weight has none to transform.
Index winograd_work(const Correlation& part, const TapCube& cube, Index outputs, ConvPass pass) {
  constexpr Index kTilesOfWeight = 32;
  const Index height = cube.height == 1 ? 1 : outputs;
  const Index points = (outputs + TapCube::kSide - 1) * (height + cube.height - 1);
  const auto tiles_along = [&](int axis, Index tile) {
    const Index extent = part.target.extent[axis], step = cube.dilation[axis];
    return std::min(step, extent) * ceil_divide(ceil_divide(extent, step), tile);
  };
  const Index image_tiles = tiles_along(1, height) * tiles_along(2, outputs);
  const Index tiles = part.batch * part.target.extent[0] * image_tiles;
  return points * (tiles + (pass == ConvPass::grad_weight ? 0 : kTilesOfWeight));
}

template <class T, int Outputs>
void run_part(const KernelTable* table, const Correlation& part, const TapCube& cube, const T* source, const T* weight,
              const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  PackedWeights<T> weights(Outputs == 2 ? PackedForm::winograd_f2 : PackedForm::winograd_f4, kernels, part, weight);
  const Problem<T> problem =
      make_problem(part, cube, kernels, winograd_kernels<Outputs>(kernels, cube.height), weights.are_kept());
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const Index blocks = part.groups * problem.cut.blocks;
  if (blocks == 0) return;
  const Index row_parts = std::min(problem.pass_blocks, ceil_divide(2 * threads, blocks));
  const Index part_blocks = ceil_divide(problem.pass_blocks, row_parts);
  const Index tasks = blocks * row_parts;
  const Index work = part.groups * part.pixels() * part.depth() * part.rows / 32;
  const int workers = worker_count(threads, tasks, work);
  Scratch<T> shape;
  const Workspace scratch(workers, Scratch<T>::carve(Carver(), problem, shape));
  std::vector<unsigned char> is_small(static_cast<std::size_t>(part.groups * problem.cut.strips), 1);
  for (Index first = 0; first < problem.row_blocks; first += problem.pass_blocks) {
    const Index stop = std::min(first + problem.pass_blocks, problem.row_blocks);
    const auto transform = [&](T* memory) { return transform_weights(problem, weight, first, stop, memory, threads); };
    if (!weights.pack(problem.pass_weights(), transform))
      return run_packed<T>(table, {part}, source, weight, bias, target, num_threads);
    parallel_for(tasks, workers, [&](Index index, int worker) {
      Scratch<T> own;
      Scratch<T>::carve(Carver(scratch.of(worker)), problem, own);
      const Index group = index / row_parts / problem.cut.blocks, block = index / row_parts % problem.cut.blocks;
      const Index first_part = std::min(first + index % row_parts * part_blocks, stop);
      const Task<T> task{group,
                         problem.cut.first_strip(block),
                         problem.cut.first_strip(block + 1),
                         first_part,
                         std::min(first_part + part_blocks, stop),
                         weights.data() + (group * problem.pass_blocks + first_part - first) * problem.weight_block()};
      run_task(problem, task, source, bias, target + part.target_offset, is_small.data() + group * problem.cut.strips,
               own);
    });
  }
  run_images_directly(table, part, source, weight, bias, target, is_small, num_threads);
}

}  // namespace

template <int Outputs>
bool winograd_wins(const KernelTable& table, const Correlation& part, ConvPass pass) {
  const std::optional<TapCube> cube = winograd_taps(part);
  if (!cube || part.channels < kLeastChannels || part.rows < kLeastRows) return false;
  const Index terms = pass == ConvPass::grad_weight ? part.pixels() : part.depth();
  if (terms < winograd_kernels<Outputs>(table.conv_f32, cube->height).least_terms) return false;
  const Index work = winograd_work(part, *cube, Outputs, pass);
  return work < cube->plane_taps() * part.pixels() && work <= winograd_work(part, *cube, 2, pass);
}

template bool winograd_wins<2>(const KernelTable&, const Correlation&, ConvPass);
template bool winograd_wins<4>(const KernelTable&, const Correlation&, ConvPass);

template <class T, int Outputs>
void run_winograd(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                  const T* bias, T* target, int num_threads) {
  std::vector<Correlation> others;
  for (const Correlation& part : parts) {
    const std::optional<TapCube> cube = winograd_taps(part);
    if (cube) run_part<T, Outputs>(table, part, *cube, source, weight, bias, target, num_threads);
    else others.push_back(part);
  }
  if (!others.empty()) run_packed(table, others, source, weight, bias, target, num_threads);
}

template void run_winograd<float, 2>(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                                     const float*, float*, int);
template void run_winograd<float, 4>(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                                     const float*, float*, int);
template void run_winograd<double, 4>(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                                      const double*, double*, int);
template void run_winograd<double, 2>(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                                      const double*, double*, int);

}  // namespace convpool
