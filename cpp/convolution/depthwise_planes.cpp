#include "convolution/depthwise_planes.hpp"

#include <algorithm>

#include "convolution/padded_rows.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// Fewer columns, of a step of 1 or 2: planes side by side; more: they are cut.
constexpr Index kLeastColumns[kMostDepthwiseStep] = {8, 16}, kMostColumns = 8192;

// Extent of the kernel, 0 if it is not a dense square.
Index square_kernel(const Correlation& part) {
  Index kernel = 1;
  while (kernel * kernel < static_cast<Index>(part.taps.size())) ++kernel;
  if (kernel * kernel != static_cast<Index>(part.taps.size())) return 0;
  const auto [least, most] = std::minmax_element(part.taps.begin(), part.taps.end(), [](const Tap& a, const Tap& b) {
    return std::lexicographical_compare(a.offset, a.offset + kAxes, b.offset, b.offset + kAxes);
  });
  // Taps are a product of axes, so the first and the last in order are corners.
  const bool is_dense = least->offset[0] == most->offset[0] && most->offset[1] - least->offset[1] == kernel - 1 &&
                        most->offset[2] - least->offset[2] == kernel - 1;
  return is_dense ? kernel : 0;
}

struct Job {
  const Correlation* part;
  Index kernel, box_rows, bands;
  PaddedRows tile;
  std::vector<Index> weight_offsets;  // in the order of their places

  Job(const Correlation& correlation, Index lanes, std::size_t element_bytes)
      : part(&correlation), kernel(square_kernel(correlation)),
        box_rows(wanted_rows(correlation, lanes, element_bytes)),
        bands(ceil_divide(correlation.target.extent[1], std::max<Index>(box_rows, 1))),
        tile(correlation, box_rows, padded_columns(correlation, lanes)) {
    std::vector<Tap> taps = part->taps;
    std::sort(taps.begin(), taps.end(), [](const Tap& a, const Tap& b) {
      return std::lexicographical_compare(a.offset, a.offset + kAxes, b.offset, b.offset + kAxes);
    });
    for (const Tap& tap : taps) weight_offsets.push_back(tap.weight_offset);
  }

  Index planes() const { return part->batch * part->groups; }
  TargetBox box(Index batch, Index band) const noexcept {
    const Index y = band * box_rows;
    return {batch, 0, y, 0, std::min(box_rows, part->target.extent[1] - y), part->target.extent[2]};
  }
  template <class Array>
  Array* at(Array* array, const Grid& grid, Index batch, Index channel, Index y) const noexcept {
    return array + batch * grid.batch_stride + channel * grid.channel_stride + y * grid.axis_stride[1];
  }

 private:
  static Index padded_columns(const Correlation& part, Index lanes) {
    return ceil_divide(part.target.extent[2], lanes) * lanes;
  }
  // A padded plane, or a band of it, in half of the first-level cache.
  static Index wanted_rows(const Correlation& part, Index lanes, std::size_t element_bytes) {
    constexpr Index kWantedBytes = 24 << 10, kLeastRows = 8;
    Index rows = part.target.extent[1];
    const auto bytes = [&] {
      return PaddedRows(part, rows, padded_columns(part, lanes)).channel_pitch() * static_cast<Index>(element_bytes);
    };
    while (rows > kLeastRows && bytes() > kWantedBytes) rows = ceil_divide(rows, 2);
    return rows;
  }
};

template <class T>
void run_plane(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* weights, T bias, T* target,
               Index batch, Index channel, T* tile) noexcept {
  const Grid& grid = job.part->target;
  for (Index band = 0; band < job.bands; ++band) {
    const TargetBox box = job.box(batch, band);
    job.tile.pack(*job.part, kernels, source, channel, 1, box, tile);
    kernels.depthwise.rows[job.kernel - 1][job.part->step[1] - 1](
        {box.rows, box.columns, tile, job.tile.row_pitch(), job.tile.phase_pitch(), weights, bias,
         job.at(target, grid, batch, channel, box.y), grid.axis_stride[1]});
  }
}

// sums[tap][lane] += the products of one plane.
template <class T>
void add_plane(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, Index batch,
               Index channel, T* tile, T* sums) noexcept {
  constexpr Index kMostProducts = 128;
  const Grid& grid = job.part->target;
  const Index vectors = ceil_divide(grid.extent[2], kernels.lanes);
  const Index rows_at_once = std::max<Index>(4, kMostProducts / vectors / 4 * 4);
  for (Index band = 0; band < job.bands; ++band) {
    const TargetBox box = job.box(batch, band);
    job.tile.pack(*job.part, kernels, source, channel, 1, box, tile);
    for (Index y = 0; y < box.rows; y += rows_at_once)
      kernels.depthwise.products[job.kernel - 1](
          {std::min(rows_at_once, box.rows - y), box.columns, tile + y * job.tile.target_row_pitch(),
           job.tile.row_pitch(), job.at(grad_output, grid, batch, channel, box.y + y), grid.axis_stride[1]},
          sums);
  }
}

}  // namespace

bool depthwise_planes_accept(const Correlation& part) {
  const Index kernel = square_kernel(part);
  return part.rows == 1 && part.channels == 1 && (kernel == 3 || kernel == 5) && part.step[1] == part.step[2] &&
         part.step[2] <= kMostDepthwiseStep && part.source.axis_stride[2] == 1 && part.target.axis_stride[2] == 1 &&
         part.target.extent[0] == 1 && part.target_step[0] == 1 && part.target_step[1] == 1 &&
         part.target.extent[2] >= kLeastColumns[part.step[2] - 1] && part.target.extent[2] <= kMostColumns;
}

bool depthwise_planes_grad_weight_accepts(const Correlation& part) {
  return depthwise_planes_accept(part) && square_kernel(part) == 3 && part.step[1] == 1;
}

template <class T>
void run_depthwise_planes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads) {
  constexpr Index kTaskElements = 1 << 15;  // neighbouring planes go to one thread
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Correlation& part = parts.front();
  const Job job(part, kernels.lanes, sizeof(T));
  const Index plane = std::max<Index>(part.target.extent[1] * part.target.extent[2], 1);
  const Index planes_at_once = ceil_divide(kTaskElements, plane), tasks = ceil_divide(job.planes(), planes_at_once);
  const int workers = worker_count(num_threads, tasks, job.planes() * plane * (part.depth() / 16 + 1));
  const Workspace memory(workers, static_cast<std::size_t>(job.tile.channel_pitch()) * sizeof(T));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    T weights[kMostDepthwiseKernel * kMostDepthwiseKernel];
    const Index stop = std::min((task + 1) * planes_at_once, job.planes());
    for (Index index = task * planes_at_once; index < stop; ++index) {
      const Index batch = index / part.groups, channel = index % part.groups;
      T* next = weights;
      for (const Index offset : job.weight_offsets) *next++ = weight[offset + channel * part.weight_group_stride];
      run_plane(job, kernels, source, weights, bias == nullptr ? T{0} : bias[channel], target + part.target_offset,
                batch, channel, reinterpret_cast<T*>(memory.of(worker)));
    }
  });
}

template <class T>
void depthwise_planes_grad_weight(const KernelTable* table, const Correlation& part, const T* source,
                                  const T* grad_output, T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Job job(part, kernels.lanes, sizeof(T));
  const Index taps = job.kernel * job.kernel, lanes = kernels.lanes;
  const Index at_once = std::clamp<Index>(part.groups / kWantedTasks, 1, 16);  // neighbouring planes go to one thread
  const Index blocks = ceil_divide(part.groups, at_once);
  const Index slices = std::clamp<Index>(ceil_divide(kWantedTasks, blocks), 1, std::max<Index>(part.batch, 1));
  const Index batch_slice = ceil_divide(part.batch, slices), tasks = blocks * slices;
  const int workers = worker_count(num_threads, tasks, part.groups * taps * (part.pixels() / 16 + 1));
  const Workspace tiles(workers, static_cast<std::size_t>(job.tile.channel_pitch()) * sizeof(T));
  const Workspace partial(1, static_cast<std::size_t>(part.groups * slices * taps * lanes) * sizeof(T));
  T* sums = reinterpret_cast<T*>(partial.of(0));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    const Index first = task / slices * at_once, stop = std::min(first + at_once, part.groups), slice = task % slices;
    const auto own = [&](Index channel) { return sums + (channel * slices + slice) * taps * lanes; };
    for (Index channel = first; channel < stop; ++channel) std::fill_n(own(channel), taps * lanes, T{0});
    const Index stop_batch = std::min((slice + 1) * batch_slice, part.batch);
    for (Index batch = slice * batch_slice; batch < stop_batch && !is_interrupted(); ++batch)
      for (Index channel = first; channel < stop; ++channel)
        add_plane(job, kernels, source, grad_output, batch, channel, reinterpret_cast<T*>(tiles.of(worker)),
                  own(channel));
  });
  for (Index channel = 0; channel < part.groups; ++channel)
    for (Index tap = 0; tap < taps; ++tap) {
      T total{0};
      for (Index slice = 0; slice < slices; ++slice)
        for (Index lane = 0; lane < lanes; ++lane)
          total += sums[((channel * slices + slice) * taps + tap) * lanes + lane];
      grad_weight[job.weight_offsets[static_cast<std::size_t>(tap)] + channel * part.weight_group_stride] = total;
    }
}

#define CONVPOOL_DEPTHWISE_PLANES(T)                                                                          \
  template void run_depthwise_planes(const KernelTable*, const std::vector<Correlation>&, const T*, const T*, \
                                     const T*, T*, int);                                                      \
  template void depthwise_planes_grad_weight(const KernelTable*, const Correlation&, const T*, const T*, T*, int)
CONVPOOL_DEPTHWISE_PLANES(float);
CONVPOOL_DEPTHWISE_PLANES(double);
#undef CONVPOOL_DEPTHWISE_PLANES

}  // namespace convpool
