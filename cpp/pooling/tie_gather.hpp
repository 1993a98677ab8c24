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
};

// A vector of planes is brought side by side, a band of target rows at a time; scratch for a band is near 256 KB, or
// what one target row and the source rows it reads need.
template <class Key, class Value, class Out>
void gather_ties(const KernelTable& table, const PoolView& view, const TieArrays<Key, Value, Out>& arrays,
                 int num_threads);

}  // namespace convpool
