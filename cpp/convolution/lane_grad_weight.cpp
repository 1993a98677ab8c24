// Gradient of the weight with channels as lanes. The images and bands of rows are cut into slices; each adds up its own
// sums, in chunks of a band, and the slices are added in order.
#include <algorithm>

#include "convolution/lane_window.hpp"
#include "convolution/lanes.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kWantedTasks = 16;  // slices must not depend on the number of threads

struct Job {
  const Correlation* part;
  LaneWindow window;
  LaneCut cut;
  Index slices, boxes_per_slice;

  Job(const Correlation& correlation, Index lanes, std::size_t element_bytes)
      : part(&correlation), window(correlation), cut(make_lane_cut(correlation, window, lanes, element_bytes)) {
    slices = std::clamp<Index>(ceil_divide(kWantedTasks, cut.channel_blocks), 1, std::max<Index>(boxes(), 1));
    boxes_per_slice = ceil_divide(boxes(), slices);
    slices = std::max<Index>(1, ceil_divide(boxes(), std::max<Index>(boxes_per_slice, 1)));
  }
  Index boxes() const { return part->batch * part->target.extent[0] * cut.bands * cut.boxes; }
  Index weights() const { return window.taps() * part->groups; }
};

template <class T>
struct Scratch {
  T *zeros, *sums;
  const T** table;
  const T* const** rows;

  static std::size_t carve(Carver carver, const Job& job, Scratch& scratch) {
    scratch.zeros = carver.take<T>(job.cut.channels);
    scratch.sums = carver.take<T>(job.window.taps() * job.cut.channels);
    scratch.table =
        carver.take<const T*>(job.window.table_rows(job.cut.rows) * job.window.table_columns(job.cut.columns));
    scratch.rows = carver.take<const T* const*>(job.window.rows());
    return carver.used();
  }
};

// Here no pixel may be counted twice.
Index next_pixels(Index left) noexcept { return left >= 7 ? 7 : left >= 4 ? 4 : 1; }

// sums += the products of one box.
template <class T>
void add_box(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, Index index,
             Index channels, const Scratch<T>& scratch) noexcept {
  const Correlation& part = *job.part;
  const Index box = index % job.cut.boxes, band = index / job.cut.boxes % job.cut.bands;
  const Index plane = index / job.cut.boxes / job.cut.bands, planes = part.target.extent[0];
  const Index first[kAxes] = {plane % planes, band * job.cut.rows, box * job.cut.columns};
  const Index rows = std::min(job.cut.rows, part.target.extent[1] - first[1]);
  const Index columns = std::min(job.cut.columns, part.target.extent[2] - first[2]);
  job.window.fill_table(part.source, source + plane / planes * part.source.batch_stride, scratch.zeros, first, rows,
                        columns, scratch.table);
  grad_output += plane / planes * part.target.batch_stride;
  for (int axis = 0; axis < kAxes; ++axis) grad_output += first[axis] * part.target.axis_stride[axis];
  LaneProducts<T> products{};
  products.channels = channels;
  products.columns = scratch.rows;
  products.rows = job.window.rows();
  products.step = part.step[2];
  products.gradient_pitch = part.target.axis_stride[2];
  products.sum_pitch = job.cut.channels;
  for (Index y = 0; y < rows; ++y) {
    job.window.pick_rows(scratch.table, rows, columns, y, scratch.rows);
    for (Index x = 0; x < columns;) {
      const Index pixels = next_pixels(columns - x);
      products.gradients = grad_output + y * part.target.axis_stride[1] + x * part.target.axis_stride[2];
      for (const TapRun& run : job.window.runs()) {
        products.first_column = x * products.step + run.column;
        products.sums = scratch.sums + run.packed * job.cut.channels;
        kernels.lane.products[run.taps - 1][run.taps == 1 ? 0 : products.step - 1][pixels - 1](products);
      }
      x += pixels;
    }
  }
}

// The sums of one slice: [tap][channel] of all channels.
template <class T>
void run_task(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, T* partial,
              Index task, const Scratch<T>& scratch) noexcept {
  const Index block = task / job.slices, slice = task % job.slices;
  const Index channel = block * job.cut.channels, groups = job.part->groups;
  const Index channels = std::min(job.cut.channels, groups - channel);
  T* target = partial + slice * job.weights() + channel;
  for (Index tap = 0; tap < job.window.taps(); ++tap) std::fill_n(target + tap * groups, channels, T{0});
  const Index stop = std::min((slice + 1) * job.boxes_per_slice, job.boxes());
  for (Index box = slice * job.boxes_per_slice; box < stop; ++box) {
    std::fill_n(scratch.sums, job.window.taps() * job.cut.channels, T{0});
    add_box(job, kernels, source + channel, grad_output + channel, box, channels, scratch);
    for (Index tap = 0; tap < job.window.taps(); ++tap)
      for (Index i = 0; i < channels; ++i) target[tap * groups + i] += scratch.sums[tap * job.cut.channels + i];
  }
}

// Adds the slices in their order and puts every weight in its place.
template <class T>
void write_weights(const Job& job, T* partial, T* grad_weight) noexcept {
  const Index groups = job.part->groups;
  for (Index slice = 1; slice < job.slices; ++slice)
    for (Index i = 0; i < job.weights(); ++i) partial[i] += partial[slice * job.weights() + i];
  for (const Index tap : job.window.weight_offsets())
    for (Index group = 0; group < groups; ++group)
      grad_weight[tap + group * job.part->weight_group_stride] = *partial++;
}

}  // namespace

template <class T>
void lane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                      T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Job job(part, kernels.lanes, sizeof(T));
  const Workspace partial_memory(1, static_cast<std::size_t>(job.slices * job.weights()) * sizeof(T));
  T* partial = reinterpret_cast<T*>(partial_memory.of(0));
  const Index tasks = job.cut.channel_blocks * job.slices;
  const int workers = worker_count(num_threads, tasks, job.weights() * (part.pixels() / 16 + 1));
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), job, measure));
  for (int worker = 0; worker < workers; ++worker) {
    Scratch<T>::carve(Carver(memory.of(worker)), job, measure);
    std::fill_n(measure.zeros, job.cut.channels, T{0});
  }
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), job, scratch);
    run_task(job, kernels, source, grad_output, partial, task, scratch);
  });
  write_weights(job, partial, grad_weight);
}

template void lane_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void lane_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);

}  // namespace convpool
