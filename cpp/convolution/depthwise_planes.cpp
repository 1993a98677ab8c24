#include "convolution/depthwise_planes.hpp"

#include <algorithm>
#include <optional>

#include "convolution/padded_rows.hpp"
#include "convolution/plane_blocks.hpp"
#include "convolution/plane_tasks.hpp"
#include "runtime/caches.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kLeastColumns = 8, kMostColumns = 8192;  // fewer: planes side by side; more: they are cut

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

// Null where there is none for the extent of the kernel and the step.
template <class Kernel>
Kernel kernel_for(const Kernel (&kernels)[kMostDepthwiseKernel][kMostDepthwiseStep], const Correlation& part) {
  const Index kernel = square_kernel(part), step = part.step[2];
  if (kernel < 1 || kernel > kMostDepthwiseKernel || step > kMostDepthwiseStep) return nullptr;
  return kernels[kernel - 1][step - 1];
}

// The source of a band of target rows with the padding around it, all columns in order.
struct PaddedBand {
  Correlation unit;  // the part with all positions between its own
  PaddedRows rows;

  PaddedBand(const Correlation& part, Index target_rows, Index lanes)
      : unit(unit_part(part)), rows(unit, (target_rows - 1) * part.step[1] + 1,
                                    ceil_divide(part.target.extent[2], lanes) * lanes * part.step[2]) {}

 private:
  static Correlation unit_part(Correlation part) {
    std::fill_n(part.step, kAxes, 1);
    return part;
  }
};

// Target rows of a plane are worked off in bands, whose source rows fit the cache. Where more than zeros lie around a
// plane, or where reading borders costs more than a copy, they are padded there.
struct Job {
  const Correlation* part;
  Index kernel, box_rows, bands;
  Index source_ahead, target_ahead;
  std::optional<PaddedBand> copy;     // none: sources are read where they lie
  Tap first;                          // of the first place of a window
  std::vector<Index> weight_offsets;  // of all taps, in the order of their places

  Job(const Correlation& correlation, bool reads_borders, Index lanes, std::size_t element_bytes)
      : part(&correlation), kernel(square_kernel(correlation)),
        box_rows(wanted_rows(static_cast<Index>(element_bytes))),
        bands(ceil_divide(correlation.target.extent[1], std::max<Index>(box_rows, 1))),
        source_ahead(band_ahead(box_rows, part->step[1] * part->source.axis_stride[1], element_bytes)),
        target_ahead(far_band_ahead(part->elements(), box_rows, part->target.axis_stride[1], element_bytes)) {
    if (!reads_borders || part->padding_mode != PaddingMode::zeros) copy.emplace(*part, box_rows, lanes);
    std::vector<Tap> taps = part->taps;
    std::sort(taps.begin(), taps.end(), [](const Tap& a, const Tap& b) {
      return std::lexicographical_compare(a.offset, a.offset + kAxes, b.offset, b.offset + kAxes);
    });
    for (const Tap& tap : taps) weight_offsets.push_back(tap.weight_offset);
    first = taps.front();
  }

  Index planes() const { return part->batch * part->groups; }
  std::size_t copied_bytes(std::size_t element_bytes) const noexcept {
    return copy ? static_cast<std::size_t>(copy->rows.channel_pitch()) * element_bytes : 0;
  }
  TargetBox box(Index batch, Index band) const noexcept {
    const Index y = band * box_rows;
    return {batch, 0, y, 0, std::min(box_rows, part->target.extent[1] - y), part->target.extent[2]};
  }

 private:
  // Of a plane, so much that it stays in the first-level cache from strip to strip.
  Index wanted_rows(Index element_bytes) const {
    constexpr Index kWantedBytes = 12 << 10;
    const Index row_bytes = (part->target.extent[2] * part->step[2] + kernel) * element_bytes;
    Index rows = part->target.extent[1];
    while (rows > 4 * kernel && (rows * part->step[1] + kernel) * row_bytes > kWantedBytes) rows = ceil_divide(rows, 2);
    return rows;
  }
};

template <class Array>
Array* row_of(Array* array, const Grid& grid, Index batch, Index channel, Index y) noexcept {
  return array + batch * grid.batch_stride + channel * grid.channel_stride + y * grid.axis_stride[1];
}

// What the target rows of a box read: the plane itself,
template <class T>
DepthwisePlane<T> rows_in_place(const Job& job, const T* source, const TargetBox& box, Index channel) noexcept {
  const Grid& grid = job.part->source;
  const Index z = job.first.offset[0];
  const bool has_rows = z >= 0 && z < grid.extent[0];
  return {box.rows,
          box.columns,
          row_of(source, grid, box.batch, channel, 0) + (has_rows ? z * grid.axis_stride[0] : 0),
          has_rows ? grid.extent[1] : 0,
          grid.extent[2],
          grid.axis_stride[1],
          box.y * job.part->step[1] + job.first.offset[1],
          job.first.offset[2]};
}

// or its part, padded, in `memory`.
template <class T>
DepthwisePlane<T> padded_rows(const PaddedBand& band, const ConvKernels<T>& kernels, const T* source, TargetBox box,
                              Index step, Index channel, T* memory) noexcept {
  const Index pitch = band.rows.row_pitch();
  box.y *= step;
  band.rows.pack(band.unit, kernels, source, channel, 1, box, memory);
  return {box.rows, box.columns, memory, band.rows.channel_pitch() / pitch, pitch, pitch, 0, 0};
}

template <class T>
DepthwisePlane<T> source_rows(const Job& job, const ConvKernels<T>& kernels, const T* source, const TargetBox& box,
                              Index channel, T* memory) noexcept {
  if (!job.copy) return rows_in_place(job, source, box, channel);
  return padded_rows(*job.copy, kernels, source, box, job.part->step[1], channel, memory);
}

template <class T>
void run_plane(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* weights, T bias, T* target,
               Index batch, Index channel, T* memory) noexcept {
  const Grid& grid = job.part->target;
  for (Index band = 0; band < job.bands; ++band) {
    const TargetBox box = job.box(batch, band);
    kernels.depthwise.rows[job.kernel - 1][job.part->step[1] - 1](
        {source_rows(job, kernels, source, box, channel, memory), weights, bias,
         row_of(target, grid, batch, channel, box.y), grid.axis_stride[1], job.source_ahead, job.target_ahead});
  }
}

template <class T>
void run_part(const ConvKernels<T>& kernels, const Correlation& part, const T* source, const T* weight, const T* bias,
              T* target, int num_threads) {
  const Job job(part, kernels.depthwise.rows_read_borders, kernels.lanes, sizeof(T));
  const PlaneTasks planes(part, num_threads);
  const Workspace memory(planes.workers(), job.copied_bytes(sizeof(T)));
  planes.each([&](Index batch, Index channel, int worker) {
    T weights[kMostDepthwiseKernel * kMostDepthwiseKernel], *next = weights;
    for (const Index offset : job.weight_offsets) *next++ = weight[offset + channel * part.weight_group_stride];
    run_plane(job, kernels, source, weights, bias == nullptr ? T{0} : bias[channel], target + part.target_offset, batch,
              channel, reinterpret_cast<T*>(memory.of(worker)));
  });
}

// sums[tap][lane] += the products of one plane.
template <class T>
void add_plane(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* grad_output, Index batch,
               Index channel, T* memory, T* sums) noexcept {
  constexpr Index kMostProducts = 128;
  const Grid& grid = job.part->target;
  const Index vectors = ceil_divide(grid.extent[2], kernels.lanes), step = job.part->step[1];
  const Index rows_at_once = std::max<Index>(4, kMostProducts / vectors / 4 * 4);
  for (Index band = 0; band < job.bands; ++band) {
    const TargetBox box = job.box(batch, band);
    DepthwisePlane<T> rows = source_rows(job, kernels, source, box, channel, memory);
    for (Index y = 0; y < box.rows; y += rows_at_once, rows.first_row += rows_at_once * step) {
      rows.rows = std::min(rows_at_once, box.rows - y);
      kernels.depthwise.products[job.kernel - 1][step - 1](
          {rows, row_of(grad_output, grid, batch, channel, box.y + y), grid.axis_stride[1]}, sums);
    }
  }
}

}  // namespace

bool depthwise_planes_accept(const KernelTable& table, const Correlation& part) {
  return part.rows == 1 && part.channels == 1 && part.step[1] == part.step[2] && part.source.axis_stride[2] == 1 &&
         part.target.axis_stride[2] == 1 && part.target.extent[0] == 1 && part.target_step[0] == 1 &&
         part.target_step[1] == 1 && part.target.extent[2] >= kLeastColumns && part.target.extent[2] <= kMostColumns &&
         kernel_for(conv_kernels<float>(table).depthwise.rows, part) != nullptr;
}

bool depthwise_planes_grad_weight_accepts(const KernelTable& table, const Correlation& part) {
  return depthwise_planes_accept(table, part) &&
         kernel_for(conv_kernels<float>(table).depthwise.products, part) != nullptr;
}

template <class T>
void run_depthwise_planes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads) {
  for (const Correlation& part : parts)
    run_part(conv_kernels<T>(*table), part, source, weight, bias, target, num_threads);
}

template <class T>
void depthwise_planes_grad_weight(const KernelTable* table, const Correlation& part, const T* source,
                                  const T* grad_output, T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Job job(part, kernels.depthwise.products_read_borders, kernels.lanes, sizeof(T));
  const Index sums_pitch = job.kernel * job.kernel * kernels.lanes;
  const PlaneBlocks blocks(part, num_threads);
  const Workspace memory(blocks.workers(), job.copied_bytes(sizeof(T)));
  const auto add = [&](const PlaneBlock& block, Index image, int worker, T* sums) {
    for (Index channel = 0; channel < block.channels; ++channel)
      add_plane(job, kernels, source, grad_output, image, block.first + channel,
                reinterpret_cast<T*>(memory.of(worker)), sums + channel * sums_pitch);
  };
  sum_planes(blocks, part, job.weight_offsets, kernels.lanes, kernels.lane_totals, add, grad_weight);
}

#define CONVPOOL_DEPTHWISE_PLANES(T)                                                                          \
  template void run_depthwise_planes(const KernelTable*, const std::vector<Correlation>&, const T*, const T*, \
                                     const T*, T*, int);                                                      \
  template void depthwise_planes_grad_weight(const KernelTable*, const Correlation&, const T*, const T*, T*, int)
CONVPOOL_DEPTHWISE_PLANES(float);
CONVPOOL_DEPTHWISE_PLANES(double);
#undef CONVPOOL_DEPTHWISE_PLANES

}  // namespace convpool
