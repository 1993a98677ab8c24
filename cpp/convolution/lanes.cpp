#include "convolution/lanes.hpp"

#include <algorithm>

#include "convolution/lane_cut.hpp"
#include "convolution/lane_weights.hpp"
#include "convolution/packed_weights.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kDepthChunk = 128;  // products summed in a register, as in packed tiles
constexpr Index kRowsBetween = 8;   // questions whether to go on: large kernels take long

// One correlation; those of one call share a cut, so that a task runs all stride phases of its source pixels.
struct Job {
  const Correlation* part;
  LaneWindow window;
  Index packed_offset;

  Job(const Correlation& correlation, Index offset) : part(&correlation), window(correlation), packed_offset(offset) {}
  Index channels() const { return part->groups * part->rows; }
  Index packed_elements() const { return window.depth() * channels(); }
};

template <class T>
struct Call {
  const ConvKernels<T>& kernels;
  const std::vector<Job>& jobs;
  const LaneCut& cut;
  const LaneTarget& target;
  const T *source, *packed, *bias;
  T* result;

  const Correlation& first_part() const { return *jobs.front().part; }
  Index boxes() const { return first_part().batch * cut.channel_blocks * cut.boxes_of_image(); }
  // Small boxes that follow each other go to one thread.
  Index boxes_at_once() const {
    constexpr Index kTaskElements = 1 << 15;
    const LaneBox box = cut.box(first_part(), 0);
    return ceil_divide(kTaskElements, std::max<Index>(box.pixels() * cut.channels, 1));
  }
  // Where a box of a part lies in the target that the parts share.
  LaneBox placed(const Job& job, const LaneBox& box) const noexcept {
    LaneBox place;
    for (int axis = 0; axis < kAxes; ++axis) {
      const Index step = target.step(*job.part, axis);
      place.first[axis] = box.first[axis] * step + target.phase(*job.part, axis);
      place.count[axis] = box.count[axis] == 0 ? 0 : (box.count[axis] - 1) * step + 1;
    }
    return place;
  }
};

template <class T>
struct Scratch {
  T *zeros, *source, *result;
  const T** table;
  const T* const** rows;
  LaneBox* boxes;         // of every job, at the place of the image that was last worked on
  LaneBox read, written;  // by all of them, where planes are brought side by side
  Index place = -1;
  bool has_table = false;  // of that place: pixels side by side lie where those of the last image lay

  static std::size_t carve(Carver carver, const Call<T>& call, Scratch& scratch) {
    Index table_elements = 0, most_rows = 0;
    LaneBox read{}, written{};
    const LaneBox first = call.cut.box(call.first_part(), 0);
    for (const Job& job : call.jobs) {
      const LaneBox box = job.window.reads(first);
      table_elements = std::max(table_elements, box.pixels());
      most_rows = std::max(most_rows, job.window.rows());
      read = united(read, box);
      written = united(written, call.placed(job, first));
    }
    const Index lanes = call.cut.is_side_by_side ? call.kernels.lanes : 0;
    scratch.zeros = carver.take<T>(call.cut.channels);
    scratch.source = carver.take<T>(read.pixels() * lanes);
    scratch.result = carver.take<T>(written.pixels() * lanes);
    scratch.table = carver.take<const T*>(table_elements);
    scratch.rows = carver.take<const T* const*>(most_rows);
    scratch.boxes = carver.take<LaneBox>(static_cast<Index>(call.jobs.size()));
    return carver.used();
  }
};

// Some neighbouring target pixels through all taps, as many rows of taps at a time as a sum may have products.
template <class T>
void run_pixels(const Job& job, const ConvKernels<T>& kernels, LaneTaps<T>& taps, const T* const* const* columns,
                Index first_column, Index at_once, const T* packed) noexcept {
  taps.is_added = false;
  for (const TapRun& run : job.window.runs()) {
    const auto kernel = kernels.lane.taps[taps.group > 1][run.taps - 1][run.taps == 1 ? 0 : taps.step - 1][at_once - 1];
    const Index most_rows = kDepthChunk / (run.taps * taps.group);
    taps.first_column = first_column + run.column;
    for (Index row = 0; row < job.window.rows(); row += most_rows) {
      taps.columns = columns + row;
      taps.rows = std::min(most_rows, job.window.rows() - row);
      taps.weights = packed + (run.packed + row * taps.group * run.taps) * taps.weight_pitch;
      kernel(taps);
      taps.is_added = true;
    }
  }
}

// Target rows of a box whose table is filled. Where one kernel takes all taps, it takes a whole row of pixels; else
// what it adds up stays in the first-level cache. Beyond the caches, each tile fetches what another one needs.
template <class T>
void run_rows(const Call<T>& call, const Job& job, LaneTaps<T>& taps, const LaneBox& box, const LanePixels<T>& target,
              const Index (&place)[kAxes], const Scratch<T>& scratch, const LaneBox& read, const T* packed) noexcept {
  const Index columns = box.count[2], at_once = columns >= 7 ? 7 : columns >= 4 ? 4 : 1;
  const Index z_step = call.target.step(*job.part, 0), y_step = call.target.step(*job.part, 1);
  const LaneWindow& window = job.window;
  const bool is_one_kernel =
      window.runs().size() == 1 && window.rows() <= kDepthChunk / (window.runs().front().taps * taps.group);
  taps.pixels = is_one_kernel && !call.cut.is_far ? columns : at_once;
  const PixelsAhead<T> ahead(window, scratch.table, box, read, taps.channels);
  for (Index z = 0; z < box.count[0]; ++z)
    for (Index y = 0; y < box.count[1]; ++y) {
      if (y % kRowsBetween == 0 && is_interrupted()) return;
      window.pick_rows(scratch.table, read, z, y, scratch.rows);
      T* row = target.at(place[0] + z * z_step, place[1] + y * y_step, place[2]);
      for (Index x = 0; x < columns; x += taps.pixels) {
        const Index pixel = std::min(x, columns - taps.pixels);
        taps.target = row + pixel * taps.target_pitch;
        if (call.cut.is_far) ahead.fetch(z, y, pixel, taps.pixels, row, y_step * target.stride[1], taps.target_pitch);
        run_pixels(job, call.kernels, taps, scratch.rows, pixel * taps.step, at_once, packed);
      }
    }
}

template <class T>
void run_box(const Call<T>& call, const Job& job, const LaneBox& box, const LanePixels<const T>& source,
             const LanePixels<T>& target, Index channel, Index channels, const Scratch<T>& scratch) noexcept {
  if (box.pixels() == 0) return;
  const Correlation& part = *job.part;
  const LaneBox read = job.window.reads(box), place = call.placed(job, box);
  if (!scratch.has_table) job.window.fill_table(part.source.extent, source, scratch.zeros, read, scratch.table);
  LaneTaps<T> taps{};
  taps.channels = channels;
  taps.step = part.step[2];
  taps.weight_pitch = job.channels();
  taps.group = part.rows;
  taps.bias = call.bias == nullptr ? nullptr : call.bias + channel;
  taps.target_pitch = call.target.step(part, 2) * target.stride[2];
  run_rows(call, job, taps, box, target, place.first, scratch, read, call.packed + job.packed_offset + channel);
}

// Where the boxes at a place of an image lie. Images and blocks of channels follow each other there.
template <class T>
void find_boxes(const Call<T>& call, Index place, Scratch<T>& scratch) noexcept {
  scratch.has_table = place == scratch.place && call.cut.is_side_by_side && call.jobs.size() == 1;
  if (place == scratch.place) return;
  scratch.place = place;
  scratch.read = scratch.written = LaneBox{};
  LaneBox* next = scratch.boxes;
  for (const Job& job : call.jobs) {
    const LaneBox box = *next++ = call.cut.box(*job.part, place);
    if (!call.cut.is_side_by_side) continue;
    if (box.pixels() > 0)
      scratch.read = united(scratch.read, clipped(job.window.reads(box), call.first_part().source.extent));
    scratch.written = united(scratch.written, call.placed(job, box));
  }
}

// One box of all parts.
template <class T>
void run_boxes(const Call<T>& call, Index number, Scratch<T>& scratch) noexcept {
  const Index block = number / call.cut.boxes_of_image();
  const Index channel = block % call.cut.channel_blocks * call.cut.channels, batch = block / call.cut.channel_blocks;
  const Index channels = std::min(call.cut.channels, call.jobs.front().channels() - channel);
  const Grid &from = call.first_part().source, &to = call.target.grid;
  const T* source = call.source + batch * from.batch_stride + channel * from.channel_stride;
  T* result = call.result + call.target.offset + batch * to.batch_stride + channel * to.channel_stride;
  LanePixels<const T> read_pixels{source, {from.axis_stride[0], from.axis_stride[1], from.axis_stride[2]}, {0, 0, 0}};
  LanePixels<T> written_pixels{result, {to.axis_stride[0], to.axis_stride[1], to.axis_stride[2]}, {0, 0, 0}};
  find_boxes(call, number % call.cut.boxes_of_image(), scratch);
  if (call.cut.is_side_by_side) {
    bring_side_by_side(call.kernels, from, source, channels, scratch.read, scratch.source);
    read_pixels = pixels_of<const T>(scratch.read, call.kernels.lanes, scratch.source);
    written_pixels = pixels_of(scratch.written, call.kernels.lanes, scratch.result);
  }
  const LaneBox* next = scratch.boxes;
  for (const Job& job : call.jobs) run_box(call, job, *next++, read_pixels, written_pixels, channel, channels, scratch);
  if (call.cut.is_side_by_side) take_to_planes(call.kernels, scratch.result, channels, scratch.written, to, result);
}

template <class T>
void run_jobs(const KernelTable& table, const std::vector<Correlation>& parts, const T* source, const T* weight,
              const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(table);
  std::vector<Job> jobs;
  Index packed_elements = 0, work = 0;
  for (const Correlation& part : parts) {
    jobs.emplace_back(part, packed_elements);
    packed_elements += jobs.back().packed_elements();
    work += jobs.back().channels() * part.pixels() * (part.depth() / 16 + 1);
  }
  PackedWeights<T> packed(PackedForm::lanes, kernels, parts, weight);
  packed.pack(packed_elements, [&](T* memory) {
    parallel_for(static_cast<Index>(jobs.size()), 1, [&](Index index, int) {
      const Job& job = jobs[static_cast<std::size_t>(index)];
      pack_lane_weights(*job.part, job.window, kernels, weight, memory + job.packed_offset);
    });
  });

  const LaneTarget whole(parts);
  const LaneCut cut(parts.front(), jobs.front().window, whole.is_whole ? static_cast<Index>(parts.size()) : 1,
                    kernels.lanes, sizeof(T));
  const Call<T> call{kernels, jobs, cut, whole, source, packed.data(), bias, target};
  const Index at_once = call.boxes_at_once(), tasks = ceil_divide(call.boxes(), at_once);
  const int workers = worker_count(num_threads, tasks, work);
  Scratch<T> scratch;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), call, scratch));
  for (int worker = 0; worker < workers; ++worker) {
    Scratch<T>::carve(Carver(memory.of(worker)), call, scratch);
    std::fill_n(scratch.zeros, cut.channels, T{0});
  }
  parallel_for(tasks, workers, [&](Index task, int worker) {
    Scratch<T> worker_scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), call, worker_scratch);
    for (Index number = task * at_once; number < std::min((task + 1) * at_once, call.boxes()); ++number)
      run_boxes(call, number, worker_scratch);
  });
}

}  // namespace

// Depthwise, or groups of a few channels, which must not reach across a vector of any element type; and windows that
// read few enough pixels.
bool lanes_accept(const KernelTable& table, const Correlation& part) {
  constexpr Index kMostPixels = 1 << 15, kLeastColumns = 64;
  const Index lanes = table.conv_f32.lanes, group = part.rows;
  const bool is_small_group = group == 1 || (group <= table.conv_f64.lanes && table.conv_f64.lanes % group == 0);
  if (!is_small_group || part.channels != group || part.taps.empty() || 4 * part.groups * group < lanes) return false;
  if (!part.is_channels_last() && group > 1) return false;
  if (part.source.channel_stride != 1 && part.source.axis_stride[2] != 1) return false;
  const Index columns = std::min(part.target.extent[2], kLeastColumns);
  return LaneWindow(part).reads({{0, 0, 0}, {1, 1, columns}}).pixels() <= kMostPixels;
}

template <class T>
void run_lanes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
               const T* bias, T* target, int num_threads) {
  if (LaneTarget(parts).is_whole) return run_jobs(*table, parts, source, weight, bias, target, num_threads);
  for (const Correlation& part : parts) run_jobs(*table, {part}, source, weight, bias, target, num_threads);
}

template void run_lanes(const KernelTable*, const std::vector<Correlation>&, const float*, const float*, const float*,
                        float*, int);
template void run_lanes(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                        const double*, double*, int);

}  // namespace convpool
