#include "convolution/winograd.hpp"

#include <algorithm>

#include "convolution/packed_correlation.hpp"
#include "convolution/packed_weights.hpp"
#include "convolution/pixel_pieces.hpp"
#include "convolution/winograd_problem.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kLeastChannels = 16, kLeastSmallTileChannels = 32;  // F(2, 2) saves little

template <class T>
using Problem = WinogradProblem<T>;

template <class T>
struct Scratch {
  T *stage, *columns, *transformed, *products, *bias;

  static std::size_t carve(Carver carver, const Problem<T>& problem, Scratch& scratch) {
    const Index lanes = problem.kernels.lanes;
    const Index strip_pixels = problem.cut.tile_height * problem.cut.tile_width * problem.cut.strip_tiles;
    const Index staged = std::max(problem.reader.staged_pixels(problem.cut), problem.phases_at_once * strip_pixels);
    scratch.stage = carver.take<T>(staged * lanes);
    scratch.columns = carver.take<T>(problem.transforms.y.points * problem.reader.columns(problem.cut) * lanes);
    scratch.transformed = carver.take<T>(problem.chunks() * problem.points * problem.tile_pitch);
    scratch.products = carver.take<T>(problem.phases_at_once * problem.phase_products());
    scratch.bias = carver.take<T>(kPointRows);
    return carver.used();
  }
};

// All channels of one strip. False where a value is not finite or too large.
template <class T>
bool transform_strip(const Problem<T>& problem, const T* source, const Strip& strip, Index tile,
                     const Scratch<T>& scratch) noexcept {
  const StripTransform<T> transform{
      problem.kernels, problem.reader,  problem.cut,       problem.transforms.transform_source,
      scratch.stage,   scratch.columns, kTransformedPitch, problem.tile_pitch};
  const std::vector<View>& views = problem.phases.views;
  bool is_small = true;
  for (const View *first = views.data(), *end = first + views.size(), *stop = first; first != end; first = stop) {
    while (stop != end && stop->least[0] == first->least[0]) ++stop;
    is_small &= transform.run(strip, first, stop, source, problem.part.channels, [&](Index number, Index channel) {
      const Index offset = problem.transformed_offset(first - views.data() + number, channel);
      return scratch.transformed + offset + tile * kTransformedPitch;
    });
  }
  return is_small;
}

// products = (or, adding, +=) the sum over one chunk, at one point.
template <class T>
void multiply_chunk(const Problem<T>& problem, bool is_added, const T* transformed, const T* weights, Index tiles,
                    Index rows, Index depth, T* products) noexcept {
  const PointKernels<T>& kernels = problem.kernels.winograd;
  const Index lanes = problem.kernels.lanes, row_vectors = ceil_divide(rows, lanes);
  const Index tile_rows = ceil_divide(tiles, ceil_divide(tiles, kernels.tile_rows));
  const auto& product = is_added ? kernels.add : kernels.set;
  for (Index vector = 0; vector < row_vectors; vector += kernels.tile_vectors) {
    const Index vectors = std::min<Index>(kernels.tile_vectors, row_vectors - vector);
    for (Index tile = 0; tile < tiles; tile += tile_rows)
      product[std::min(tile_rows, tiles - tile) - 1][vectors - 1](
          transformed + tile * kTransformedPitch, weights + vector * lanes,
          products + tile * kProductPitch + vector * lanes, depth);
  }
}

// Products of all points of `tiles` tiles with one block of rows of a phase.
template <class T>
void multiply_points(const Problem<T>& problem, const WinogradPhase& phase, const T* weights, Index tiles, Index rows,
                     const Scratch<T>& scratch, T* products) noexcept {
  const Index planes = static_cast<Index>(phase.planes.size());
  for (Index point = 0; point < problem.points; ++point, products += problem.product_pitch) {
    const T* point_weights = weights + point * problem.weight_pitch;
    const T* transformed = scratch.transformed + point * problem.tile_pitch;
    bool is_added = false;
    for (Index plane = 0; plane < planes; plane += problem.run_planes) {
      if (!takes_part(problem.transforms, phase.planes[static_cast<std::size_t>(plane)], point)) continue;
      const Index view = phase.views[static_cast<std::size_t>(plane)];
      for (Index entry = 0; entry < problem.run_depth(); entry += problem.chunk_depth) {
        multiply_chunk(problem, is_added, transformed + problem.transformed_offset(view, entry),
                       point_weights + (plane * problem.plane_depth + entry) * kPointRows, tiles, rows,
                       std::min(problem.chunk_depth, problem.run_depth() - entry), products);
        is_added = true;
      }
    }
    if (!is_added) std::fill_n(products, tiles * kProductPitch, T{0});
  }
}

// A strip of some phases whose pixels lie between each other in a row.
struct PhaseStrip {
  const WinogradPhase* first;
  Strip strip;                    // of the first phase
  Index columns[kMostPlaneStep];  // of each
  Index all_columns;

  PhaseStrip(const StripCut& cut, const WinogradPhase* phase, Index phases, Index number) noexcept
      : first(phase), strip(cut.strip(phase->part->target, number)), all_columns(0) {
    for (Index each = 0; each < phases; ++each) {
      columns[each] = each == 0 ? strip.columns : cut.strip(phase[each].part->target, number).columns;
      all_columns += columns[each];
    }
  }
};

// One vector of target channels of a strip: straight to the target, or through the stage, which brings the pixels of
// all phases of a row together, where the channels lie apart. Products are those of the first phase.
template <class T>
void write_strip(const Problem<T>& problem, const PhaseStrip& written, const T* products, const T* bias, Index lanes,
                 T* target, T* stage) noexcept {
  const Index vector = problem.kernels.lanes, phases = problem.phases_at_once, columns = written.all_columns;
  const Strip& strip = written.strip;
  const Grid& grid = written.first->part->target;
  const bool is_staged = grid.channel_stride != 1;
  target += written.first->part->target_offset + strip.batch * grid.batch_stride + strip.z * grid.axis_stride[0] +
            strip.y * grid.axis_stride[1] + strip.x * grid.axis_stride[2];
  const Index row_pitch = problem.cut.y_step * grid.axis_stride[1];
  const Index column_pitch = problem.cut.x_step * grid.axis_stride[2] / phases;
  for (Index phase = 0; phase < phases; ++phase) {
    StripTarget<T> values{products + phase * problem.phase_products(),
                          problem.product_pitch,
                          bias,
                          target,
                          row_pitch,
                          column_pitch,
                          strip.rows,
                          written.columns[phase],
                          lanes};
    if (is_staged) {
      values.target = stage + phase * vector;
      values.row_pitch = columns * vector;
      values.column_pitch = phases * vector;
    }
    problem.transforms.transform_products(values);
  }
  if (!is_staged) return;
  const bool is_dense = columns == row_pitch && column_pitch == 1;
  const Index runs = is_dense ? 1 : strip.rows, pixels = is_dense ? strip.rows * columns : columns;
  for (Index run = 0; run < runs; ++run)
    problem.kernels.move_block(lanes, pixels, stage + run * columns * vector, 1, vector, target + run * row_pitch,
                               grid.channel_stride, column_pitch);
}

// Work is cut into (group, block of strips, range of row blocks). `weights` are those of the first row block.
template <class T>
struct Task {
  Index group, first_strip, stop_strip, first_row_block, stop_row_block;
  const T* weights;
};

// One block of rows of all phases.
template <class T>
void run_rows(const Problem<T>& problem, const Task<T>& task, Index block, Index tiles, const T* bias, T* target,
              const Scratch<T>& scratch) noexcept {
  const Correlation& part = problem.part;
  const Index lanes = problem.kernels.lanes, phases = static_cast<Index>(problem.phases.phases.size());
  const Index row = block * problem.row_block, rows = std::min(problem.row_block, part.rows - row);
  const Index first_row = task.group * part.rows + row;
  const T* weights = task.weights + (block - task.first_row_block) * problem.weight_block();
  std::fill_n(scratch.bias, kPointRows, T{0});
  if (bias != nullptr) std::copy_n(bias + first_row, rows, scratch.bias);
  for (Index phase = 0; phase < phases; phase += problem.phases_at_once) {
    for (Index each = 0; each < problem.phases_at_once; ++each)
      multiply_points(problem, problem.phases.phases[static_cast<std::size_t>(phase + each)],
                      weights + (phase + each) * problem.phase_weights(), tiles, rows, scratch,
                      scratch.products + each * problem.phase_products());
    const T* products = scratch.products;
    for (Index index = task.first_strip; index < task.stop_strip; ++index) {
      const PhaseStrip strip(problem.cut, problem.phases.phases.data() + phase, problem.phases_at_once, index);
      for (Index first = 0; first < rows && strip.strip.rows > 0; first += lanes)
        write_strip(problem, strip, products + first, scratch.bias + first, std::min(lanes, rows - first),
                    target + (first_row + first) * part.target.channel_stride, scratch.stage);
      products += problem.cut.strip(part.target, index).tiles * kProductPitch;
    }
  }
}

template <class T>
void run_task(const Problem<T>& problem, const Task<T>& task, const T* source, const T* bias, T* target,
              unsigned char* is_small, const Scratch<T>& scratch) noexcept {
  const Correlation& part = problem.part;
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
  for (Index block = task.first_row_block; block < task.stop_row_block; ++block)
    run_rows(problem, task, block, tiles, bias, target, scratch);
}

// Images with a value that a transform would spread, once more by packed tiles: there it reaches what its windows hold.
template <class T>
void run_images_directly(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                         const T* weight, const T* bias, T* target, const std::vector<unsigned char>& is_small,
                         int num_threads) {
  const Correlation& part = parts.front();
  const std::size_t image_strips = is_small.size() / static_cast<std::size_t>(part.groups * part.batch);
  for (Index image = 0; image < part.batch; ++image) {
    bool is_done = true;
    for (Index group = 0; group < part.groups; ++group) {
      const auto first = is_small.begin() + static_cast<std::ptrdiff_t>(image_strips) * (group * part.batch + image);
      is_done &= std::find(first, first + static_cast<std::ptrdiff_t>(image_strips), 0) ==
                 first + static_cast<std::ptrdiff_t>(image_strips);
    }
    if (is_done) continue;
    std::vector<Correlation> one = parts;
    for (Correlation& each : one) each.batch = 1;
    run_packed<T>(table, one, source + image * part.source.batch_stride, weight, bias,
                  target + image * part.target.batch_stride, num_threads);
  }
}

// Products of a tile for each pair of a source and a target channel, and the taps of one of its pixels, in all phases
// of a stride together.
struct TileProducts {
  Index points, taps;
};

TileProducts tile_products(const Correlation& part, const WinogradPhases& phases, Index outputs) {
  const Index side = std::max(phases.height, phases.width);
  const auto points_of = [&](Index taps) { return outputs + side - 1 - (taps < side ? 1 : 0); };
  const auto rows_of = [&](Index taps) { return phases.height == 1 ? 1 : points_of(taps); };
  if (!part.is_phase()) {
    TileProducts products{0, static_cast<Index>(part.taps.size())};
    for (const TapPlane& plane : phases.phases.front().planes)
      products.points += rows_of(plane.height) * points_of(plane.width);
    return products;
  }
  // Only the largest phase is known; the others have what is left of the kernel, whose taps are neighbours.
  const auto sum_phases = [&](int axis, const auto& points) {
    Index sum = 0;
    for (Index first = 0; first < std::min(part.target_step[axis], part.window[axis]); ++first)
      sum += points(ceil_divide(part.window[axis] - first, part.target_step[axis]));
    return sum;
  };
  return {sum_phases(1, rows_of) * sum_phases(2, points_of), part.window[1] * part.window[2]};
}

Index tiles_of(const Correlation& part, const WinogradPhases& phases, Index outputs) {
  const auto tiles_along = [&](int axis, Index tile) {
    const Index extent = part.target.extent[axis], step = phases.target_distance[axis];
    return std::min(step, extent) * ceil_divide(ceil_divide(extent, step), tile);
  };
  const Index image_tiles = tiles_along(1, phases.height == 1 ? 1 : outputs) * tiles_along(2, outputs);
  return part.batch * part.target.extent[0] * image_tiles;
}

// In products for each pair of a source and a target channel. To transform a weight, or its gradient, costs as much as
// some tiles do; to bring an element to a tile or from it some products, and twice as many where tiles have gaps.
Index winograd_work(const Correlation& part, const WinogradPhases& phases, Index outputs) {
  constexpr Index kManyWeights = 10 << 18;  // transformed, they do not stay in the caches
  const Index element = std::max(phases.target_distance[1], phases.target_distance[2]) > 1 ? 24 : 12;
  Index source_pixels = part.batch, target_pixels = part.pixels();
  for (int axis = 0; axis < kAxes; ++axis) {
    source_pixels *= part.source.extent[axis];
    target_pixels *= part.target_step[axis];
  }
  const Index points = tile_products(part, phases, outputs).points;
  const Index weight_tiles = points * part.rows * part.channels > kManyWeights ? 7 : 5;
  return points * (tiles_of(part, phases, outputs) + weight_tiles) +
         element * (source_pixels / part.rows + target_pixels / part.channels);
}

// Without Winograd, in the same products. What only padding would meet is left out, but for gradients of the weight.
Index direct_work(const Correlation& part, const WinogradPhases& phases, ConvPass pass) {
  const Index all = tile_products(part, phases, 2).taps * part.pixels();
  if (pass == ConvPass::grad_weight || part.pixels() == 0 || !has_padding_to_skip(part)) return all;
  return all * taps_inside(part) / (static_cast<Index>(part.taps.size()) * part.pixels());
}

// Terms of a sum; of all phases, the mean.
Index mean_terms(const Correlation& part, ConvPass pass) {
  if (pass == ConvPass::grad_weight) return part.pixels();
  if (!part.is_phase()) return part.depth();
  Index terms = part.channels;
  for (int axis = 0; axis < kAxes; ++axis) terms = terms * part.window[axis] / part.target_step[axis];
  return terms;
}

template <class T, int Outputs>
void run_phases(const KernelTable* table, const std::vector<Correlation>& parts, const WinogradPhases& phases,
                const T* source, const T* weight, const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  PackedWeights<T> weights(Outputs == 2 ? PackedForm::winograd_f2 : PackedForm::winograd_f4, kernels, parts, weight);
  const Problem<T> problem(phases, kernels, winograd_kernels<Outputs>(kernels, phases.height, phases.width),
                           weights.are_kept());
  const Correlation& part = problem.part;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const Index blocks = part.groups * problem.cut.blocks;
  if (blocks == 0) return;
  const Index row_parts = std::min(problem.pass_blocks, ceil_divide(2 * threads, blocks));
  const Index part_blocks = ceil_divide(problem.pass_blocks, row_parts);
  const Index tasks = blocks * row_parts;
  Index work = 0;
  for (const Correlation& each : parts) work += each.groups * each.pixels() * each.depth() * each.rows / 32;
  const int workers = worker_count(threads, tasks, work);
  Scratch<T> shape;
  const Workspace scratch(workers, Scratch<T>::carve(Carver(), problem, shape));
  std::vector<unsigned char> is_small(static_cast<std::size_t>(part.groups * problem.cut.strips), 1);
  for (Index first = 0; first < problem.row_blocks; first += problem.pass_blocks) {
    const Index stop = std::min(first + problem.pass_blocks, problem.row_blocks);
    const auto transform = [&](T* memory) {
      return transform_winograd_weights(problem, weight, first, stop, memory, threads);
    };
    if (!weights.pack(problem.pass_weights(), transform))
      return run_packed<T>(table, parts, source, weight, bias, target, num_threads);
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
      run_task(problem, task, source, bias, target, is_small.data() + group * problem.cut.strips, own);
    });
  }
  run_images_directly(table, parts, source, weight, bias, target, is_small, num_threads);
}

}  // namespace

template <int Outputs>
bool winograd_wins(const KernelTable& table, const Correlation& part, ConvPass pass, const WinogradDemands& demands) {
  const Index channels = std::min(part.channels, part.rows);
  if (channels < kLeastChannels) return false;
  const std::optional<WinogradPhases> phases = WinogradPhases::find(&part, 1);
  if (!phases || (part.is_phase() && !part.is_one_of_all)) return false;
  const bool has_two_taps = std::max(phases->height, phases->width) == 2;
  if (has_two_taps && Outputs == 2 && channels < kLeastSmallTileChannels) return false;
  const WinogradTerms& least = winograd_kernels<Outputs>(table.conv_f32, phases->height, phases->width).least_terms;
  const Index least_terms = demands.is_highest ? least.highest : part.is_phase() ? least.phases : least.high;
  if (mean_terms(part, pass) < least_terms) return false;
  const Index work = winograd_work(part, *phases, Outputs);
  const Index direct = direct_work(part, *phases, pass);
  // Tiles are multiplied more slowly than pixels.
  Index most_percent = pass == ConvPass::grad_weight ? 70 : 90;
  if (has_two_taps && demands.has_matrices) most_percent = 60;
  return 100 * work < most_percent * direct && work <= winograd_work(part, *phases, 2);
}

template bool winograd_wins<2>(const KernelTable&, const Correlation&, ConvPass, const WinogradDemands&);
template bool winograd_wins<4>(const KernelTable&, const Correlation&, ConvPass, const WinogradDemands&);

template <class T, int Outputs>
void run_winograd(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                  const T* bias, T* target, int num_threads) {
  const std::optional<WinogradPhases> phases = WinogradPhases::find(parts.data(), parts.size());
  if (phases) return run_phases<T, Outputs>(table, parts, *phases, source, weight, bias, target, num_threads);
  if (parts.size() == 1) return run_packed(table, parts, source, weight, bias, target, num_threads);
  for (const Correlation& part : parts)
    run_winograd<T, Outputs>(table, {part}, source, weight, bias, target, num_threads);
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
