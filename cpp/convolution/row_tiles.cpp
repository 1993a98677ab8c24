#include "convolution/row_tiles.hpp"

#include <algorithm>

#include "convolution/packed_weights.hpp"
#include "convolution/row_cut.hpp"
#include "convolution/weight_tiles.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kDepthChunk = 128;                 // products summed in a register, as in packed tiles
constexpr std::size_t kMostTileBytes = 512 << 10;  // of the padded source, at the smallest box

// One correlation; those of one call share the cut and the padded source of a box.
struct Job {
  const Correlation* part;
  std::vector<Index> offsets;  // of every entry in the tile, in the order of packed weights
  Index packed_offset, result_offset;
};

// Entries of some channels, the channels of a tap together.
struct Entries {
  const Job* job;
  Index first, stop, channels;
  bool is_added;  // to the sums of other channels
};

struct Call {
  std::vector<Job> jobs;
  RowCut cut;
  PaddedRows tile;
  RowTiles blocks;  // of the rows of a group
  bool is_direct;   // results are summed where they belong: at once, since the last vector of a row overlaps another
  bool skips_padding = false;  // leaves out the taps at either end of a tile's that reach nothing else

  const Correlation& first_part() const { return *jobs.front().part; }
  Index tile_elements() const { return cut.group_block * cut.channel_block * tile.channel_pitch(); }
  Index result_elements() const {
    return is_direct ? 0 : cut.group_block * first_part().rows * cut.box_rows * cut.padded_columns;
  }
};

std::vector<Index> entry_offsets(const Correlation& part, const PaddedRows& tile, Index channel_block) {
  std::vector<Index> offsets;
  offsets.reserve(static_cast<std::size_t>(part.depth()));
  for (Index block = 0; block < part.channels; block += channel_block)
    for (const Tap& tap : part.taps)
      for (Index channel = 0; channel < std::min(channel_block, part.channels - block); ++channel)
        offsets.push_back(channel * tile.channel_pitch() + tile.tap_offset(tap));
  return offsets;
}

// What all parts read: the first, largest one with everybody's taps.
Correlation united_part(const std::vector<Correlation>& parts) {
  Correlation all = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i)
    all.taps.insert(all.taps.end(), parts[i].taps.begin(), parts[i].taps.end());
  return all;
}

template <class T>
Call make_call(const ConvKernels<T>& kernels, const std::vector<Correlation>& parts) {
  const Correlation all = united_part(parts);
  const RowCut cut = make_row_cut(all, kernels.lanes, sizeof(T));
  Call call{{},
            cut,
            PaddedRows(all, cut.box_rows, cut.padded_columns),
            RowTiles(all.rows, kernels.row_tile_rows),
            all.target.axis_stride[2] == 1 && all.channels <= cut.channel_block};
  Index packed = 0, results = 0;
  for (const Correlation& part : parts) {
    call.jobs.push_back({&part, entry_offsets(part, call.tile, cut.channel_block), packed, results});
    packed += packed_weight_elements(part);
    results += call.result_elements();
  }
  return call;
}

// Where the rows of a group go: to their place in the target if its pixels are neighbours, else to scratch memory.
template <class T>
struct Place {
  T* data;
  Index row, y;  // distances
};

// Whether a tap reaches rows of the source from some target rows of a box.
bool reaches_rows(const Correlation& part, const Tap& tap, const TargetBox& box, Index y, Index rows) noexcept {
  const Index z = box.z * part.step[0] + tap.offset[0];
  const Index first = (box.y + y) * part.step[1] + tap.offset[1], last = first + (rows - 1) * part.step[1];
  return z >= 0 && z < part.source.extent[0] && last >= 0 && first < part.source.extent[1];
}

Entries without_padding(Entries entries, const TargetBox& box, Index y, Index rows) noexcept {
  const Correlation& part = *entries.job->part;
  auto first = part.taps.begin(), stop = part.taps.end();
  for (; first != stop && !reaches_rows(part, *first, box, y, rows); ++first) entries.first += entries.channels;
  for (; first != stop && !reaches_rows(part, *(stop - 1), box, y, rows); --stop) entries.stop -= entries.channels;
  return entries;
}

// One tile of rows x vectors through all entries; without any, it is the bias.
template <class T>
void run_tile(const Entries& entries, const ConvKernels<T>& kernels, RowTile<T> tile, const T* packed, Index rows,
              Index vectors) noexcept {
  for (Index entry = entries.first; entry == entries.first || entry < entries.stop; entry += kDepthChunk) {
    tile.a = packed + entry * rows;
    tile.offsets = entries.job->offsets.data() + entry;
    tile.depth = std::min(kDepthChunk, entries.stop - entry);
    tile.is_added = entries.is_added || entry > entries.first;
    kernels.row_tile[rows - 1][vectors - 1](tile);
  }
}

// Vectors of the next tile of a row of which `left` are still to come: tiles of about the same size.
Index vectors_abreast(Index left, Index most) noexcept {
  return left <= 1 ? 1 : ceil_divide(left, ceil_divide(left, most));
}

// Some target rows of a group. A tile's vectors lie side by side, so that a row is written from its start to its end;
// in narrow images below each other, so that tiles are full. The last vector of a row overlaps the one before it, or
// fills the padding of a result.
template <class T>
void multiply_rows(const Call& call, const Entries& entries, const ConvKernels<T>& kernels, RowTile<T> tile,
                   const T* packed, const T* source, Index rows, const TargetBox& box, const Place<T>& place) noexcept {
  const Index lanes = kernels.lanes, most_vectors = kernels.row_vectors[rows - 1];
  const bool is_wide = box.rows == 1 || box.columns >= most_vectors * lanes;
  tile.b_vector = is_wide ? lanes : call.tile.target_row_pitch();
  tile.c_vector = is_wide ? lanes : place.y;
  tile.c_row = place.row;
  tile.columns = box.columns;
  Entries reached = entries;
  const auto look_at = [&](Index y, Index target_rows) {
    if (call.skips_padding) reached = without_padding(entries, box, y, target_rows);
  };
  const auto run = [&](Index y, Index x, Index vectors) {
    tile.b = source + y * call.tile.target_row_pitch() + x;
    tile.c = place.data + y * place.y + x;
    run_tile(reached, kernels, tile, packed, rows, vectors);
  };
  const auto start_of = [&](Index column) {
    return call.is_direct ? std::max<Index>(std::min(column, box.columns - lanes), 0) : column;
  };
  if (is_wide) {
    for (Index y = 0; y < box.rows; ++y) {
      look_at(y, 1);
      for (Index column = 0, abreast; column < box.columns; column += abreast * lanes) {
        abreast = vectors_abreast((box.columns - column) / lanes, most_vectors);
        run(y, start_of(column), abreast);
      }
    }
  } else {
    for (Index y = 0; y < box.rows; y += most_vectors) {
      const Index below = std::min(most_vectors, box.rows - y);
      look_at(y, below);
      for (Index column = 0; column < box.columns; column += lanes) run(y, start_of(column), below);
    }
  }
}

// All rows of a group.
template <class T>
void multiply_group(const Call& call, const Entries& entries, const ConvKernels<T>& kernels, const T* packed,
                    const T* source, const T* bias, const TargetBox& box, Place<T> place) noexcept {
  for (Index first = 0; first < call.blocks.rows; first += call.blocks.tile_rows) {
    const Index rows = call.blocks.rows_at(first);
    RowTile<T> tile{};
    tile.bias = bias == nullptr ? nullptr : bias + first;
    multiply_rows(call, entries, kernels, tile, packed, source, rows, box, place);
    packed += rows * entries.job->part->depth();
    place.data += rows * place.row;
  }
}

// Moves result[channel][y][x] to the target, in the order that either layout likes.
template <class T>
void store_box(const Call& call, const Grid& grid, const ConvKernels<T>& kernels, const T* result, Index channels,
               const TargetBox& box, T* target) noexcept {
  const Index plane = call.cut.box_rows * call.cut.padded_columns, row_pitch = call.cut.padded_columns;
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

// The box as one part has it: later phases may be a row or a column shorter, or have nothing in it.
TargetBox own_box(const Correlation& part, TargetBox box) noexcept {
  box.rows = std::max<Index>(0, std::min(box.rows, part.target.extent[1] - box.y));
  box.columns = box.z < part.target.extent[0] ? std::min(box.columns, part.target.extent[2] - box.x) : 0;
  if (box.columns <= 0) box.rows = 0;
  return box;
}

// What a task works on: some groups of a box.
struct Task {
  TargetBox box;
  Index first_group, groups;
};

// One part of a box of which `tile` holds the padded source, from those of its channels that `entries` are of.
template <class T>
void run_part(const Call& call, const Entries& entries, const ConvKernels<T>& kernels, const T* packed, const T* bias,
              T* target, const Task& task, const TargetBox& box, const T* tile, T* result) noexcept {
  const Job& job = *entries.job;
  const Correlation& part = *job.part;
  const Grid& grid = part.target;
  const Index first_row = task.first_group * part.rows;
  Place<T> place{result + job.result_offset, call.cut.box_rows * call.cut.padded_columns, call.cut.padded_columns};
  if (call.is_direct)
    place = {target + part.target_offset + first_row * grid.channel_stride + box.batch * grid.batch_stride +
                 box.z * grid.axis_stride[0] + box.y * grid.axis_stride[1] + box.x,
             grid.channel_stride, grid.axis_stride[1]};
  for (Index group = 0; group < task.groups; ++group) {
    multiply_group(call, entries, kernels, packed + job.packed_offset + (first_row + group * part.rows) * part.depth(),
                   tile + group * part.channels * call.tile.channel_pitch(),
                   bias == nullptr ? nullptr : bias + first_row + group * part.rows, box, place);
    place.data += part.rows * place.row;
  }
}

template <class T>
void run_task(const Call& call, const ConvKernels<T>& kernels, const T* source, const T* packed, const T* bias,
              T* target, Index index, T* tile, T* result) noexcept {
  const Correlation& first = call.first_part();
  const Index block = index / call.cut.boxes, first_group = block * call.cut.group_block;
  const Task task{call.cut.box(first, index % call.cut.boxes), first_group, call.cut.groups_of(first, block)};
  const Index whole_groups = (task.groups - 1) * first.channels;
  for (Index channel = 0; channel == 0 || channel < first.channels; channel += call.cut.channel_block) {
    const Index channels = std::min(call.cut.channel_block, first.channels - channel);
    call.tile.pack(first, kernels, source, first_group * first.channels + channel, whole_groups + channels, task.box,
                   tile);
    for (const Job& job : call.jobs) {
      const TargetBox own = own_box(*job.part, task.box);
      const Index taps = static_cast<Index>(job.part->taps.size());
      const Entries entries{&job, channel * taps, (channel + channels) * taps, channels, channel > 0};
      if (own.rows > 0) run_part(call, entries, kernels, packed, bias, target, task, own, tile, result);
    }
  }
  for (const Job& job : call.jobs) {
    const TargetBox own = own_box(*job.part, task.box);
    const Grid& grid = job.part->target;
    if (own.rows > 0 && !call.is_direct)
      store_box(call, grid, kernels, result + job.result_offset, task.groups * first.rows, own,
                target + job.part->target_offset + first_group * first.rows * grid.channel_stride);
  }
}

// Whether the padded source of the smallest box stays within its bound.
bool fits_tile(const Correlation& part) {
  constexpr Index kMostBlockChannels = 16, kMostLanes = 16;
  const PaddedRows tile(part, std::min(part.target.extent[1], kLeastBoxRows),
                        std::min(part.target.extent[2], kLeastBoxColumns) + kMostLanes);
  const Index held = channels_at_once(part);
  const Index channels = part.source.channel_stride == 1 ? std::max(held, kMostBlockChannels) : held;
  return static_cast<std::size_t>(channels * tile.channel_pitch()) * sizeof(double) <= kMostTileBytes;
}

}  // namespace

// Few rows; or few channels, where the rows of many are neighbours in memory as they are computed and fill the lanes.
bool row_tiles_accept(const KernelTable& table, const Correlation& part) {
  constexpr Index kMostChannels = 16, kMostManyRows = 512;
  const Index lanes = table.conv_f32.lanes, width = part.target.extent[2];
  const bool has_few_rows = part.rows <= table.conv_f32.row_tile_rows;
  const bool has_planes = part.channels <= kMostChannels && part.rows <= kMostManyRows && part.taps.size() > 1 &&
                          part.source.axis_stride[2] == 1 && part.target.axis_stride[2] == 1 &&
                          5 * width >= 4 * ceil_divide(width, lanes) * lanes;
  return (has_few_rows || has_planes) && fits_tile(part);
}

bool row_grad_weight_accepts(const Correlation& part) {
  constexpr Index kMostPairs = 16, kMostTaps = 128;
  return part.rows * part.channels <= kMostPairs && static_cast<Index>(part.taps.size()) <= kMostTaps &&
         fits_tile(part);
}

namespace {

template <class T>
bool are_finite(const T* values, Index count) noexcept {
  bool is_any_not = false;
  for (Index i = 0; i < count; ++i) is_any_not |= values[i] * T{0} != 0;
  return !is_any_not;
}

// Whether many of the rows that taps would read are padding.
bool has_rows_to_skip(const Correlation& part) {
  constexpr Index kLeastShare = 16;
  if (part.padding_mode != PaddingMode::zeros) return false;
  Index inside = 0;
  for (const Tap& tap : part.taps) {
    const Inside z(tap.offset[0], part.step[0], part.source.extent[0], part.target.extent[0]);
    const Inside y(tap.offset[1], part.step[1], part.source.extent[1], part.target.extent[1]);
    inside += (z.stop - z.first) * (y.stop - y.first);
  }
  const Index all = static_cast<Index>(part.taps.size()) * part.target.extent[0] * part.target.extent[1];
  return (all - inside) * kLeastShare > all;
}

template <class T>
void run_parts(const ConvKernels<T>& kernels, const std::vector<Correlation>& parts, const T* source, const T* weight,
               const T* bias, T* target, int num_threads) {
  Call call = make_call(kernels, parts);
  Index packed_elements = 0, work = 0;
  for (const Correlation& part : parts) {
    packed_elements += packed_weight_elements(part);
    work += part.groups * part.pixels() * (part.depth() * part.rows / 16 + 1);
  }
  PackedWeights<T> packed(PackedForm::row_tiles, kernels, parts, weight);
  packed.pack(packed_elements, [&](T* memory) {
    for (const Job& job : call.jobs)
      pack_weights(*job.part, kernels, call.blocks.tile_rows, call.cut.channel_block, weight,
                   memory + job.packed_offset, num_threads);
  });
  const bool is_packed = ScratchMeter::current() == nullptr;  // a plan packs nothing
  call.skips_padding = is_packed && std::any_of(parts.begin(), parts.end(), has_rows_to_skip) &&
                       are_finite(packed.data(), packed_elements);

  const int workers = worker_count(num_threads, call.cut.tasks(), work);
  const auto carve = [&](Carver carver, T*& tile, T*& result) {
    tile = carver.take<T>(call.tile_elements());
    result = carver.take<T>(static_cast<Index>(call.jobs.size()) * call.result_elements());
    return carver.used();
  };
  T *tile, *result;
  const Workspace scratch(workers, carve(Carver(), tile, result));
  parallel_for(call.cut.tasks(), workers, [&](Index task, int worker) {
    T *worker_tile, *worker_result;
    carve(Carver(scratch.of(worker)), worker_tile, worker_result);
    run_task(call, kernels, source, packed.data(), bias, target, task, worker_tile, worker_result);
  });
}

// Whether the parts see the same axes: axes that end nowhere are joined part by part.
bool share_axes(const std::vector<Correlation>& parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const Correlation& part) {
    return std::equal(part.source.extent, part.source.extent + kAxes, parts.front().source.extent) &&
           std::equal(part.target.axis_stride, part.target.axis_stride + kAxes, parts.front().target.axis_stride);
  });
}

}  // namespace

template <class T>
void run_row_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                   const T* bias, T* target, int num_threads) {
  constexpr std::size_t kMostParts = 16;  // whose taps together stay near those of one
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  if (parts.size() <= kMostParts && share_axes(parts))
    return run_parts(kernels, parts, source, weight, bias, target, num_threads);
  for (const Correlation& part : parts) run_parts(kernels, {part}, source, weight, bias, target, num_threads);
}

template void run_row_tiles(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                            const float*, float*, int);
template void run_row_tiles(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                            const double*, double*, int);

}  // namespace convpool
