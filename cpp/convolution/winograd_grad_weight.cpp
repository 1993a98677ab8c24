// Gradient of the weight at the points: sums over tiles of transformed source times transformed gradient.
#include <algorithm>

#include "convolution/packed_correlation.hpp"
#include "convolution/tap_cube.hpp"
#include "convolution/winograd.hpp"
#include "convolution/winograd_strips.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kWantedTiles = 28;
constexpr Index kMostChannels = 64;  // of a task; its sums at the points stay in the second-level cache
constexpr Index kMostSliceElements = 1 << 21;

template <class T>
struct Problem {
  const Correlation& part;
  const ConvKernels<T>& kernels;
  const WinogradKernels<T>& transforms;
  const TapCube& cube;
  StripCut cut;
  StripReader source, gradient;
  Index points;
  Index channel_block, channel_blocks, row_block, row_blocks;
  Index slices, slice_blocks;
  Index tile_pitch;                               // of a tile's transformed channels
  Index source_pitch, gradient_pitch, sum_pitch;  // from point to point

  Index tap_tasks() const { return channel_blocks * row_blocks; }
  Index tasks() const { return slices * part.groups * cube.depth * tap_tasks(); }
  // Sums of one task: [channel][tap][row].
  Index task_elements() const { return channel_block * cube.plane_taps() * row_block; }
};

template <class T>
Problem<T> make_problem(const Correlation& part, const TapCube& cube, const ConvKernels<T>& kernels,
                        const WinogradKernels<T>& transforms) {
  Problem<T> problem{part, kernels, transforms, cube, {}, {}, {}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Index lanes = kernels.lanes;
  problem.points = transforms.y.points * transforms.x.points;
  problem.cut = make_strip_cut(part.target, cube, part.batch, transforms.y.outputs, transforms.x.outputs,
                               kWantedTiles * 36 / problem.points);
  problem.source = {part.source,   part.padding_mode,   cube.least[1],
                    cube.least[2], transforms.y.points, transforms.x.taps - 1};
  problem.gradient = {part.target, PaddingMode::zeros, 0, 0, transforms.y.outputs, 0};
  problem.channel_block = even_block(part.channels, kMostChannels, lanes);
  problem.channel_blocks = ceil_divide(part.channels, problem.channel_block);
  problem.row_block = even_block(part.rows, kPointRows, lanes);
  problem.row_blocks = ceil_divide(part.rows, problem.row_block);
  const Index slice_tasks = part.groups * problem.cube.depth * problem.tap_tasks();
  const Index affordable = std::max<Index>(1, kMostSliceElements / (slice_tasks * problem.task_elements()));
  problem.slices =
      std::max<Index>(1, std::min({ceil_divide(kWantedTasks, slice_tasks), affordable, problem.cut.blocks}));
  problem.slice_blocks = ceil_divide(problem.cut.blocks, problem.slices);
  problem.slices = std::max<Index>(1, ceil_divide(problem.cut.blocks, std::max<Index>(1, problem.slice_blocks)));
  problem.tile_pitch = odd_lines<T>(problem.channel_block);
  problem.source_pitch = odd_lines<T>(problem.cut.block_tiles() * problem.tile_pitch);
  problem.gradient_pitch = odd_lines<T>(problem.cut.block_tiles() * kProductPitch);
  problem.sum_pitch = odd_lines<T>(problem.channel_block * kPointRows);
  return problem;
}

template <class T>
struct Scratch {
  T *stage, *columns, *source, *gradient, *sums;

  static std::size_t carve(Carver carver, const Problem<T>& problem, Scratch& scratch) {
    const Index lanes = problem.kernels.lanes;
    scratch.stage = carver.take<T>(problem.source.staged_pixels(problem.cut) * lanes);
    scratch.columns = carver.take<T>(problem.transforms.y.points * problem.source.columns(problem.cut) * lanes);
    scratch.source = carver.take<T>(problem.points * problem.source_pitch);
    scratch.gradient = carver.take<T>(problem.points * problem.gradient_pitch);
    scratch.sums = carver.take<T>(problem.points * problem.sum_pitch);
    return carver.used();
  }
};

// What a task sums: a block of channels at one tap along z, a block of rows.
struct Place {
  Index slice, group, z, channel, channels, row, rows;
};

template <class T>
Place make_place(const Problem<T>& problem, Index task) {
  Place place{};
  place.channel = task % problem.channel_blocks * problem.channel_block;
  task /= problem.channel_blocks;
  place.row = task % problem.row_blocks * problem.row_block;
  task /= problem.row_blocks;
  place.z = task % problem.cube.depth;
  task /= problem.cube.depth;
  place.group = task % problem.part.groups;
  place.slice = task / problem.part.groups;
  place.channels = std::min(problem.channel_block, problem.part.channels - place.channel);
  place.rows = std::min(problem.row_block, problem.part.rows - place.row);
  return place;
}

// One strip of the source and of the gradient. False where a value is not finite or too large.
template <class T>
bool transform_strip(const Problem<T>& problem, const Place& place, const T* source, const T* grad_output,
                     const Strip& strip, Index tile, const Scratch<T>& scratch) noexcept {
  const Index lanes = problem.kernels.lanes;
  const auto transform = [&](const StripReader& reader, bool (*kernel)(const StripSource<T>&), const T* array, Index z,
                             Index channels, T* target, Index tile_pitch, Index point_pitch) {
    bool is_small = true;
    for (Index channel = 0; channel < channels; channel += lanes) {
      StripSource<T> values =
          reader.read(problem.kernels, problem.cut, strip, z, array + channel * reader.grid.channel_stride,
                      std::min(lanes, channels - channel), scratch.stage);
      values.columns = scratch.columns;
      values.transformed = target + tile * tile_pitch + channel;
      values.tile_pitch = tile_pitch;
      values.point_pitch = point_pitch;
      is_small &= kernel(values);
    }
    return is_small;
  };
  const bool is_source_small = transform(problem.source, problem.transforms.transform_source, source,
                                         strip.z + problem.cube.least[0] + place.z * problem.cube.dilation[0],
                                         place.channels, scratch.source, problem.tile_pitch, problem.source_pitch);
  const bool is_gradient_small =
      transform(problem.gradient, problem.transforms.transform_gradient, grad_output, strip.z, place.rows,
                scratch.gradient, kProductPitch, problem.gradient_pitch);
  return is_source_small && is_gradient_small;
}

template <class T>
void multiply_points(const Problem<T>& problem, const Place& place, Index tiles, const Scratch<T>& scratch) noexcept {
  const PointKernels<T>& kernels = problem.kernels.winograd;
  const Index lanes = problem.kernels.lanes, row_vectors = ceil_divide(place.rows, lanes);
  const Index tile_channels = ceil_divide(place.channels, ceil_divide(place.channels, kernels.tile_rows));
  for (Index point = 0; point < problem.points; ++point)
    for (Index vector = 0; vector < row_vectors; vector += kernels.tile_vectors) {
      const Index vectors = std::min<Index>(kernels.tile_vectors, row_vectors - vector);
      for (Index channel = 0; channel < place.channels; channel += tile_channels)
        kernels.gradient[std::min(tile_channels, place.channels - channel) - 1][vectors - 1](
            scratch.source + point * problem.source_pitch + channel, problem.tile_pitch,
            scratch.gradient + point * problem.gradient_pitch + vector * lanes,
            scratch.sums + point * problem.sum_pitch + channel * kPointRows + vector * lanes, tiles);
    }
}

template <class T>
bool run_task(const Problem<T>& problem, const Place& place, const T* source, const T* grad_output, T* sums,
              const Scratch<T>& scratch) noexcept {
  const Correlation& part = problem.part;
  source += (place.group * part.channels + place.channel) * part.source.channel_stride;
  grad_output += (place.group * part.rows + place.row) * part.target.channel_stride;
  std::fill_n(scratch.sums, problem.points * problem.sum_pitch, T{0});
  bool is_small = true;
  const Index stop_block = std::min((place.slice + 1) * problem.slice_blocks, problem.cut.blocks);
  for (Index block = place.slice * problem.slice_blocks; block < stop_block && !is_interrupted(); ++block) {
    Index tiles = 0;
    for (Index index = problem.cut.first_strip(block); index < problem.cut.first_strip(block + 1); ++index) {
      const Strip strip = problem.cut.strip(part.target, index);
      if (strip.tiles > 0) is_small &= transform_strip(problem, place, source, grad_output, strip, tiles, scratch);
      tiles += strip.tiles;
    }
    if (tiles > 0) multiply_points(problem, place, tiles, scratch);
  }
  PointWeights<T> weights{};
  for (Index tap = 0; tap < problem.cube.plane_taps(); ++tap) weights.offsets[tap] = tap * problem.row_block;
  weights.channels = place.channels;
  weights.channel_stride = problem.cube.plane_taps() * problem.row_block;
  weights.point_pitch = problem.sum_pitch;
  weights.rows = place.rows;
  weights.weight = sums;
  weights.points = scratch.sums;
  problem.transforms.transform_weight_gradient(weights);
  return is_small;
}

// Adds the slices of one task's place in their order, then moves them to the array. `sums` is that of the first slice.
template <class T>
void write_sums(const Problem<T>& problem, const Place& place, Index slice_pitch, T* sums, T* grad_weight) noexcept {
  const Correlation& part = problem.part;
  const Index elements = place.channels * problem.cube.plane_taps() * problem.row_block;
  for (Index slice = 1; slice < problem.slices; ++slice)
    for (Index i = 0; i < elements; ++i) sums[i] += sums[slice * slice_pitch + i];
  const Index* offsets = problem.cube.weight_offsets.data() + place.z * problem.cube.plane_taps();
  T* target = grad_weight + place.group * part.weight_group_stride + place.channel * part.weight_channel_stride +
              place.row * part.weight_row_stride;
  // Taps and channels that follow each other in the array are one run.
  const bool is_run = problem.cube.has_dense_weights(part);
  const Index taps = problem.cube.plane_taps(), runs = is_run ? 1 : taps;
  const Index count = is_run ? place.channels * taps : place.channels;
  const Index step = is_run ? problem.row_block : taps * problem.row_block;
  for (Index run = 0; run < runs; ++run)
    problem.kernels.move_block(count, place.rows, sums + run * problem.row_block, step, 1,
                               target + (is_run ? 0 : offsets[run]), is_run ? 1 : part.weight_channel_stride,
                               part.weight_row_stride);
}

}  // namespace

template <class T, int Outputs>
void winograd_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                          T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const TapCube cube = *TapCube::find(part);
  const Problem<T> problem = make_problem(part, cube, kernels, winograd_kernels<Outputs>(kernels, cube.height));
  const Index tasks = problem.tasks(), slice_tasks = tasks / problem.slices;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const int workers = worker_count(threads, tasks, part.groups * part.pixels() * part.depth() * part.rows / 32);
  const Workspace memory(1, static_cast<std::size_t>(tasks * problem.task_elements()) * sizeof(T));
  T* sums = reinterpret_cast<T*>(memory.of(0));
  Scratch<T> shape;
  const Workspace scratch(workers, Scratch<T>::carve(Carver(), problem, shape));
  std::vector<unsigned char> is_small(static_cast<std::size_t>(tasks), 1);
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> own;
    Scratch<T>::carve(Carver(scratch.of(worker)), problem, own);
    is_small[static_cast<std::size_t>(task)] =
        run_task(problem, make_place(problem, task), source, grad_output, sums + task * problem.task_elements(), own);
  });
  if (std::find(is_small.begin(), is_small.end(), 0) != is_small.end())
    return packed_grad_weight<T>(table, part, source, grad_output, grad_weight, num_threads);
  parallel_for(slice_tasks, workers, [&](Index task, int) {
    write_sums(problem, make_place(problem, task), slice_tasks * problem.task_elements(),
               sums + task * problem.task_elements(), grad_weight);
  });
}

template void winograd_grad_weight<float, 2>(const KernelTable*, const Correlation&, const float*, const float*, float*,
                                             int);
template void winograd_grad_weight<float, 4>(const KernelTable*, const Correlation&, const float*, const float*, float*,
                                             int);
template void winograd_grad_weight<double, 2>(const KernelTable*, const Correlation&, const double*, const double*,
                                              double*, int);
template void winograd_grad_weight<double, 4>(const KernelTable*, const Correlation&, const double*, const double*,
                                              double*, int);

}  // namespace convpool
