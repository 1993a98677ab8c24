#include "convolution/depthwise_phases.hpp"

#include <algorithm>

#include "convolution/padded_rows.hpp"
#include "convolution/phase_set.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr std::size_t kMostTaps = 64;         // of a kernel, in all phases
constexpr Index kTaskElements = 1 << 15;      // neighbouring planes go to one thread
constexpr Index kWantedTileBytes = 24 << 10;  // a padded plane, or a band of it: half of the first-level cache
constexpr Index kLeastRows = 8;
constexpr std::size_t kMostTileBytes = 256 << 10;  // of a band of so few rows

struct Job {
  PhaseSet set;
  Index lanes, box_rows;
  PaddedRows tile;
  std::vector<Index> offsets;  // of every tap in the tile

  Job(const std::vector<Correlation>& parts, Index vector_lanes, std::size_t element_bytes)
      : set(parts.data(), parts.data() + parts.size()), lanes(vector_lanes),
        box_rows(wanted_rows(static_cast<Index>(element_bytes))), tile(padded(box_rows)) {
    for (const Tap& tap : set.common.taps) offsets.push_back(tile.tap_offset(tap));
  }

  const Correlation& part() const { return set.common; }

 private:
  PaddedRows padded(Index rows) const {
    return PaddedRows(part(), rows, ceil_divide(part().target.extent[2], lanes) * lanes);
  }
  Index wanted_rows(Index element_bytes) const {
    Index rows = part().target.extent[1];
    while (rows > kLeastRows && padded(rows).channel_pitch() * element_bytes > kWantedTileBytes)
      rows = ceil_divide(rows, 2);
    return rows;
  }
};

// The rows of one phase along y, in a band of positions that begins at `y`.
template <class T>
void run_rows(const Job& job, const ConvKernels<T>& kernels, const Phase& even, const Phase& odd, Index y,
              const T* tile, const T* weights, T bias, T* plane) noexcept {
  const Index rows = std::min(job.box_rows, even.part.target.extent[1] - y);
  if (rows <= 0) return;
  const Index row_stride = even.part.target.axis_stride[1];
  T* target = plane + even.part.target_phase[1] * job.set.target.axis_stride[1] + y * row_stride;
  kernels.depthwise.phases({rows, job.set.target.extent[2], tile, job.tile.row_pitch(),
                            job.offsets.data() + even.first_tap, weights + even.first_tap,
                            even.stop_tap - even.first_tap, odd.stop_tap - odd.first_tap, bias, target, row_stride});
}

template <class T>
void run_plane(const Job& job, const ConvKernels<T>& kernels, const T* source, const T* weights, T bias, T* target,
               Index batch, Index channel, T* tile) noexcept {
  const Grid& grid = job.set.target;
  const Index* extent = job.part().target.extent;
  T* plane = target + job.set.target_offset + batch * grid.batch_stride + channel * grid.channel_stride;
  for (Index y = 0; y < extent[1]; y += job.box_rows) {
    job.tile.pack(job.part(), kernels, source, channel, 1,
                  {batch, 0, y, 0, std::min(job.box_rows, extent[1] - y), extent[2]}, tile);
    for (std::size_t phase = 0; phase < job.set.phases.size(); phase += 2)
      run_rows(job, kernels, job.set.phases[phase], job.set.phases[phase + 1], y, tile, weights, bias, plane);
  }
}

// Whether the padded rows of the smallest band stay within their bound: taps may lie far apart.
bool fits_tile(const Correlation& part) {
  constexpr Index kMostLanes = 16;
  const PaddedRows tile(part, std::min(part.target.extent[1], kLeastRows), part.target.extent[2] + kMostLanes);
  return static_cast<std::size_t>(tile.channel_pitch()) * sizeof(double) <= kMostTileBytes;
}

}  // namespace

bool depthwise_phases_accept(const Correlation& part) {
  constexpr Index kLeastColumns = 16, kMostColumns = 8192;  // fewer: planes side by side; more: they are cut
  const Index columns = part.whole_extent[2];
  return part.rows == 1 && part.channels == 1 && part.target_step[2] == 2 && part.target.axis_stride[2] == 2 &&
         part.source.axis_stride[2] == 1 && part.target.extent[0] == 1 && part.target_step[0] == 1 &&
         phase_count(part) * static_cast<Index>(part.taps.size()) <= static_cast<Index>(kMostTaps) &&
         columns >= kLeastColumns && columns <= kMostColumns && fits_tile(part);
}

template <class T>
void run_depthwise_phases(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Job job(parts, kernels.lanes, sizeof(T));
  const Correlation& part = job.part();
  const Index plane = std::max<Index>(job.set.target.extent[1] * job.set.target.extent[2], 1);
  const Index planes = part.batch * part.groups, planes_at_once = ceil_divide(kTaskElements, plane);
  const Index tasks = ceil_divide(planes, planes_at_once);
  const int workers = worker_count(num_threads, tasks, planes * plane * (part.depth() / 16 + 1));
  const Workspace memory(workers, static_cast<std::size_t>(job.tile.channel_pitch()) * sizeof(T));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    T weights[kMostTaps];
    const Index stop = std::min((task + 1) * planes_at_once, planes);
    for (Index index = task * planes_at_once; index < stop; ++index) {
      const Index batch = index / part.groups, channel = index % part.groups;
      T* next = weights;
      for (const Tap& tap : part.taps) *next++ = weight[tap.weight_offset + channel * part.weight_group_stride];
      run_plane(job, kernels, source, weights, bias == nullptr ? T{0} : bias[channel], target, batch, channel,
                reinterpret_cast<T*>(memory.of(worker)));
    }
  });
}

template void run_depthwise_phases(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                                   const float*, float*, int);
template void run_depthwise_phases(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                                   const double*, double*, int);

}  // namespace convpool
