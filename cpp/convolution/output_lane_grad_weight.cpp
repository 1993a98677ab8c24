// Gradient of the weight with output channels as lanes: every source element of a tap meets the gradients of its pixel.
#include "convolution/output_lane_cut.hpp"
#include "convolution/output_lanes.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostPartials = 1 << 21;  // elements of all slices
constexpr Index kProductsAtOnce = 128;    // summed in a register

template <class T>
struct Call {
  const ConvKernels<T>& kernels;
  const OutputLaneCut& cut;
  Index slices, boxes_per_slice;
  const T *source, *grad_output;
  T* partial;  // [group][block][slice][entry][width]

  Index block_sums() const noexcept { return cut.depth() * cut.width; }
  Index blocks() const noexcept { return cut.part.groups * cut.blocks; }
  Index box_pixels() const noexcept { return cut.box_rows * cut.box_columns; }
};

template <class T>
struct Scratch {
  T *tile, *gradients;
  static std::size_t carve(Carver carver, const Call<T>& call, Scratch& scratch) {
    scratch.tile = carver.take<T>(call.cut.tile_elements());
    scratch.gradients = carver.take<T>(call.cut.is_direct ? 0 : call.box_pixels() * call.cut.width);
    return carver.used();
  }
};

// The gradients of a block as [pixel][width]; lanes past the last channel stay what they are.
template <class T>
void pack_gradients(const Call<T>& call, const T* gradients, Index channels, const TargetBox& box, T* packed) noexcept {
  const Grid& grid = call.cut.part.target;
  const bool is_dense = grid.axis_stride[1] == box.columns * grid.axis_stride[2];
  const Index moves = is_dense ? 1 : box.rows, pixels = is_dense ? box.rows * box.columns : box.columns;
  const Index width = call.cut.width, lanes = call.kernels.lanes;
  for (Index row = 0; row < moves; ++row, gradients += grid.axis_stride[1], packed += box.columns * width) {
    if (grid.channel_stride == 1) {
      call.kernels.move_block(pixels, channels, gradients, grid.axis_stride[2], 1, packed, width, 1);
      continue;
    }
    for (Index channel = 0; channel < channels; channel += lanes)
      call.kernels.move_block(std::min(lanes, channels - channel), pixels, gradients + channel * grid.channel_stride,
                              grid.channel_stride, grid.axis_stride[2], packed + channel, 1, width);
  }
}

// sums += the products of all rows of a box.
template <class T>
void add_box(const Call<T>& call, OutputProducts<T> tile, const TargetBox& box, const T* packed, T* sums) noexcept {
  const OutputLaneCut& cut = call.cut;
  const auto& kernels = call.kernels.output_lane.products[cut.vectors - 1];
  const T* gradients = tile.gradients;
  const Index rows_at_once = std::max<Index>(kProductsAtOnce / std::max<Index>(box.columns, 1), 1);
  tile.pixels = box.columns;
  tile.step = cut.step;
  tile.source_row_pitch = cut.tile.target_row_pitch();
  for (Index y = 0; y < box.rows; y += rows_at_once) {
    tile.rows = std::min(rows_at_once, box.rows - y);
    tile.source = packed + y * tile.source_row_pitch;
    tile.gradients = gradients + y * tile.gradient_row_pitch;
    for (Index entry = 0; entry < cut.depth();) {
      Index count = std::min<Index>(kMostOutputEntries, cut.depth() - entry);
      while (kernels[count - 1] == nullptr) --count;
      tile.offsets = cut.offsets.data() + entry;
      tile.sums = sums + entry * cut.width;
      kernels[count - 1](tile);
      entry += count;
    }
  }
}

template <class T>
void run_task(const Call<T>& call, Index task, const Scratch<T>& scratch) noexcept {
  const OutputLaneCut& cut = call.cut;
  const Grid& grid = cut.part.target;
  const Index slice = task % call.slices, index = task / call.slices;
  const Index group = index / cut.blocks, block = index % cut.blocks, channels = cut.channels_of(block);
  T* sums = call.partial + task * call.block_sums();
  std::fill_n(sums, call.block_sums(), T{0});
  if (!cut.is_direct) std::fill_n(scratch.gradients, call.box_pixels() * cut.width, T{0});
  const Index stop = std::min((slice + 1) * call.boxes_per_slice, cut.boxes());
  for (Index i = slice * call.boxes_per_slice; i < stop && !is_interrupted(); ++i) {
    const TargetBox box = cut.box(i);
    const T* gradients = call.grad_output + box.batch * grid.batch_stride + box.z * grid.axis_stride[0] +
                         box.y * grid.axis_stride[1] + box.x * grid.axis_stride[2] +
                         (group * cut.part.rows + block * cut.width) * grid.channel_stride;
    cut.pack(call.kernels, call.source, group, box, scratch.tile);
    OutputProducts<T> tile{};
    if (cut.is_direct) {
      tile.gradients = gradients;
      tile.gradient_row_pitch = grid.axis_stride[1];
      tile.gradient_pitch = grid.axis_stride[2];
    } else {
      pack_gradients(call, gradients, channels, box, scratch.gradients);
      tile.gradients = scratch.gradients;
      tile.gradient_row_pitch = box.columns * cut.width;
      tile.gradient_pitch = cut.width;
    }
    add_box(call, tile, box, scratch.tile + cut.group_offset(group), sums);
  }
}

// Adds the slices in their order and puts every weight in its place.
template <class T>
void write_weights(const Call<T>& call, T* grad_weight) noexcept {
  const OutputLaneCut& cut = call.cut;
  for (Index index = 0; index < call.blocks(); ++index) {
    T* sums = call.partial + index * call.slices * call.block_sums();
    for (Index slice = 1; slice < call.slices; ++slice)
      for (Index i = 0; i < call.block_sums(); ++i) sums[i] += sums[slice * call.block_sums() + i];
    const Index group = index / cut.blocks, block = index % cut.blocks;
    T* target = grad_weight + group * cut.part.weight_group_stride + block * cut.width * cut.part.weight_row_stride;
    for (const Index offset : cut.weight_offsets) {
      for (Index lane = 0; lane < cut.channels_of(block); ++lane)
        target[offset + lane * cut.part.weight_row_stride] = sums[lane];
      sums += cut.width;
    }
  }
}

}  // namespace

template <class T>
void output_lane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                             T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  constexpr Index kImageBoxes = 4;  // pixels of a box are summed in registers
  const OutputLaneCut cut(part, kernels.lanes, kernels.output_lane.most_vectors, kImageBoxes, sizeof(T));
  Call<T> call{kernels, cut, 1, cut.boxes(), source, grad_output, nullptr};
  const Index weights = call.blocks() * call.block_sums(), boxes = std::max<Index>(cut.boxes(), 1);
  const Index wanted = std::min(ceil_divide(kWantedTasks, call.blocks()), kMostPartials / weights);
  call.boxes_per_slice = ceil_divide(boxes, std::clamp<Index>(wanted, 1, boxes));
  call.slices = ceil_divide(boxes, call.boxes_per_slice);
  const Workspace partial(1, static_cast<std::size_t>(call.slices * weights) * sizeof(T));
  call.partial = reinterpret_cast<T*>(partial.of(0));

  const Index tasks = call.blocks() * call.slices;
  const int workers = worker_count(num_threads, tasks, weights * (part.pixels() / 16 + 1));
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), call, measure));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), call, scratch);
    run_task(call, task, scratch);
  });
  write_weights(call, grad_weight);
}

template void output_lane_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void output_lane_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*,
                                      int);

}  // namespace convpool
