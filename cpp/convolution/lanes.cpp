#include "convolution/lanes.hpp"

#include <algorithm>

#include "convolution/lane_window.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kDepthChunk = 128;  // products summed in a register, as in packed tiles

// One correlation; those of one call share a cut, so that a task runs all stride phases of its source rows.
struct Job {
  const Correlation* part;
  LaneWindow window;
  Index packed_offset;

  explicit Job(const Correlation& correlation, Index offset)
      : part(&correlation), window(correlation), packed_offset(offset) {}
  Index packed_elements() const { return window.taps() * part->groups; }
};

template <class T>
struct Scratch {
  T* zeros;
  const T** table;
  const T* const** rows;

  static std::size_t carve(Carver carver, const std::vector<Job>& jobs, const LaneCut& cut, Scratch& scratch) {
    Index table_elements = 0, most_rows = 0;
    for (const Job& job : jobs) {
      const Index rows = job.window.table_rows(cut.rows), columns = job.window.table_columns(cut.columns);
      table_elements = std::max(table_elements, rows * columns);
      most_rows = std::max(most_rows, job.window.rows());
    }
    scratch.zeros = carver.take<T>(cut.channels);
    scratch.table = carver.take<const T*>(table_elements);
    scratch.rows = carver.take<const T* const*>(most_rows);
    return carver.used();
  }
};

// [tap][channel]
template <class T>
void pack_taps(const Job& job, const T* weight, T* packed) noexcept {
  for (const Index tap : job.window.weight_offsets())
    for (Index channel = 0; channel < job.part->groups; ++channel)
      *packed++ = weight[tap + channel * job.part->weight_group_stride];
}

// Target pixels [0, pixels) of one row through all taps, a few rows of taps at a time.
template <class T>
void run_pixels(const Job& job, const ConvKernels<T>& kernels, LaneTaps<T> taps, Index first_column, Index pixels,
                const T* packed) noexcept {
  const T* const* const* columns = taps.columns;
  const int step = static_cast<int>(taps.step);
  taps.is_added = false;
  for (const TapRun& run : job.window.runs()) {
    const auto kernel = kernels.lane.taps[run.taps - 1][run.taps == 1 ? 0 : step - 1][pixels - 1];
    const Index most_rows = kDepthChunk / run.taps;
    taps.first_column = first_column + run.column;
    for (Index row = 0; row < job.window.rows(); row += most_rows) {
      taps.columns = columns + row;
      taps.rows = std::min(most_rows, job.window.rows() - row);
      taps.weights = packed + (run.packed + row * run.taps) * taps.weight_pitch;
      kernel(taps);
      taps.is_added = true;
    }
  }
}

// Pixels that go through a kernel together; the last of a row overlap those before them.
Index pixels_at_once(Index columns) noexcept { return columns >= 7 ? 7 : columns >= 4 ? 4 : 1; }

template <class T>
void run_box(const Job& job, const LaneCut& cut, const ConvKernels<T>& kernels, const T* source, const T* packed,
             const T* bias, T* target, Index channels, const Index (&first)[kAxes],
             const Scratch<T>& scratch) noexcept {
  const Grid& grid = job.part->target;
  const Index rows = std::min(cut.rows, grid.extent[1] - first[1]);
  const Index columns = std::min(cut.columns, grid.extent[2] - first[2]);
  if (rows <= 0 || columns <= 0 || first[0] >= grid.extent[0]) return;
  job.window.fill_table(job.part->source, source, scratch.zeros, first, rows, columns, scratch.table);
  LaneTaps<T> taps{};
  taps.channels = channels;
  taps.columns = scratch.rows;
  taps.step = job.part->step[2];
  taps.weight_pitch = job.part->groups;
  taps.bias = bias;
  taps.target_pitch = grid.axis_stride[2];
  target += first[0] * grid.axis_stride[0] + first[1] * grid.axis_stride[1] + first[2] * grid.axis_stride[2];
  const Index pixels = pixels_at_once(columns);
  for (Index y = 0; y < rows; ++y) {
    job.window.pick_rows(scratch.table, rows, columns, y, scratch.rows);
    for (Index x = 0; x < columns; x += pixels) {
      const Index pixel = std::min(x, columns - pixels);
      taps.target = target + y * grid.axis_stride[1] + pixel * grid.axis_stride[2];
      run_pixels(job, kernels, taps, pixel * taps.step, pixels, packed);
    }
  }
}

}  // namespace

bool lanes_accept(const KernelTable& table, const Correlation& part) {
  return part.rows == 1 && part.channels == 1 && !part.taps.empty() && part.source.channel_stride == 1 &&
         part.target.channel_stride == 1 && 4 * part.groups >= table.conv_f32.lanes;
}

template <class T>
void run_lanes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
               const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  std::vector<Job> jobs;
  Index packed_elements = 0, work = 0;
  for (const Correlation& part : parts) {
    jobs.emplace_back(part, packed_elements);
    packed_elements += jobs.back().packed_elements();
    work += part.groups * part.pixels() * (part.depth() / 16 + 1);
  }
  // The first phase is the largest.
  const Correlation& first_part = parts.front();
  const LaneCut cut = make_lane_cut(first_part, jobs.front().window, kernels.lanes, sizeof(T));
  const Workspace packed_memory(1, static_cast<std::size_t>(packed_elements) * sizeof(T));
  T* packed = reinterpret_cast<T*>(packed_memory.of(0));
  for (const Job& job : jobs) pack_taps(job, weight, packed + job.packed_offset);

  const Index planes = first_part.target.extent[0], tasks = first_part.batch * planes * cut.tasks_per_plane();
  const int workers = worker_count(num_threads, tasks, work);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), jobs, cut, measure));
  for (int worker = 0; worker < workers; ++worker) {
    Scratch<T>::carve(Carver(memory.of(worker)), jobs, cut, measure);
    std::fill_n(measure.zeros, cut.channels, T{0});
  }
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), jobs, cut, scratch);
    const Index box = task % cut.boxes, band = task / cut.boxes % cut.bands;
    const Index block = task / cut.boxes / cut.bands % cut.channel_blocks, plane = task / cut.tasks_per_plane();
    const Index channel = block * cut.channels, channels = std::min(cut.channels, first_part.groups - channel);
    const Index batch = plane / planes, first[kAxes] = {plane % planes, band * cut.rows, box * cut.columns};
    for (const Job& job : jobs)
      run_box(job, cut, kernels, source + batch * job.part->source.batch_stride + channel,
              packed + job.packed_offset + channel, bias == nullptr ? nullptr : bias + channel,
              target + job.part->target_offset + batch * job.part->target.batch_stride + channel, channels, first,
              scratch);
  });
}

template void run_lanes(const KernelTable*, const std::vector<Correlation>&, const float*, const float*, const float*,
                        float*, int);
template void run_lanes(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                        const double*, double*, int);

}  // namespace convpool
