#include "convolution/row_tiles.hpp"

#include <algorithm>

#include "convolution/job_list.hpp"
#include "convolution/row_cut.hpp"
#include "convolution/weight_tiles.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kDepthChunk = 128;                 // products summed in a register, as in packed tiles
constexpr std::size_t kMostTileBytes = 512 << 10;  // of the padded source, at the smallest box

// One correlation with its cut and the offset of every depth entry in the tile.
struct Job {
  const Correlation* part;
  RowCut cut;
  PaddedRows tile;
  std::vector<Index> offsets;
  Index packed_offset, first_task;

  Index tasks() const { return cut.tasks(); }
  bool is_direct() const { return part->target.axis_stride[2] == 1; }
  Index tile_elements() const { return cut.group_block * part->channels * tile.channel_pitch(); }
  Index result_elements() const { return cut.group_block * part->rows * cut.box_rows * cut.padded_columns; }
};

// All taps of a channel follow each other: they read the same few rows.
std::vector<Index> entry_offsets(const Correlation& part, const PaddedRows& tile) {
  std::vector<Index> offsets;
  offsets.reserve(static_cast<std::size_t>(part.depth()));
  for (Index channel = 0; channel < part.channels; ++channel)
    for (const Tap& tap : part.taps) offsets.push_back(channel * tile.channel_pitch() + tile.tap_offset(tap));
  return offsets;
}

// [group][entry][row]
template <class T>
void pack_entries(const Correlation& part, const T* weight, T* packed) noexcept {
  for (Index group = 0; group < part.groups; ++group)
    for (Index channel = 0; channel < part.channels; ++channel)
      for (const Tap& tap : part.taps) {
        const T* source =
            weight + group * part.weight_group_stride + channel * part.weight_channel_stride + tap.weight_offset;
        for (Index row = 0; row < part.rows; ++row) *packed++ = source[row * part.weight_row_stride];
      }
}

std::vector<Job> make_jobs(const std::vector<Correlation>& parts, Index lanes, std::size_t element_bytes) {
  std::vector<Job> jobs;
  Index packed = 0, tasks = 0;
  for (const Correlation& part : parts) {
    const RowCut cut = make_row_cut(part, lanes, element_bytes);
    const PaddedRows tile(part, cut.box_rows, cut.padded_columns);
    jobs.push_back({&part, cut, tile, entry_offsets(part, tile), packed, tasks});
    packed += packed_weight_elements(part);
    tasks += cut.tasks();
  }
  return jobs;
}

// Where the rows of a group go: to their place in the target if its pixels are neighbours, else to scratch memory.
template <class T>
struct Place {
  T* data;
  Index row, y;  // distances
};

// One tile of `vectors` vectors through all entries; without any, it is the bias.
template <class T>
void run_tile(const Job& job, const ConvKernels<T>& kernels, RowTile<T> tile, const T* packed, Index vectors) noexcept {
  const Index rows = job.part->rows, depth = job.part->depth();
  for (Index entry = 0; entry == 0 || entry < depth; entry += kDepthChunk) {
    tile.a = packed + entry * rows;
    tile.offsets = job.offsets.data() + entry;
    tile.depth = std::min(kDepthChunk, depth - entry);
    tile.is_added = entry > 0;
    kernels.row_tile[rows - 1][vectors - 1](tile);
  }
}

// A tile's vectors lie below each other, so that narrow images fill them too; in one-dimensional data they lie side by
// side. The last vector of a row overlaps the one before it.
template <class T>
void multiply_group(const Job& job, const ConvKernels<T>& kernels, const T* packed, const T* source, const T* bias,
                    const TargetBox& box, const Place<T>& place) noexcept {
  const Index lanes = kernels.lanes, most_vectors = kernels.row_vectors[job.part->rows - 1];
  const bool is_flat = box.rows == 1;
  RowTile<T> tile{};
  tile.b_vector = is_flat ? lanes : job.tile.target_row_pitch();
  tile.c_vector = is_flat ? lanes : place.y;
  tile.c_row = place.row;
  tile.columns = box.columns;
  tile.bias = bias;
  for (Index column = 0; column < box.columns;) {
    const Index x = std::max<Index>(std::min(column, box.columns - lanes), 0);
    const Index abreast = is_flat ? std::clamp<Index>((box.columns - x) / lanes, 1, most_vectors) : 1;
    for (Index y = 0; y < box.rows; y += most_vectors) {
      tile.b = source + y * job.tile.target_row_pitch() + x;
      tile.c = place.data + y * place.y + x;
      run_tile(job, kernels, tile, packed, is_flat ? abreast : std::min(most_vectors, box.rows - y));
    }
    column = x + abreast * lanes;
  }
}

// Moves result[channel][y][x] to the target, in the order that either layout likes.
template <class T>
void store_box(const Job& job, const ConvKernels<T>& kernels, const T* result, Index channels, const TargetBox& box,
               T* target) noexcept {
  const Grid& grid = job.part->target;
  const Index plane = job.cut.box_rows * job.cut.padded_columns, row_pitch = job.cut.padded_columns;
  target += box.batch * grid.batch_stride + box.z * grid.axis_stride[0] + box.y * grid.axis_stride[1] +
            box.x * grid.axis_stride[2];
  if (grid.channel_stride == 1 && channels > 1) {
    for (Index y = 0; y < box.rows; ++y)
      kernels.move_block(channels, box.columns, result + y * row_pitch, plane, 1, target + y * grid.axis_stride[1], 1,
                         grid.axis_stride[2]);
  } else {
    for (Index channel = 0; channel < channels; ++channel)
      kernels.move_block(box.rows, box.columns, result + channel * plane, row_pitch, 1,
                         target + channel * grid.channel_stride, grid.axis_stride[1], grid.axis_stride[2]);
  }
}

template <class T>
void run_task(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* packed, const T* bias, T* target,
              Index task, T* tile, T* result) noexcept {
  const Correlation& part = *job.part;
  const Grid& grid = part.target;
  const Index block = task / job.cut.boxes, first_group = block * job.cut.group_block;
  const Index groups = job.cut.groups_of(part, block), first_row = first_group * part.rows;
  const TargetBox box = job.cut.box(part, task % job.cut.boxes);
  job.tile.pack(part, kernels, source, first_group * part.channels, groups * part.channels, box, tile);
  target += part.target_offset + first_row * grid.channel_stride;
  const Index plane = job.cut.box_rows * job.cut.padded_columns;
  Place<T> place{result, plane, job.cut.padded_columns};
  if (job.is_direct())
    place = {target + box.batch * grid.batch_stride + box.z * grid.axis_stride[0] + box.y * grid.axis_stride[1] + box.x,
             grid.channel_stride, grid.axis_stride[1]};
  for (Index group = 0; group < groups; ++group) {
    multiply_group(job, kernels, packed + job.packed_offset + (first_row + group * part.rows) * part.depth(),
                   tile + group * part.channels * job.tile.channel_pitch(),
                   bias == nullptr ? nullptr : bias + first_row + group * part.rows, box, place);
    place.data += part.rows * place.row;
  }
  if (!job.is_direct()) store_box(job, kernels, result, groups * part.rows, box, target);
}

// Whether the padded source of the smallest box stays within its bound.
bool fits_tile(const Correlation& part) {
  constexpr Index kMostBlockChannels = 16, kMostLanes = 16;
  const PaddedRows tile(part, std::min(part.target.extent[1], kLeastBoxRows),
                        std::min(part.target.extent[2], kLeastBoxColumns) + kMostLanes);
  const Index channels = part.source.channel_stride == 1 ? std::max(part.channels, kMostBlockChannels) : part.channels;
  return static_cast<std::size_t>(channels * tile.channel_pitch()) * sizeof(double) <= kMostTileBytes;
}

}  // namespace

bool row_tiles_accept(const KernelTable& table, const Correlation& part) {
  constexpr Index kMostRowChannels = 256;  // a row of many channels is a matrix product
  return (part.target.extent[1] > 1 || part.channels <= kMostRowChannels) && part.rows <= kMostRowTileRows &&
         table.conv_f32.row_vectors[part.rows - 1] > 0 && fits_tile(part);
}

bool row_grad_weight_accepts(const Correlation& part) {
  constexpr Index kMostPairs = 16, kMostTaps = 128;
  return part.rows * part.channels <= kMostPairs && static_cast<Index>(part.taps.size()) <= kMostTaps &&
         fits_tile(part);
}

template <class T>
void run_row_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                   const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const std::vector<Job> jobs = make_jobs(parts, kernels.lanes, sizeof(T));
  const Index tasks = jobs.back().first_task + jobs.back().tasks();
  Index packed_elements = 0, tile_elements = 0, result_elements = 0, work = 0;
  for (const Job& job : jobs) {
    packed_elements += packed_weight_elements(*job.part);
    tile_elements = std::max(tile_elements, job.tile_elements());
    result_elements = std::max(result_elements, job.result_elements());
    work += job.part->groups * job.part->pixels() * (job.part->depth() * job.part->rows / 16 + 1);
  }
  const Workspace packed_memory(1, static_cast<std::size_t>(packed_elements) * sizeof(T));
  T* packed = reinterpret_cast<T*>(packed_memory.of(0));
  for (const Job& job : jobs) pack_entries(*job.part, weight, packed + job.packed_offset);

  const int workers = worker_count(num_threads, tasks, work);
  const auto carve = [=](Carver carver, T*& tile, T*& result) {
    tile = carver.take<T>(tile_elements);
    result = carver.take<T>(result_elements);
    return carver.used();
  };
  T *tile, *result;
  const Workspace scratch(workers, carve(Carver(), tile, result));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    T *worker_tile, *worker_result;
    carve(Carver(scratch.of(worker)), worker_tile, worker_result);
    const Job& job = job_of(jobs, task);
    run_task(job, kernels, source, packed, bias, target, task - job.first_task, worker_tile, worker_result);
  });
}

template void run_row_tiles(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                            const float*, float*, int);
template void run_row_tiles(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                            const double*, double*, int);

}  // namespace convpool
