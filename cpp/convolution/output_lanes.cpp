#include "convolution/output_lanes.hpp"

#include <algorithm>

#include "convolution/output_lane_cut.hpp"
#include "convolution/packed_weights.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kDepthChunk = 128;  // products summed in a register, as in packed tiles

constexpr Index kWantedBoxes = 16;  // of all images

// Finished rows are moved together until they have this many pixels.
constexpr Index kMovedPixels = 512;

template <class T>
struct Call {
  const ConvKernels<T>& kernels;
  const OutputLaneCut& cut;
  const T* source;
  const T* weights;  // [group][block][entry][width]
  const T* bias;     // [group][block][width]
  T* target;

  Index packed_rows() const { return cut.blocks * cut.width; }  // output channels of a group
  Index rows_at_once() const {
    const Index columns = std::max<Index>(cut.box_columns, 1);
    return std::clamp<Index>(kMovedPixels / columns, 1, cut.box_rows);
  }
};

template <class T>
void pack_block(const OutputLaneCut& cut, Index group, Index block, const T* weight, T* packed) noexcept {
  const Correlation& part = cut.part;
  const Index width = cut.width, channels = cut.channels_of(block);
  weight += group * part.weight_group_stride + block * width * part.weight_row_stride;
  for (const Index offset : cut.weight_offsets) {
    for (Index lane = 0; lane < width; ++lane)
      packed[lane] = lane < channels ? weight[offset + lane * part.weight_row_stride] : T{0};
    packed += width;
  }
}

// Zeros where there is none.
template <class T>
void pack_bias(const OutputLaneCut& cut, const T* bias, T* packed) noexcept {
  const Index rows = cut.part.rows, packed_rows = cut.blocks * cut.width;
  std::fill_n(packed, cut.part.groups * packed_rows, T{0});
  if (bias == nullptr) return;
  for (Index group = 0; group < cut.part.groups; ++group)
    std::copy_n(bias + group * rows, rows, packed + group * packed_rows);
}

// How many pixels a kernel should take of a row: few calls and few pixels done twice.
template <class T>
Index pixels_at_once(const Call<T>& call, Index columns) noexcept {
  Index best = 1, least_cost = 3 * columns;
  for (Index pixels = 2; pixels <= std::min<Index>(columns, kMostOutputPixels); ++pixels) {
    const Index cost = ceil_divide(columns, pixels) * (pixels + 2);
    if (call.kernels.output_lane.taps[call.cut.vectors - 1][pixels - 1][0] == nullptr || cost > least_cost) continue;
    best = pixels;
    least_cost = cost;
  }
  return best;
}

// One target row of a block. Tiles of a pixel less make up for what a whole number of tiles would compute twice; where
// there is no such kernel, the last pixels overlap those before them.
template <class T>
void run_row(const Call<T>& call, OutputLanes<T> tile, Index columns, Index at_once, const T* source,
             T* target) noexcept {
  const OutputLaneCut& cut = call.cut;
  const auto& kernels = call.kernels.output_lane.taps[cut.vectors - 1];
  const Index left_over = ceil_divide(columns, at_once) * at_once - columns;
  const bool has_short = at_once > 1 && kernels[at_once - 2][0] != nullptr && left_over <= columns / at_once;
  const Index first_short = has_short ? columns - left_over * (at_once - 1) : columns;
  const T* weights = tile.weights;
  for (Index x = 0; x < columns;) {
    const Index pixels = at_once - (x >= first_short), pixel = std::min(x, columns - pixels);
    tile.source = source + pixel * tile.step;
    tile.target = target + pixel * tile.target_pitch;
    tile.is_added = false;
    for (Index entry = 0; entry < cut.depth(); entry += kDepthChunk) {
      tile.weights = weights + entry * cut.width;
      tile.offsets = cut.offsets.data() + entry;
      tile.depth = std::min(kDepthChunk, cut.depth() - entry);
      kernels[pixels - 1][tile.step == 1](tile);
      tile.is_added = true;
    }
    x = pixel + pixels;
  }
}

// Rows of finished pixels to their place, a vector of planes at a time.
template <class T>
void move_rows(const Call<T>& call, const T* result, Index channels, Index rows, Index columns, T* target) noexcept {
  const Grid& grid = call.cut.part.target;
  const Index width = call.cut.width, lanes = call.kernels.lanes;
  const bool is_dense = grid.axis_stride[1] == columns * grid.axis_stride[2];
  const Index moves = is_dense ? 1 : rows, pixels = is_dense ? rows * columns : columns;
  for (Index row = 0; row < moves; ++row, result += columns * width, target += grid.axis_stride[1]) {
    if (grid.channel_stride == 1) {
      call.kernels.move_block(pixels, channels, result, width, 1, target, grid.axis_stride[2], 1);
      continue;
    }
    for (Index channel = 0; channel < channels; channel += lanes)
      call.kernels.move_block(std::min(lanes, channels - channel), pixels, result + channel, 1, width,
                              target + channel * grid.channel_stride, grid.channel_stride, grid.axis_stride[2]);
  }
}

// One block of output channels of a box whose tile is packed.
template <class T>
void run_block(const Call<T>& call, Index group, Index block, const TargetBox& box, const T* packed,
               T* result) noexcept {
  const OutputLaneCut& cut = call.cut;
  const Grid& grid = cut.part.target;
  const Index first = group * call.packed_rows() + block * cut.width, at_once = pixels_at_once(call, box.columns);
  OutputLanes<T> tile{};
  tile.step = cut.step;
  tile.weights = call.weights + first * cut.depth();
  tile.bias = call.bias + first;
  tile.target_pitch = cut.is_direct ? grid.axis_stride[2] : cut.width;
  packed += cut.group_offset(group);
  T* target = call.target + cut.part.target_offset + box.batch * grid.batch_stride + box.z * grid.axis_stride[0] +
              box.y * grid.axis_stride[1] + box.x * grid.axis_stride[2] +
              (group * cut.part.rows + block * cut.width) * grid.channel_stride;
  for (Index y = 0; y < box.rows; y += call.rows_at_once()) {
    const Index rows = std::min(call.rows_at_once(), box.rows - y);
    T* place = target + y * grid.axis_stride[1];
    for (Index row = 0; row < rows; ++row)
      run_row(call, tile, box.columns, at_once, packed + (y + row) * cut.tile.target_row_pitch(),
              cut.is_direct ? place + row * grid.axis_stride[1] : result + row * box.columns * cut.width);
    if (!cut.is_direct) move_rows(call, result, cut.channels_of(block), rows, box.columns, place);
  }
}

template <class T>
void run_part(const KernelTable& table, const Correlation& part, const T* source, const T* weight, const T* bias,
              T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(table);
  // Rows around a border between boxes are packed for both, so there are no more of them than fill the threads.
  const Index image_boxes = ceil_divide(kWantedBoxes, std::max<Index>(part.batch * part.target.extent[0], 1));
  const OutputLaneCut cut(part, kernels.lanes, kernels.output_lane.most_vectors, image_boxes, sizeof(T));
  const Index packed_rows = part.groups * cut.blocks * cut.width;
  PackedWeights<T> packed(PackedForm::output_lanes, kernels, part, weight);
  packed.pack(packed_rows * cut.depth(), [&](T* memory) {
    for (Index group = 0; group < part.groups; ++group)
      for (Index block = 0; block < cut.blocks; ++block)
        pack_block(cut, group, block, weight, memory + (group * cut.blocks + block) * cut.width * cut.depth());
  });
  const Workspace packed_bias(1, static_cast<std::size_t>(packed_rows) * sizeof(T));
  pack_bias(cut, bias, reinterpret_cast<T*>(packed_bias.of(0)));
  const Call<T> call{kernels, cut, source, packed.data(), reinterpret_cast<const T*>(packed_bias.of(0)), target};

  const Index task_groups = cut.shares_tile() ? part.groups : 1, tasks = cut.boxes() * (part.groups / task_groups);
  const int workers =
      worker_count(num_threads, tasks, part.groups * part.pixels() * (cut.depth() * part.rows / 16 + 1));
  const auto carve = [&](Carver carver, T*& tile, T*& result) {
    tile = carver.take<T>(cut.tile_elements());
    result = carver.take<T>(call.rows_at_once() * cut.box_columns * cut.width);
    return carver.used();
  };
  T *tile, *result;
  const Workspace scratch(workers, carve(Carver(), tile, result));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    T *worker_tile, *worker_result;
    carve(Carver(scratch.of(worker)), worker_tile, worker_result);
    const TargetBox box = cut.box(task % cut.boxes());
    const Index first = task / cut.boxes() * task_groups;
    cut.pack(kernels, source, first, box, worker_tile);
    for (Index group = first; group < first + task_groups; ++group)
      for (Index block = 0; block < cut.blocks; ++block) run_block(call, group, block, box, worker_tile, worker_result);
  });
}

}  // namespace

// Few channels to read, and enough output channels to fill most of the lanes.
bool output_lanes_accept(const KernelTable& table, const Correlation& part) {
  constexpr Index kMostChannels = 16, kLeastRows = 12, kMostWeights = 1 << 18, kMostTileElements = 1 << 18;
  const Index lanes = table.conv_f32.lanes;
  const bool is_last = part.source.channel_stride == 1;
  const Index pixel = is_last ? part.source.axis_stride[2] : part.channels;
  return part.channels <= kMostChannels && part.rows >= kLeastRows && part.taps.size() > 1 &&
         5 * part.rows >= 3 * ceil_divide(part.rows, lanes) * lanes && part.depth() * part.rows <= kMostWeights &&
         PaddedRows(part, 1, std::min<Index>(part.target.extent[2], 512)).channel_pitch() * pixel <=
             kMostTileElements &&
         // A row is one run of elements; boxes of padding may have theirs along another axis.
         part.source.axis_stride[2] == (is_last ? part.groups * part.channels : 1);
}

// Channels last a tile holds all groups, and each would pack it again; channels first the gradients are transposed,
// which enough products must pay for.
bool output_lane_grad_weight_accepts(const KernelTable& table, const Correlation& part) {
  constexpr Index kLeastDepth = 64;
  const bool is_last = part.source.channel_stride == 1;
  return output_lanes_accept(table, part) && (is_last ? part.groups == 1 : part.depth() >= kLeastDepth);
}

template <class T>
void run_output_lanes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads) {
  for (const Correlation& part : parts) run_part(*table, part, source, weight, bias, target, num_threads);
}

template void run_output_lanes(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                               const float*, float*, int);
template void run_output_lanes(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                               const double*, double*, int);

}  // namespace convpool
