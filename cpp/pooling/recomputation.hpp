// Backward passes that need what the forward pass found find it again, for some windows at a time, so that the scratch
// memory for it stays at kRecomputedBytes a thread: for some planes at a time where the results of one plane (channels
// last: of one image) fit, else for some windows of one (blockwise_backward.hpp).
#pragma once

#include <algorithm>
#include <memory>

#include "geometry/pool_geometry.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

constexpr Index kRecomputedBytes = 384 * 1024;

// Planes (channels first) or images (channels last): what lies together in both arrays.
struct Outers {
  Index count, inputs, outputs;  // how many, and the elements of one

  explicit Outers(const PoolGeometry& geometry) {
    const bool is_first = geometry.input.layout == Layout::channels_first;
    const Index inner = is_first ? 1 : geometry.input.channels;
    count = geometry.input.batch * (is_first ? geometry.input.channels : 1);
    inputs = geometry.input.plane() * inner;
    outputs = geometry.output.plane() * inner;
  }
};

// Values and Extras, one of each for a result, that all threads together may keep.
template <class T, class Extra>
Index most_results(int num_threads) {
  const Index threads = num_threads > 0 ? num_threads : default_threads();
  return kRecomputedBytes * threads / static_cast<Index>(sizeof(T) + sizeof(Extra));
}

template <class T, class Extra>
bool fits_whole_outers(const PoolGeometry& geometry, int num_threads) {
  return Outers(geometry).outputs <= most_results<T, Extra>(num_threads);
}

// The part of a problem that has `count` planes (channels first) or one batch entry (channels last).
inline PoolGeometry slice_of(const PoolGeometry& geometry, Index count) {
  PoolGeometry slice = geometry;
  for (Extents* extents : {&slice.input, &slice.output}) {
    extents->batch = 1;
    if (extents->layout == Layout::channels_first) extents->channels = count;
  }
  return slice;
}

template <class T, class Extra>
struct Results {
  explicit Results(Index count)
      : values(new T[static_cast<std::size_t>(count)]), extras(new Extra[static_cast<std::size_t>(count)]) {}
  std::unique_ptr<T[]> values;
  std::unique_ptr<Extra[]> extras;
};

// Where outers fit: body(slice, input offset, output offset, values, extras).
template <class T, class Extra, class Body>
void for_each_slice(const PoolGeometry& geometry, int num_threads, Body&& body) {
  const Outers outers(geometry);
  if (outers.count == 0) return;
  const bool is_first = geometry.input.layout == Layout::channels_first;
  const Index fitting = most_results<T, Extra>(num_threads) / outers.outputs;
  const Index step = is_first ? std::clamp<Index>(fitting, 1, outers.count) : 1;
  const Results<T, Extra> results(step * outers.outputs);
  for (Index outer = 0; outer < outers.count; outer += step)
    body(slice_of(geometry, std::min(step, outers.count - outer)), outer * outers.inputs, outer * outers.outputs,
         results.values.get(), results.extras.get());
}

}  // namespace convpool
