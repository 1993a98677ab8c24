// Gathering over the ties of a maximum: every target adds the values of those of its sources whose key equals its own
// value. Backwards (targets are inputs, sources are windows, keys their maxima) that is the gradient with ties "all"
// and "split"; forwards (targets are windows with their maxima, sources are inputs) it counts a window's ties.
#pragma once

#include "pooling/pool_view.hpp"

namespace convpool {

// Arrays over the view's targets (own, dividend, out) and sources (keys, values), in the types they are stored in.
template <class Key, class Value, class Out>
struct TieArrays {
  const Key* own;
  const Key* keys;
  const Value* values;  // null: every tie counts 1
  const Key* dividend;  // not null: out = dividend / sum
  Out* out;
  bool is_added = false;  // to what `out` holds
};

// A vector of planes is brought side by side, a band of target rows (or part of one) at a time, and the sources that a
// band reads at once or, where windows are large, some after the other. Scratch memory is near 256 KB a thread.
template <class Key, class Value, class Out>
void gather_ties(const KernelTable& table, const PoolView& view, const TieArrays<Key, Value, Out>& arrays,
                 int num_threads);

}  // namespace convpool
