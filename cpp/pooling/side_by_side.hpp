// Channels first, rows of a few elements: blocks of planes are brought side by side, pooled as channels, and taken
// apart again. A row then has as many lanes as the block has planes.
#pragma once

#include <algorithm>
#include <type_traits>

#include "pooling/pool_view.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

// Elements of a block at most, input and output together: half a megabyte of floats with scratch.
constexpr Index kBlockElements = 64 * 1024;

// Whether that pays: in planes of which a block holds enough, where rows are shorter than a vector, or where windows of
// uneven (adaptive) lengths share no lanes otherwise and rows have up to `most_uneven` elements. The number of planes
// does not enter, so that an image has the same bits in every batch.
inline bool pays_side_by_side(const PoolGeometry& geometry, Index most_uneven) noexcept {
  constexpr Index kShortRow = 10, kLeastPlanes = 16, kLeastUnevenPlanes = 4;
  const Axis& row = geometry.axes[2];
  if (geometry.input.layout != Layout::channels_first || geometry.output.plane() == 1) return false;
  const bool is_uneven = row.is_adaptive && row.input % row.output != 0;
  const Index planes = kBlockElements / (geometry.input.plane() + geometry.output.plane());
  return is_uneven ? row.input <= most_uneven && planes >= kLeastUnevenPlanes
                   : row.input <= kShortRow && planes >= kLeastPlanes;
}

// The planes of a problem, block by block. T: the element type of its arrays.
template <class T>
class PlaneBlocks {
 public:
  PlaneBlocks(const PoolGeometry& geometry, int num_threads)
      : geometry_(geometry), table_(*selected_kernels()), num_threads_(num_threads),
        planes_(geometry.input.batch * geometry.input.channels) {
    const Index plane = geometry.input.plane() + geometry.output.plane();
    at_once_ = std::min(kBlockElements / plane, planes_);
    at_once_ = std::max(at_once_, kFewestChannels);
  }

  // body(the block as a problem with channels last, its first plane, scratch for arrays of the block), for several
  // blocks at a time; what the body starts is serial then.
  template <class Body>
  void each(Body&& body) const {
    const Index elements = 2 * at_once_ * (geometry_.input.plane() + geometry_.output.plane());
    const Index tasks = ceil_divide(planes_, at_once_);
    const int workers = worker_count(num_threads_, tasks, geometry_.input.elements() + geometry_.output.elements());
    const Workspace memory(workers, static_cast<std::size_t>(elements) * sizeof(T) + 4 * kAlignment);
    parallel_for_each_or_throw(tasks, workers, [&](Index task, int worker) {
      const Index first = task * at_once_;
      PoolGeometry block = geometry_;
      for (Extents* extents : {&block.input, &block.output}) {
        extents->layout = Layout::channels_last;
        extents->batch = 1;
        extents->channels = std::max(std::min(at_once_, planes_ - first), kFewestChannels);
      }
      Carver carver(memory.of(worker));
      body(block, first, carver);
    });
  }

  // `extents` are the block's, of the array in question; U is T or an index type.
  template <class U>
  U* bring(const Extents& extents, Index first, const U* array, Carver& carver) const {
    U* wide = carver.take<U>(extents.elements());
    move(extents, first, [&](Index plane, Index count, Index size) {
      mover<U>().move_block(size, count, bits(array + (first + plane) * size), 1, size, bits(wide + plane),
                            extents.channels, 1);
    });
    return wide;
  }
  template <class U>
  void take_apart(const Extents& extents, Index first, const U* wide, U* array) const {
    move(extents, first, [&](Index plane, Index count, Index size) {
      mover<U>().move_block(size, count, bits(wide + plane), extents.channels, 1, bits(array + (first + plane) * size),
                            1, size);
    });
  }

 private:
  // Moves do not look at what they move: any type of 4 or 8 bytes goes as float or double.
  template <class U>
  using Moved = std::conditional_t<sizeof(U) == sizeof(float), float, double>;
  template <class U>
  const ConvKernels<Moved<U>>& mover() const {
    return conv_kernels<Moved<U>>(table_);
  }
  template <class U>
  static Moved<U>* bits(U* elements) {
    return reinterpret_cast<Moved<U>*>(elements);
  }
  template <class U>
  static const Moved<U>* bits(const U* elements) {
    return reinterpret_cast<const Moved<U>*>(elements);
  }

  // A single plane would be reduced as channels first, and its sums in another order.
  static constexpr Index kFewestChannels = 2;

  // body(first plane in the block, planes, elements of a plane) for the planes of the block at `first`, some a task.
  template <class Body>
  void move(const Extents& extents, Index first, Body&& body) const {
    constexpr Index kPlanesOfTask = 64;
    const Index planes = std::min(at_once_, planes_ - first), tasks = ceil_divide(planes, kPlanesOfTask);
    parallel_for(tasks, worker_count(num_threads_, tasks, extents.elements()), [&](Index task, int) {
      const Index plane = task * kPlanesOfTask;
      body(plane, std::min(kPlanesOfTask, planes - plane), extents.plane());
    });
  }

  const PoolGeometry& geometry_;
  const KernelTable& table_;
  int num_threads_;
  Index planes_, at_once_;
};

}  // namespace convpool
