// Gradient of the weight by row tiles: every weight is the dot product of grad_output with one shift of the source
// rows.
#include <algorithm>

#include "convolution/row_cut.hpp"
#include "convolution/row_tiles.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// What a task needs to know; sums are [group of the block][row][channel][tap][lane].
struct Job {
  const Correlation* part;
  RowCut cut;
  PaddedRows tile;
  std::vector<Index> tap_offsets;
  Index lanes, slices, boxes_per_slice;

  // Whether rows of grad_output are read where they lie.
  bool is_direct() const { return part->target.axis_stride[2] == 1; }
  Index taps() const { return static_cast<Index>(tap_offsets.size()); }
  Index group_weights() const { return part->rows * part->channels * taps(); }
  Index weights() const { return part->groups * group_weights(); }
  Index grad_plane() const { return cut.box_rows * cut.padded_columns; }
};

template <class T>
struct Scratch {
  T *tile, *grads, *sums;
  static std::size_t carve(Carver carver, const Job& job, Scratch& scratch) {
    scratch.tile = carver.take<T>(job.cut.group_block * job.part->channels * job.tile.channel_pitch());
    scratch.grads = carver.take<T>(job.is_direct() ? 0 : job.cut.group_block * job.part->rows * job.grad_plane());
    scratch.sums = carver.take<T>(job.cut.group_block * job.group_weights() * job.lanes);
    return carver.used();
  }
};

Job make_job(const Correlation& part, Index lanes, std::size_t element_bytes) {
  const RowCut cut = make_row_cut(part, lanes, element_bytes);
  const PaddedRows tile(part, cut.box_rows, cut.padded_columns);
  const Index slices = std::clamp<Index>(ceil_divide(kWantedTasks, cut.group_blocks), 1, std::max<Index>(cut.boxes, 1));
  Job job{&part, cut, tile, {}, lanes, slices, ceil_divide(cut.boxes, slices)};
  for (const Tap& tap : part.taps) job.tap_offsets.push_back(tile.tap_offset(tap));
  return job;
}

// Rows of grad_output: values[channel * channel_pitch + y * row_pitch].
template <class T>
struct GradRows {
  const T* values;
  Index channel_pitch, row_pitch;
};

// The rows of one box. Channels last they are transposed into scratch memory.
template <class T>
GradRows<T> grad_rows(const Job& job, const ConvKernels<T>& kernels, const T* grad_output, Index channels,
                      const TargetBox& box, T* grads) noexcept {
  const Grid& grid = job.part->target;
  const T* source = grad_output + box.batch * grid.batch_stride + box.z * grid.axis_stride[0] +
                    box.y * grid.axis_stride[1] + box.x * grid.axis_stride[2];
  if (job.is_direct()) return {source, grid.channel_stride, grid.axis_stride[1]};
  for (Index y = 0; y < box.rows; ++y)
    kernels.move_block(channels, box.columns, source + y * grid.axis_stride[1], grid.channel_stride,
                       grid.axis_stride[2], grads + y * job.cut.padded_columns, job.grad_plane(), 1);
  return {grads, job.grad_plane(), job.cut.padded_columns};
}

// All weights of one group for one box.
template <class T>
void add_group(const Job& job, const ConvKernels<T>& kernels, const T* tile, const GradRows<T>& grads,
               const TargetBox& box, T* sums) noexcept {
  const Index row_sums = job.part->channels * job.taps() * job.lanes;
  const Index most_rows = std::min<Index>(job.part->rows, kMostDotRows), most_taps = kernels.dot_taps[most_rows - 1];
  DotRows<T> dot{};
  dot.values_row = grads.channel_pitch;
  dot.values_pitch = grads.row_pitch;
  dot.shifted_pitch = job.tile.target_row_pitch();
  dot.count = box.rows;
  dot.columns = box.columns;
  dot.sums_row = row_sums;
  for (Index row = 0; row < job.part->rows; row += most_rows)
    for (Index channel = 0; channel < job.part->channels; ++channel)
      for (Index tap = 0; tap < job.taps(); tap += most_taps) {
        const Index rows = std::min(most_rows, job.part->rows - row), taps = std::min(most_taps, job.taps() - tap);
        dot.values = grads.values + row * grads.channel_pitch;
        dot.shifted = tile + channel * job.tile.channel_pitch();
        dot.offsets = job.tap_offsets.data() + tap;
        kernels.dot_rows[rows - 1][taps - 1](dot, sums + row * row_sums + (channel * job.taps() + tap) * job.lanes);
      }
}

template <class T>
void run_task(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, T* partial,
              Index task, const Scratch<T>& scratch) noexcept {
  const Correlation& part = *job.part;
  const Index block = task / job.slices, slice = task % job.slices;
  const Index first_group = block * job.cut.group_block, groups = job.cut.groups_of(part, block);
  std::fill(scratch.sums, scratch.sums + groups * job.group_weights() * job.lanes, T{0});
  const T* block_grads = grad_output + first_group * part.rows * part.target.channel_stride;
  const Index stop = std::min((slice + 1) * job.boxes_per_slice, job.cut.boxes);
  for (Index index = slice * job.boxes_per_slice; index < stop && !is_interrupted(); ++index) {
    const TargetBox box = job.cut.box(part, index);
    job.tile.pack(part, kernels, source, first_group * part.channels, groups * part.channels, box, scratch.tile);
    GradRows<T> grads = grad_rows(job, kernels, block_grads, groups * part.rows, box, scratch.grads);
    for (Index group = 0; group < groups; ++group) {
      add_group(job, kernels, scratch.tile + group * part.channels * job.tile.channel_pitch(), grads, box,
                scratch.sums + group * job.group_weights() * job.lanes);
      grads.values += part.rows * grads.channel_pitch;
    }
  }
  kernels.lane_totals(scratch.sums, 1, groups * job.group_weights(),
                      partial + slice * job.weights() + first_group * job.group_weights());
}

// Adds the slices in their order and puts every weight in its place.
template <class T>
void write_weights(const Job& job, const T* partial, T* grad_weight) noexcept {
  const Correlation& part = *job.part;
  for (Index group = 0; group < part.groups; ++group)
    for (Index row = 0; row < part.rows; ++row)
      for (Index channel = 0; channel < part.channels; ++channel)
        for (const Tap& tap : part.taps) {
          T total = *partial;
          for (Index slice = 1; slice < job.slices; ++slice) total += partial[slice * job.weights()];
          grad_weight[group * part.weight_group_stride + row * part.weight_row_stride +
                      channel * part.weight_channel_stride + tap.weight_offset] = total;
          ++partial;
        }
}

}  // namespace

template <class T>
void row_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                     T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Job job = make_job(part, kernels.lanes, sizeof(T));
  const Workspace partial_memory(1, static_cast<std::size_t>(job.slices * job.weights()) * sizeof(T));
  T* partial = reinterpret_cast<T*>(partial_memory.of(0));
  const Index tasks = job.cut.group_blocks * job.slices;
  const int workers = worker_count(num_threads, tasks, job.weights() * (part.pixels() / 16 + 1));
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), job, measure));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), job, scratch);
    run_task(job, kernels, source, grad_output, partial, task, scratch);
  });
  write_weights(job, partial, grad_weight);
}

template void row_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void row_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);

}  // namespace convpool
