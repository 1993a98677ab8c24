#include "convolution/winograd_problem.hpp"

#include <algorithm>

#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kLargeWeightBytes = 4 << 20;  // of transformed weights: beyond the second-level cache
constexpr Index kMostWeightBytes = 10 << 20;  // held at once: larger blocks come as fresh pages each time
constexpr Index kMostTileBytes = 7 << 19;     // of transformed tiles and their products
constexpr Index kMostStagedTaps = 256;        // of a row of weights, all channels of a task

// Tiles of a block. Transformed, they lie in the second-level cache beside their products; weights that do not are read
// once for each block, so there should be fewer blocks.
template <class T>
Index wanted_tiles(const WinogradProblem<T>& problem) {
  const Index few = 28 * 36 / problem.points;  // of six by six points each
  const Index weights = problem.points * problem.planes * problem.plane_depth * problem.part.rows;
  const Index tile_elements = problem.chunks() * kTransformedPitch + problem.phases_at_once * kProductPitch;
  const Index tile_bytes = problem.points * tile_elements * Index{sizeof(T)};
  const Index wanted = weights * Index{sizeof(T)} > kLargeWeightBytes ? 2 * few : few;
  return std::min(wanted, kMostTileBytes / tile_bytes);
}

// Where rows lie apart in the array, they are brought together first: [channel][tap][row]. Taps that follow each other
// move with their channels; otherwise channels that do. (Neither: the transform gathers.)
template <class T>
bool stage_weights(const WinogradProblem<T>& problem, const Correlation& part, PointWeights<T>& weights,
                   T* stage) noexcept {
  const Index pitch = problem.row_block, taps = static_cast<Index>(part.taps.size());
  const bool is_run = has_dense_weights(part);
  if (taps > kMostStagedTaps || weights.row_stride == 1 || (!is_run && weights.channel_stride != 1)) return false;
  const Index runs = is_run ? 1 : taps, count = is_run ? taps * weights.channels : weights.channels;
  for (Index run = 0; run < runs; ++run)
    problem.kernels.move_block(count, weights.rows,
                               weights.weight + part.taps[static_cast<std::size_t>(run)].weight_offset, 1,
                               weights.row_stride, stage + run * pitch, is_run ? pitch : taps * pitch, 1);
  weights.weight = stage;
  weights.channel_stride = taps * pitch;
  weights.row_stride = 1;
  return true;
}

// Channels of a task: as many as fit its stage.
template <class T>
Index weight_channels(const WinogradProblem<T>& problem) {
  constexpr Index kMostChannels = 16;
  std::size_t taps = 1;
  for (const WinogradPhase& phase : problem.phases.phases) taps = std::max(taps, phase.part->taps.size());
  return std::clamp<Index>(kMostStagedTaps / static_cast<Index>(taps), 1, kMostChannels);
}

// Some channels of one phase and of one block of rows.
template <class T>
bool transform_block(const WinogradProblem<T>& problem, const WinogradPhase& phase, const T* weight, T* transformed,
                     Index row, Index channel, Index channels, T* stage) noexcept {
  const Correlation& part = *phase.part;
  PointWeights<T> weights{};
  weights.channels = std::min(channels, part.channels - channel);
  weights.channel_stride = part.weight_channel_stride;
  weights.rows = std::min(problem.row_block, part.rows - row);
  weights.row_stride = part.weight_row_stride;
  weights.weight = const_cast<T*>(weight + row * part.weight_row_stride + channel * part.weight_channel_stride);
  weights.point_pitch = problem.weight_pitch;
  const bool is_staged = stage_weights(problem, part, weights, stage);
  bool is_small = true;
  for (const TapPlane& plane : phase.planes) {
    set_tap_offsets(part, plane, problem.transforms.x.taps, is_staged ? problem.row_block : 0, weights);
    weights.points = transformed + channel * kPointRows;
    is_small &= problem.transforms.transform_weights(weights);
    transformed += problem.plane_depth * kPointRows;
  }
  return is_small;
}

}  // namespace

template <class T>
WinogradProblem<T>::WinogradProblem(const WinogradPhases& all, const ConvKernels<T>& conv_kernels,
                                    const WinogradKernels<T>& tiles, bool keeps_weights)
    : phases(all), part(*all.phases.front().part), kernels(conv_kernels), transforms(tiles),
      reader(StripReader::of_windows(all, tiles.y.points, tiles.x.taps - 1)), points(tiles.y.points * tiles.x.points),
      planes(0) {
  const Index lanes = kernels.lanes;
  for (const WinogradPhase& phase : all.phases) planes = std::max(planes, static_cast<Index>(phase.planes.size()));
  const bool has_one_run = all.phases.size() == 1 && all.are_full();
  plane_depth = planes == 1 ? part.channels : ceil_divide(part.channels, lanes) * lanes;
  run_planes = has_one_run ? planes : 1;
  chunk_depth = even_block(run_depth(), kPointDepth, lanes);
  run_chunks = ceil_divide(run_depth(), chunk_depth);
  const bool lie_between = all.phases.size() > 1 && part.target.channel_stride != 1;
  phases_at_once = lie_between ? part.target_step[2] : 1;
  cut = make_strip_cut(part.target, all.target_distance, part.batch, tiles.y.outputs, tiles.x.outputs,
                       wanted_tiles(*this));
  row_block = even_block(part.rows, kPointRows, lanes);
  row_blocks = ceil_divide(part.rows, row_block);
  weight_pitch = odd_lines<T>(planes * plane_depth * kPointRows);
  const Index block_bytes = part.groups * weight_block() * Index{sizeof(T)};
  const Index most_blocks = keeps_weights ? row_blocks : kMostWeightBytes / block_bytes;
  pass_blocks = std::clamp<Index>(most_blocks, 1, row_blocks);
  tile_pitch = odd_lines<T>(cut.block_tiles() * kTransformedPitch);
  product_pitch = odd_lines<T>(cut.block_tiles() * kProductPitch);
}

template <class T>
void set_tap_offsets(const Correlation& part, const TapPlane& plane, Index side, Index stage_pitch,
                     PointWeights<T>& weights) noexcept {
  Index* next = weights.offsets;
  for (Index y = 0; y < kMostSideTaps; ++y)
    for (Index x = 0; x < side; ++x) {
      const Index tap = plane.taps[y][x];
      if (tap < 0) *next++ = -1;
      else *next++ = stage_pitch > 0 ? tap * stage_pitch : part.taps[static_cast<std::size_t>(tap)].weight_offset;
    }
}

template <class T>
bool transform_winograd_weights(const WinogradProblem<T>& problem, const T* weight, Index first, Index stop,
                                T* transformed, int num_threads) {
  const Correlation& part = problem.part;
  const Index channels = weight_channels(problem), channel_blocks = ceil_divide(part.channels, channels);
  const Index phases = static_cast<Index>(problem.phases.phases.size()), block_tasks = phases * channel_blocks;
  const Index group_tasks = (stop - first) * block_tasks, tasks = part.groups * group_tasks;
  const int workers = worker_count(num_threads, tasks, problem.pass_weights());
  if (problem.plane_depth != part.channels) std::fill_n(transformed, problem.pass_weights(), T{0});
  std::vector<unsigned char> is_small(static_cast<std::size_t>(tasks), 1);
  const Workspace stage(workers, static_cast<std::size_t>(kMostStagedTaps * problem.row_block) * sizeof(T));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    const Index group = task / group_tasks, block = task % group_tasks / block_tasks;
    const Index phase = task % block_tasks / channel_blocks, channel = task % channel_blocks * channels;
    T* target =
        transformed + (group * problem.pass_blocks + block) * problem.weight_block() + phase * problem.phase_weights();
    is_small[static_cast<std::size_t>(task)] = transform_block(
        problem, problem.phases.phases[static_cast<std::size_t>(phase)], weight + group * part.weight_group_stride,
        target, (first + block) * problem.row_block, channel, channels, reinterpret_cast<T*>(stage.of(worker)));
  });
  return std::find(is_small.begin(), is_small.end(), 0) == is_small.end();
}

#define CONVPOOL_WINOGRAD_PROBLEM(T)                                                                           \
  template struct WinogradProblem<T>;                                                                          \
  template void set_tap_offsets(const Correlation&, const TapPlane&, Index, Index, PointWeights<T>&) noexcept; \
  template bool transform_winograd_weights(const WinogradProblem<T>&, const T*, Index, Index, T*, int)
CONVPOOL_WINOGRAD_PROBLEM(float);
CONVPOOL_WINOGRAD_PROBLEM(double);
#undef CONVPOOL_WINOGRAD_PROBLEM

}  // namespace convpool
