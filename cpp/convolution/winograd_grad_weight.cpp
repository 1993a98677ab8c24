// Gradient of the weight at the points: sums over tiles of transformed source times transformed gradient. Planes of
// taps at one z read the same pixels and are summed by one task, each for itself.
#include <algorithm>

#include "convolution/packed_correlation.hpp"
#include "convolution/winograd.hpp"
#include "convolution/winograd_problem.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kWantedTiles = 28;
constexpr Index kMostChannels = 64, kMostPlaneChannels = 128;  // of a task: its sums stay in the second-level cache
constexpr Index kMostSliceElements = 1 << 21;

template <class T>
struct Problem {
  const Correlation& part;
  const WinogradPhases& phases;  // one
  const ConvKernels<T>& kernels;
  const WinogradKernels<T>& transforms;
  StripCut cut;
  StripReader source, gradient;
  Index points;
  Index together;  // planes of one z
  Index channel_block, channel_blocks, row_block, row_blocks;
  Index slices, slice_blocks;
  Index tile_pitch;                               // of a tile's transformed channels
  Index source_pitch, gradient_pitch, sum_pitch;  // from point to point

  const std::vector<TapPlane>& planes() const { return phases.phases.front().planes; }
  Index depth() const { return static_cast<Index>(planes().size()) / together; }
  Index taps() const { return static_cast<Index>(part.taps.size()); }
  // Sums of a block of weights: [channel][tap][row]. There is a task for each z, which sums its own taps.
  Index block_elements() const { return channel_block * taps() * row_block; }
  Index weight_blocks() const { return part.groups * row_blocks * channel_blocks; }
  Index slice_elements() const { return weight_blocks() * block_elements(); }
  Index slice_tasks() const { return weight_blocks() * depth(); }
  // Of one plane, from plane to plane.
  Index plane_source() const { return points * source_pitch; }
  Index plane_sums() const { return points * sum_pitch; }
};

template <class T>
Problem<T> make_problem(const Correlation& part, const WinogradPhases& phases, const ConvKernels<T>& kernels,
                        const WinogradKernels<T>& transforms) {
  Problem<T> problem{part, phases, kernels, transforms, {}, {}, {}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Index lanes = kernels.lanes;
  problem.points = transforms.y.points * transforms.x.points;
  problem.cut = make_strip_cut(part.target, phases.target_distance, part.batch, transforms.y.outputs,
                               transforms.x.outputs, kWantedTiles * 36 / problem.points);
  problem.source = StripReader::of_windows(phases, transforms.y.points, transforms.x.taps - 1);
  problem.gradient = StripReader::of_tiles(phases, transforms.y.outputs);
  problem.together = std::count_if(problem.planes().begin(), problem.planes().end(), [&](const TapPlane& plane) {
    return plane.least[0] == problem.planes().front().least[0];
  });
  const Index most_channels = std::clamp<Index>(kMostPlaneChannels / problem.together, lanes, kMostChannels);
  problem.channel_block = even_block(part.channels, most_channels, lanes);
  problem.channel_blocks = ceil_divide(part.channels, problem.channel_block);
  problem.row_block = even_block(part.rows, kPointRows, lanes);
  problem.row_blocks = ceil_divide(part.rows, problem.row_block);
  const Index slice_tasks = problem.slice_tasks();
  const Index affordable = std::max<Index>(1, kMostSliceElements / problem.slice_elements());
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
    scratch.source = carver.take<T>(problem.together * problem.plane_source());
    scratch.gradient = carver.take<T>(problem.points * problem.gradient_pitch);
    scratch.sums = carver.take<T>(problem.together * problem.plane_sums());
    return carver.used();
  }
};

// What a task sums: the planes of one z of a block of weights.
struct Place {
  Index slice, first_plane, group, channel, channels, row, rows;
  Index block;  // of the weights
};

template <class T>
Place make_place(const Problem<T>& problem, Index task) {
  Place place{};
  place.block = task % problem.weight_blocks();
  task /= problem.weight_blocks();
  place.first_plane = task % problem.depth() * problem.together;
  place.slice = task / problem.depth();
  place.channel = place.block % problem.channel_blocks * problem.channel_block;
  place.row = place.block / problem.channel_blocks % problem.row_blocks * problem.row_block;
  place.group = place.block / problem.channel_blocks / problem.row_blocks;
  place.channels = std::min(problem.channel_block, problem.part.channels - place.channel);
  place.rows = std::min(problem.row_block, problem.part.rows - place.row);
  return place;
}

// One strip of the source and of the gradient. False where a value is not finite or too large.
template <class T>
bool transform_strip(const Problem<T>& problem, const Place& place, const T* source, const T* grad_output,
                     const Strip& strip, Index tile, const Scratch<T>& scratch) noexcept {
  const StripTransform<T> transform{
      problem.kernels, problem.source,  problem.cut,        problem.transforms.transform_source,
      scratch.stage,   scratch.columns, problem.tile_pitch, problem.source_pitch};
  const StripTransform<T> gradient_transform{
      problem.kernels, problem.gradient, problem.cut,   problem.transforms.transform_gradient,
      scratch.stage,   scratch.columns,  kProductPitch, problem.gradient_pitch};
  const View* first = problem.phases.views.data() + place.first_plane;
  const View own{};
  const bool is_source_small =
      transform.run(strip, first, first + problem.together, source, place.channels, [&](Index plane, Index channel) {
        return scratch.source + plane * problem.plane_source() + tile * problem.tile_pitch + channel;
      });
  const bool is_gradient_small =
      gradient_transform.run(strip, &own, &own + 1, grad_output, place.rows,
                             [&](Index, Index row) { return scratch.gradient + tile * kProductPitch + row; });
  return is_source_small && is_gradient_small;
}

// Of one plane of a place.
template <class T>
void multiply_points(const Problem<T>& problem, const Place& place, Index number, Index tiles,
                     const Scratch<T>& scratch) noexcept {
  const PointKernels<T>& kernels = problem.kernels.winograd;
  const Index lanes = problem.kernels.lanes, row_vectors = ceil_divide(place.rows, lanes);
  const Index tile_channels = ceil_divide(place.channels, ceil_divide(place.channels, kernels.tile_rows));
  const TapPlane& plane = problem.planes()[static_cast<std::size_t>(place.first_plane + number)];
  const T* source = scratch.source + number * problem.plane_source();
  T* sums = scratch.sums + number * problem.plane_sums();
  for (Index point = 0; point < problem.points; ++point) {
    if (!takes_part(problem.transforms, plane, point)) continue;
    for (Index vector = 0; vector < row_vectors; vector += kernels.tile_vectors) {
      const Index vectors = std::min<Index>(kernels.tile_vectors, row_vectors - vector);
      for (Index channel = 0; channel < place.channels; channel += tile_channels)
        kernels.gradient[std::min(tile_channels, place.channels - channel) - 1][vectors - 1](
            source + point * problem.source_pitch + channel, problem.tile_pitch,
            scratch.gradient + point * problem.gradient_pitch + vector * lanes,
            sums + point * problem.sum_pitch + channel * kPointRows + vector * lanes, tiles);
    }
  }
}

template <class T>
bool run_task(const Problem<T>& problem, const Place& place, const T* source, const T* grad_output, T* sums,
              const Scratch<T>& scratch) noexcept {
  const Correlation& part = problem.part;
  source += (place.group * part.channels + place.channel) * part.source.channel_stride;
  grad_output += (place.group * part.rows + place.row) * part.target.channel_stride;
  std::fill_n(scratch.sums, problem.together * problem.plane_sums(), T{0});
  bool is_small = true;
  const Index stop_block = std::min((place.slice + 1) * problem.slice_blocks, problem.cut.blocks);
  for (Index block = place.slice * problem.slice_blocks; block < stop_block && !is_interrupted(); ++block) {
    Index tiles = 0;
    for (Index index = problem.cut.first_strip(block); index < problem.cut.first_strip(block + 1); ++index) {
      const Strip strip = problem.cut.strip(part.target, index);
      if (strip.tiles > 0) is_small &= transform_strip(problem, place, source, grad_output, strip, tiles, scratch);
      tiles += strip.tiles;
    }
    for (Index plane = 0; plane < problem.together && tiles > 0; ++plane)
      multiply_points(problem, place, plane, tiles, scratch);
  }
  PointWeights<T> weights{};
  weights.channels = place.channels;
  weights.channel_stride = problem.taps() * problem.row_block;
  weights.point_pitch = problem.sum_pitch;
  weights.rows = place.rows;
  weights.weight = sums;
  for (Index plane = 0; plane < problem.together; ++plane) {
    set_tap_offsets(part, problem.planes()[static_cast<std::size_t>(place.first_plane + plane)],
                    problem.transforms.x.taps, problem.row_block, weights);
    weights.points = scratch.sums + plane * problem.plane_sums();
    problem.transforms.transform_weight_gradient(weights);
  }
  return is_small;
}

// Adds the slices of one block of weights in their order, then moves them to the array. `sums` is that of the first
// slice.
template <class T>
void write_sums(const Problem<T>& problem, const Place& place, T* sums, T* grad_weight) noexcept {
  const Correlation& part = problem.part;
  const Index taps = problem.taps(), elements = place.channels * taps * problem.row_block;
  for (Index slice = 1; slice < problem.slices; ++slice)
    problem.kernels.add_rows(sums + slice * problem.slice_elements(), 1, elements, sums);
  T* target = grad_weight + place.group * part.weight_group_stride + place.channel * part.weight_channel_stride +
              place.row * part.weight_row_stride;
  // Taps and channels that follow each other in the array are one run.
  const bool is_run = has_dense_weights(part);
  const Index runs = is_run ? 1 : taps, count = is_run ? place.channels * taps : place.channels;
  for (Index run = 0; run < runs; ++run)
    problem.kernels.move_block(count, place.rows, sums + run * problem.row_block,
                               is_run ? problem.row_block : taps * problem.row_block, 1,
                               target + (is_run ? 0 : part.taps[static_cast<std::size_t>(run)].weight_offset),
                               is_run ? 1 : part.weight_channel_stride, part.weight_row_stride);
}

}  // namespace

template <class T, int Outputs>
void winograd_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                          T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const WinogradPhases phases = *WinogradPhases::find(&part, 1);
  const Problem<T> problem =
      make_problem(part, phases, kernels, winograd_kernels<Outputs>(kernels, phases.height, phases.width));
  const Index tasks = problem.slices * problem.slice_tasks();
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const int workers = worker_count(threads, tasks, part.groups * part.pixels() * part.depth() * part.rows / 32);
  const Workspace memory(1, static_cast<std::size_t>(problem.slices * problem.slice_elements()) * sizeof(T));
  T* sums = reinterpret_cast<T*>(memory.of(0));  // [slice][block of weights]
  const auto sums_of = [&](const Place& place) {
    return sums + place.slice * problem.slice_elements() + place.block * problem.block_elements();
  };
  Scratch<T> shape;
  const Workspace scratch(workers, Scratch<T>::carve(Carver(), problem, shape));
  std::vector<unsigned char> is_small(static_cast<std::size_t>(tasks), 1);
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> own;
    Scratch<T>::carve(Carver(scratch.of(worker)), problem, own);
    const Place place = make_place(problem, task);
    is_small[static_cast<std::size_t>(task)] = run_task(problem, place, source, grad_output, sums_of(place), own);
  });
  if (std::find(is_small.begin(), is_small.end(), 0) != is_small.end())
    return packed_grad_weight<T>(table, part, source, grad_output, grad_weight, num_threads);
  parallel_for(problem.weight_blocks(), workers, [&](Index block, int) {
    const Place place = make_place(problem, block);
    write_sums(problem, place, sums_of(place), grad_weight);
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
