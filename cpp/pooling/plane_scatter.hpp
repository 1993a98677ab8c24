// Pooled elements and the places of the input they name by index: the frame of max-pool gradients and of unpooling.
//
// A task owns all positions of some (n, c) planes, or, where planes are few, a band of positions of one: it looks at
// every pooled element and takes those that name a place of its own. So no two tasks write the same place, and every
// place sees its elements in row-major order.
#pragma once

#include <algorithm>
#include <limits>

#include "geometry/axis.hpp"
#include "geometry/shape.hpp"
#include "kernels/table.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

// Channels [0, lanes) at `pitch` elements per position, from the plane's first element on both sides.
struct ScatterTask {
  Index full_offset, pooled_offset;  // of the first channel, in elements
  Index lanes, pitch;
  Index band_first, band_stop;  // owned positions of the full plane
};

class ScatterTasks {
 public:
  // most_elements: of the full plane's channels that a band may hold.
  ScatterTasks(const Extents& full, const Extents& pooled, int threads,
               Index most_elements = std::numeric_limits<Index>::max())
      : full_(full), pooled_(pooled), is_first_(full.layout == Layout::channels_first) {
    // Channels last: sixteen floats are a cache line, which two tasks should not share; several are fetched faster.
    const Index lines = std::clamp<Index>(kBlockElements / full.plane(), kLeastLanes, kMostLanes) / kLeastLanes;
    lanes_ = is_first_ ? 1 : std::min<Index>(full.channels, lines * kLeastLanes);
    // Where planes are few, narrower blocks: bands of one plane would each look at all of its indices.
    constexpr Index kFewestLanes = 4;
    while (!is_first_ && threads > 1 && lanes_ > kFewestLanes && full.batch * lane_blocks() < 2 * threads)
      lanes_ = std::max(ceil_divide(lanes_, 2), kFewestLanes);
    const Index whole_planes = full.batch * lane_blocks();
    const Index wanted = 2 * static_cast<Index>(threads);
    if (threads > 1 && whole_planes > 0 && whole_planes < wanted)
      bands_ = std::clamp<Index>(wanted / whole_planes, 1, full.plane());
    bands_ = std::max(bands_, ceil_divide(full.plane(), std::max<Index>(most_elements / lanes_, 1)));
    planes_ = is_first_ ? std::clamp<Index>(kTaskElements / full.plane(), 1, std::max<Index>(whole_planes, 1)) : 1;
    if (bands_ > 1) planes_ = 1;
  }

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
  static constexpr Index kLeastLanes = 16, kMostLanes = 64, kBlockElements = 16 * 1024;
  static constexpr Index kTaskElements = 16 * 1024;

  Index lane_blocks() const noexcept { return ceil_divide(full_.channels, lanes_); }

  const Extents& full_;
  const Extents& pooled_;
  bool is_first_;
  Index lanes_;
  Index planes_ = 1, bands_ = 1;
};

template <class T>
void zero_band(const ScatterTask& task, T* full) noexcept {
  if (task.lanes == task.pitch) {
    std::fill(full + task.band_first * task.pitch, full + task.band_stop * task.pitch, T{0});
    return;
  }
  for (Index position = task.band_first; position < task.band_stop; ++position)
    std::fill_n(full + position * task.pitch, task.lanes, T{0});
}

// place(full element, pooled element, where the full element lies) for every pooled element that names a position of
// the band, in row-major order. `full` has `full_pitch` elements per position, which the caller may keep elsewhere;
// `pooled` and `indices` are whole arrays.
template <class T, class U, class I, class Place>
void scatter_band(const ScatterTask& task, Index pooled_plane, T* full, Index full_pitch, U* pooled, const I* indices,
                  Place&& place) noexcept {
  const Index first = task.band_first, count = task.band_stop - task.band_first;
  pooled += task.pooled_offset;
  indices += task.pooled_offset;
  if (task.pitch == 1) {
    for (Index i = 0; i < pooled_plane; ++i) {
      const Index position = indices[i];
      if (static_cast<std::size_t>(position - first) < static_cast<std::size_t>(count))
        place(full[position], pooled[i], task.full_offset + position);
    }
    return;
  }
  for (Index i = 0; i < pooled_plane; ++i)
    for (Index lane = 0; lane < task.lanes; ++lane) {
      const Index from = i * task.pitch + lane, position = indices[from];
      if (static_cast<std::size_t>(position - first) < static_cast<std::size_t>(count))
        place(full[position * full_pitch + lane], pooled[from], task.full_offset + position * task.pitch + lane);
    }
}

// Channels first and many planes: a few of them at once, so that additions to one element (neighbouring windows often
// share their maximum) do not wait for each other. What lies behind `zeroed` is 0 or more; places are zeroed in front
// of the first element that names one of them, while they are in the cache.
template <class T, class I, int kPlanes, class Place>
class PlaneGroup {
 public:
  PlaneGroup(Index full_plane, Index pooled_plane, Place place)
      : full_plane_(full_plane), pooled_plane_(pooled_plane), place_(place) {}

  // Planes [first, first + planes) of whole arrays; planes <= kPlanes.
  void run(Index first, Index planes, T* full, const T* pooled, const I* indices) const noexcept {
    if (planes == kPlanes) return run_exactly<kPlanes>(first, full, pooled, indices);
    for (Index plane = first; plane < first + planes; ++plane) run_exactly<1>(plane, full, pooled, indices);
  }

 private:
  template <int Planes>
  void run_exactly(Index first, T* full, const T* pooled, const I* indices) const noexcept {
    const Index base = first * full_plane_;
    full += base;
    pooled += first * pooled_plane_;
    indices += first * pooled_plane_;
    Index zeroed[Planes] = {};
    for (Index i = 0; i < pooled_plane_; ++i)
#pragma GCC unroll 4
      for (int plane = 0; plane < Planes; ++plane) {
        T* target = full + plane * full_plane_;
        const Index at = indices[plane * pooled_plane_ + i];
        if (static_cast<std::size_t>(at) >= static_cast<std::size_t>(zeroed[plane])) {
          // Looked at once more: another thread may write to the caller's array after it was checked.
          if (static_cast<std::size_t>(at) >= static_cast<std::size_t>(full_plane_)) continue;
          zeroed[plane] = zero_up_to(at, zeroed[plane], target);
        }
        place_(target[at], pooled[plane * pooled_plane_ + i], base + plane * full_plane_ + at);
      }
    for (int plane = 0; plane < Planes; ++plane)
      std::fill(full + plane * full_plane_ + zeroed[plane], full + (plane + 1) * full_plane_, T{0});
  }

  Index zero_up_to(Index at, Index zeroed, T* target) const noexcept {
    constexpr Index kAhead = 512;
    const Index stop = std::min(at + kAhead, full_plane_);
    std::fill(target + zeroed, target + stop, T{0});
    return stop;
  }

  Index full_plane_, pooled_plane_;
  Place place_;
};

}  // namespace convpool
