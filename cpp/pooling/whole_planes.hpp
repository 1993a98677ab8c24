// Global pooling with channels first: every plane is one run of neighbours, and its result one element.
#pragma once

#include <algorithm>

#include "pooling/pool_view.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

inline bool is_one_window(const PoolView& view) noexcept {
  return view.inner == 1 && view.target_plane() == 1 && view.axes[2].of(0).count == view.source_plane();
}

// `finish(results, count)` is told of every finished block of results. Positions may be null.
template <class V, class Finish>
void reduce_planes(const PoolView& view, const ReductionKernels<V>& reduction, const V* source, V* target,
                   LanePosition<V>* positions, Finish&& finish, int num_threads) {
  constexpr Index kMostPlanes = 128, kBlockElements = 16 * 1024;
  const Index plane = view.source_plane();
  const Index block = std::clamp<Index>(kBlockElements / plane, 1, kMostPlanes);
  std::vector<Index> first, counts(static_cast<std::size_t>(block), plane);
  for (Index i = 0; i < block; ++i) first.push_back(i * plane);
  const Index tasks = ceil_divide(view.outers, block);
  parallel_for(tasks, worker_count(num_threads, tasks, view.elements()), [&](Index task, int) {
    const Index begin = task * block, count = std::min(block, view.outers - begin);
    LanePosition<V>* places = positions == nullptr ? nullptr : positions + begin;
    reduction.segments({count, source + begin * plane, first.data(), counts.data(), 0, target + begin, 0, places});
    for (Index i = 0; i < count && places != nullptr; ++i)
      places[i] -= static_cast<LanePosition<V>>(first[static_cast<std::size_t>(i)]);
    finish(target + begin, count);
  });
}

// The way back: every plane is filled with one value. value(plane).
template <class T, class Value>
void fill_planes(Index planes, Index plane, T* target, Value&& value, int num_threads) {
  constexpr Index kTaskElements = 16 * 1024;
  const Index at_once = std::max<Index>(kTaskElements / plane, 1), tasks = ceil_divide(planes, at_once);
  parallel_for(tasks, worker_count(num_threads, tasks, planes * plane), [&](Index task, int) {
    for (Index i = task * at_once; i < std::min(planes, (task + 1) * at_once); ++i)
      std::fill_n(target + i * plane, plane, value(i));
  });
}

}  // namespace convpool
