// Gradient of the weight with channels as lanes. The images and bands of rows are cut into slices; each adds up its own
// sums, in chunks of a band, and the slices are added in order.
#include <algorithm>

#include "convolution/lane_cut.hpp"
#include "convolution/lane_weights.hpp"
#include "convolution/lanes.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostPartials = 1 << 21;  // elements of all slices
constexpr Index kBandRows = 8;            // summed before they are added to the slice

struct Job {
  const Correlation* part;
  LaneWindow window;
  LaneCut cut;
  Index slices, boxes_per_slice;

  Job(const Correlation& correlation, Index lanes, std::size_t element_bytes)
      : part(&correlation), window(correlation), cut(correlation, window, 1, lanes, element_bytes) {
    const Index most = std::clamp<Index>(kMostPartials / weights(), 1, std::max<Index>(boxes(), 1));
    const Index wanted = std::clamp<Index>(ceil_divide(kWantedTasks, cut.channel_blocks), 1, most);
    boxes_per_slice = std::max<Index>(ceil_divide(boxes(), wanted), 1);
    slices = std::max<Index>(ceil_divide(boxes(), boxes_per_slice), 1);
  }
  Index boxes() const { return part->batch * cut.boxes_of_image(); }
  Index channels() const { return part->groups * part->rows; }
  Index weights() const { return window.depth() * channels(); }
  // Sums of a slice of a block of channels, [product][channel].
  Index block_elements() const { return window.depth() * cut.channels; }
};

template <class T>
struct Scratch {
  T *zeros, *sums, *source, *gradients;
  const T** table;
  const T* const** rows;
  Index table_box = -1;  // that the table is of: pixels side by side lie where those of the last image lay

  static std::size_t carve(Carver carver, const Job& job, Index lanes, Scratch& scratch) {
    const LaneBox first = job.cut.box(*job.part, 0), read = job.window.reads(first);
    if (!job.cut.is_side_by_side) lanes = 0;
    scratch.zeros = carver.take<T>(job.cut.channels);
    scratch.sums = carver.take<T>(job.window.depth() * job.cut.channels);
    scratch.source = carver.take<T>(read.pixels() * lanes);
    scratch.gradients = carver.take<T>(first.pixels() * lanes);
    scratch.table = carver.take<const T*>(read.pixels());
    scratch.rows = carver.take<const T* const*>(job.window.rows());
    return carver.used();
  }
};

// sums += the products of the pixels of a row. No pixel may be counted twice. fetch(first pixel, pixels) is called
// before each tile where arrays lie beyond the caches.
template <class T, class Fetch>
void add_row(const Job& job, const ConvKernels<T>& kernels, LaneProducts<T>& products, const T* gradients,
             Index columns, T* sums, Fetch&& fetch) noexcept {
  for (Index x = 0; x < columns; x += products.pixels) {
    const Index left = columns - x, at_once = left >= 7 ? 7 : left >= 4 ? 4 : 1;
    products.pixels = job.cut.is_far ? at_once : left / at_once * at_once;
    products.gradients = gradients + x * products.gradient_pitch;
    if (job.cut.is_far) fetch(x, products.pixels);
    for (const TapRun& run : job.window.runs()) {
      products.first_column = x * products.step + run.column;
      products.sums = sums + run.packed * products.sum_pitch;
      kernels.lane.products[products.group > 1][run.taps - 1][run.taps == 1 ? 0 : products.step - 1][at_once - 1](
          products);
    }
  }
}

// target += the products of one box of one image, in bands of rows.
template <class T>
void add_box(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, Index index,
             Index channels, Scratch<T>& scratch, T* target) noexcept {
  const Correlation& part = *job.part;
  const Grid &from = part.source, &to = part.target;
  const LaneBox box = job.cut.box(part, index), read = job.window.reads(box);
  LanePixels<const T> pixels{source, {from.axis_stride[0], from.axis_stride[1], from.axis_stride[2]}, {0, 0, 0}};
  LanePixels<const T> gradients{grad_output, {to.axis_stride[0], to.axis_stride[1], to.axis_stride[2]}, {0, 0, 0}};
  if (job.cut.is_side_by_side) {
    const LaneBox inside = clipped(read, from.extent);
    bring_side_by_side(kernels, from, source, channels, inside, scratch.source);
    bring_side_by_side(kernels, to, grad_output, channels, box, scratch.gradients);
    pixels = pixels_of<const T>(inside, kernels.lanes, scratch.source);
    gradients = pixels_of<const T>(box, kernels.lanes, scratch.gradients);
  }
  if (!job.cut.is_side_by_side || index != scratch.table_box)
    job.window.fill_table(from.extent, pixels, scratch.zeros, read, scratch.table);
  scratch.table_box = index;
  LaneProducts<T> products{};
  products.channels = channels;
  products.columns = scratch.rows;
  products.rows = job.window.rows();
  products.step = part.step[2];
  products.gradient_pitch = gradients.stride[2];
  products.sum_pitch = job.cut.channels;
  products.group = part.rows;
  const PixelsAhead<T> ahead(job.window, scratch.table, box, read, channels);
  const auto add_rows = [&](Index z, Index first, Index stop) {
    for (Index y = first; y < stop; ++y) {
      job.window.pick_rows(scratch.table, read, z, y, scratch.rows);
      const T* row = gradients.at(box.first[0] + z, box.first[1] + y, box.first[2]);
      add_row(job, kernels, products, row, box.count[2], scratch.sums, [&](Index x, Index count) {
        ahead.fetch(z, y, x, count, row, gradients.stride[1], gradients.stride[2]);
      });
    }
  };
  for (Index z = 0; z < box.count[0]; ++z)
    for (Index y = 0; y < box.count[1] && !is_interrupted(); y += kBandRows) {
      std::fill_n(scratch.sums, job.block_elements(), T{0});
      add_rows(z, y, std::min(y + kBandRows, box.count[1]));
      kernels.add_rows(scratch.sums, 1, job.block_elements(), target);
    }
}

// The sums of one slice of a block of channels.
template <class T>
void add_slice(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, T* partial,
               Index number, Scratch<T>& scratch) noexcept {
  const Index block = number / job.slices, slice = number % job.slices;
  const Index channel = block * job.cut.channels, channels = std::min(job.cut.channels, job.channels() - channel);
  const Index elements = job.block_elements();
  T* target = partial + number * elements;
  std::fill_n(target, elements, T{0});
  const Index stop = std::min((slice + 1) * job.boxes_per_slice, job.boxes());
  for (Index box = slice * job.boxes_per_slice; box < stop && !is_interrupted(); ++box) {
    const Index batch = box / job.cut.boxes_of_image();
    const Grid &from = job.part->source, &to = job.part->target;
    add_box(job, kernels, source + batch * from.batch_stride + channel * from.channel_stride,
            grad_output + batch * to.batch_stride + channel * to.channel_stride, box % job.cut.boxes_of_image(),
            channels, scratch, target);
  }
}

// Adds the slices of every block in their order, and puts the sums in their places.
template <class T>
void write_weights(const Job& job, const ConvKernels<T>& kernels, T* partial, T* grad_weight, int num_threads) {
  constexpr Index kPiece = 4096;
  const Index elements = job.block_elements(), pieces = ceil_divide(elements, kPiece);
  const auto sums_of = [&](Index block) { return partial + block * job.slices * elements; };
  if (job.slices > 1) {
    const Index tasks = job.cut.channel_blocks * pieces;
    parallel_for(tasks, worker_count(num_threads, tasks, job.slices * job.weights()), [&](Index task, int) {
      const Index first = task % pieces * kPiece, stop = std::min(first + kPiece, elements);
      T* sums = sums_of(task / pieces);
      for (Index slice = 1; slice < job.slices; ++slice)
        kernels.add_rows(sums + slice * elements + first, 1, stop - first, sums + first);
    });
  }
  const int writers = worker_count(num_threads, job.cut.channel_blocks, job.weights());
  parallel_for(job.cut.channel_blocks, writers, [&](Index block, int) {
    const Index first = block * job.cut.channels;
    write_lane_weights(*job.part, job.window, kernels, sums_of(block), job.cut.channels, first,
                       std::min(job.cut.channels, job.channels() - first), grad_weight);
  });
}

}  // namespace

template <class T>
void lane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                      T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Job job(part, kernels.lanes, sizeof(T));
  const Index parts = job.cut.channel_blocks * job.slices;
  const Workspace partial_memory(1, static_cast<std::size_t>(parts * job.block_elements()) * sizeof(T));
  T* partial = reinterpret_cast<T*>(partial_memory.of(0));
  const Index at_once = std::max<Index>(parts / kWantedTasks, 1), tasks = ceil_divide(parts, at_once);
  const int workers = worker_count(num_threads, tasks, job.weights() * (part.pixels() / 16 + 1));
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), job, kernels.lanes, measure));
  for (int worker = 0; worker < workers; ++worker) {
    Scratch<T>::carve(Carver(memory.of(worker)), job, kernels.lanes, measure);
    std::fill_n(measure.zeros, job.cut.channels, T{0});
  }
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), job, kernels.lanes, scratch);
    for (Index number = task * at_once; number < std::min((task + 1) * at_once, parts); ++number)
      add_slice(job, kernels, source, grad_output, partial, number, scratch);
  });
  write_weights(job, kernels, partial, grad_weight, num_threads);
}

template void lane_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void lane_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);

}  // namespace convpool
