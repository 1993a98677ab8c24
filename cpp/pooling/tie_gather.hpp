// Gathering over the ties of a maximum: every target adds the values of those of its sources whose key equals its own
// value. Backwards (targets are inputs, sources are windows, keys their maxima) that is the gradient with ties "all"
// and "split"; forwards (targets are windows with their maxima, sources are inputs) it counts a window's ties.
#pragma once

#include "pooling/pool_view.hpp"

namespace convpool {

// Arrays over the view's targets (own, dividend, out) and sources (keys, values).
template <class T>
struct TieArrays {
  const T* own;
  const T* keys;
  const T* values;    // null: every tie counts 1
  const T* dividend;  // not null: out = dividend / sum
  T* out;
  bool is_added = false;  // to what `out` holds
};

// A vector of planes is brought side by side, a band of target rows (or part of one) at a time, and the sources that a
// band reads at once or, where windows are large, some after the other. Scratch memory is near 256 KB a thread.
template <class T>
void gather_ties(const KernelTable& table, const PoolView& view, const TieArrays<T>& arrays, int num_threads);

}  // namespace convpool
