// Pooled elements and the places of the input they name by index: the frame of max-pool gradients and of unpooling.
//
// A task owns all positions of some planes (of a channel, or, channels last, of all), or, where planes are few, a band
// of positions of one: it looks at every pooled element and takes those that name a place of its own. So no two tasks
// write the same place, and every place sees its elements in row-major order.
#pragma once

#include <algorithm>
#include <limits>

#include "geometry/axis.hpp"
#include "geometry/shape.hpp"
#include "pooling/pool_view.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

// Channels [0, lanes) at `pitch` elements per position, from the plane's first element on both sides.
struct ScatterTask {
  Index full_offset, pooled_offset;  // of the first channel, in elements
  Index lanes, pitch;
  Index band_first, band_stop;  // owned positions of the full plane
};

// Whether a kernel's numbers of 32 bits reach all elements that lie together.
inline bool has_kernel_offsets(const Extents& full) noexcept {
  const Index channels = full.layout == Layout::channels_first ? 1 : full.channels;
  return full.plane() * channels < std::numeric_limits<std::int32_t>::max();
}

// What a caller's scratch memory allows.
struct ScatterLimits {
  Index lanes = std::numeric_limits<Index>::max();
  Index elements = std::numeric_limits<Index>::max();  // of a band and its lanes
  bool has_bands = true;
};

class ScatterTasks {
 public:
  // `work` as worker_count() takes it: a call that stays on one thread is not cut.
  ScatterTasks(const Extents& full, const Extents& pooled, int num_threads, Index work,
               const ScatterLimits& limits = {})
      : full_(full), pooled_(pooled), is_first_(full.layout == Layout::channels_first) {
    const Index threads = worker_count(num_threads, full.elements(), work);
    lanes_ = is_first_ ? 1 : std::min<Index>(full.channels, limits.lanes);
    if (!limits.has_bands && threads > 1) split_lanes(2 * threads);
    const Index whole_planes = std::max<Index>(full.batch * lane_blocks(), 1);
    if (limits.has_bands) {
      const Index fitting = std::max<Index>(limits.elements / lanes_, 1);
      bands_ =
          std::max(std::min(shared_bands(whole_planes, threads), full.plane()), ceil_divide(full.plane(), fitting));
    }
    if (is_first_ && bands_ == 1) planes_ = std::clamp<Index>(kTaskElements / full.plane(), 1, whole_planes);
    workers_ = static_cast<int>(std::min(threads, std::max<Index>(count(), 1)));
  }

  int workers() const noexcept { return workers_; }
  Index count() const noexcept { return ceil_divide(full_.batch * lane_blocks(), planes_) * bands_; }
  Index most_lanes() const noexcept { return lanes_; }
  Index bands() const noexcept { return bands_; }
  Index most_positions() const noexcept { return ceil_divide(full_.plane(), bands_); }  // of a band

  // Calls body(ScatterTask) for every plane, or block of channels, of a task.
  template <class Body>
  void run(Index task, Body&& body) const noexcept {
    const Index band = task % bands_;
    const Index first = task / bands_ * planes_;
    for (Index block = first; block < std::min(first + planes_, full_.batch * lane_blocks()); ++block) {
      const Index n = block / lane_blocks(), c = block % lane_blocks() * lanes_;
      body(ScatterTask{n * full_.batch_stride() + c * full_.channel_stride(),
                       n * pooled_.batch_stride() + c * pooled_.channel_stride(), std::min(lanes_, full_.channels - c),
                       is_first_ ? 1 : full_.channels, full_.plane() * band / bands_,
                       full_.plane() * (band + 1) / bands_});
    }
  }

 private:
  static constexpr Index kLineLanes = 16, kWideLanes = 64;  // floats of a cache line, which two tasks should not share
  static constexpr Index kTaskElements = 16 * 1024;

  // Two bands where some threads would get two planes, and others one.
  static Index shared_bands(Index planes, Index threads) noexcept {
    return planes > threads && planes < 2 * threads ? 2 : ceil_divide(threads, planes);
  }

  // Where bands cannot be had: a block takes two to four times as long an element as all channels, which lie together.
  void split_lanes(Index wanted) noexcept {
    while (lanes_ >= 2 * kWideLanes && full_.batch * lane_blocks() < wanted)
      lanes_ = ceil_divide(ceil_divide(lanes_, 2), kLineLanes) * kLineLanes;
  }

  Index lane_blocks() const noexcept { return ceil_divide(full_.channels, lanes_); }

  const Extents& full_;
  const Extents& pooled_;
  bool is_first_;
  Index lanes_;
  Index planes_ = 1, bands_ = 1;
  int workers_;
};

// `full` is a whole array.
template <class T>
void zero_band(const ScatterTask& task, T* full) noexcept {
  full += task.full_offset;
  if (task.lanes == task.pitch) {
    std::fill(full + task.band_first * task.pitch, full + task.band_stop * task.pitch, T{0});
    return;
  }
  for (Index position = task.band_first; position < task.band_stop; ++position)
    std::fill_n(full + position * task.pitch, task.lanes, T{0});
}

// For scatter_run: the first NaN of a sum stays; which one an addition of two keeps is the compiler's choice.
struct AddGradient {
  template <class V, class T>
  void operator()(V& sum, const T& gradient, Index) const noexcept {
    if (sum == sum) sum += gradient;
  }
};

// place(full element, pooled element, where the full element lies) for every pooled element of a run of positions that
// names a position of the band, in row-major order. `full`, `pooled` and `indices` are whole arrays.
template <class T, class U, class I, class Place>
void scatter_run(const ScatterTask& task, const Range& run, T* full, U* pooled, const I* indices,
                 Place&& place) noexcept {
  const Index first = task.band_first, count = task.band_stop - task.band_first, pitch = task.pitch;
  full += task.full_offset;
  pooled += task.pooled_offset + run.first * pitch;
  indices += task.pooled_offset + run.first * pitch;
  const auto place_lanes = [&](auto lanes) {
    for (Index i = 0; i < run.count; ++i, pooled += pitch, indices += pitch)
      for (Index lane = 0; lane < lanes; ++lane) {
        const Index position = indices[lane];
        if (static_cast<std::size_t>(position - first) < static_cast<std::size_t>(count))
          place(full[position * pitch + lane], pooled[lane], task.full_offset + position * pitch + lane);
      }
  };
  if (pitch == 1) return place_lanes(std::integral_constant<Index, 1>{});
  place_lanes(task.lanes);
}

}  // namespace convpool
