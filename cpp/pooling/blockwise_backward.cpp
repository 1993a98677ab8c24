#include "pooling/blockwise_backward.hpp"

#include "pooling/max_magnitude.hpp"
#include "pooling/place_gather.hpp"
#include "pooling/plane_scatter.hpp"
#include "pooling/recomputation.hpp"
#include "pooling/tie_gather.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

// Elements that no earlier block has reached start at 0, while those of this block come into the cache.
template <class T>
void zero_fresh(const WindowBlocks& blocks, T* outer, int num_threads) {
  constexpr Index kTaskElements = 16 * 1024;
  const Index inner = blocks.forward().inner, count = blocks.fresh().count * inner;
  T* first = outer + blocks.fresh().first * inner;
  const Index tasks = ceil_divide(count, kTaskElements);
  parallel_for(tasks, worker_count(num_threads, tasks, count), [&](Index task, int) {
    const Index done = task * kTaskElements;
    std::fill_n(first + done, std::min(kTaskElements, count - done), T{0});
  });
}

// add(target, gradient, where the target lies in `full`) for every element of a block, whose outer begins at `from` of
// `full`.
template <class T, class Add>
void scatter_block(const WindowBlocks& blocks, const T* gradients, const std::int32_t* indices, Index from, T* full,
                   Add add, int num_threads) {
  const Index inner = blocks.forward().inner;
  Extents reached, pooled;
  reached.batch = pooled.batch = 1;
  reached.channels = pooled.channels = inner;
  reached.layout = pooled.layout = inner == 1 ? Layout::channels_first : Layout::channels_last;
  reached.spatial = {1, 1, blocks.positions().count};
  pooled.spatial = {1, 1, blocks.windows()};
  const ScatterTasks tasks(reached, pooled, num_threads > 0 ? num_threads : default_threads());
  const int workers = worker_count(num_threads, tasks.count(), reached.elements() / 2 + pooled.elements());
  parallel_for(tasks.count(), workers, [&](Index task, int) {
    tasks.run(task, [&](ScatterTask part) {
      part.full_offset += from;
      part.band_first += blocks.positions().first;
      part.band_stop += blocks.positions().first;
      scatter_band(part, pooled.plane(), full + part.full_offset, part.pitch, gradients, indices, add);
    });
  });
}

}  // namespace

template <class T>
void first_in_blocks(const PoolGeometry& geometry, Order order, const T* grad_output, const T* input, T* grad_input,
                     int num_threads) {
  using I = std::int32_t;
  const auto add_gradient = [](T& sum, const T& gradient, Index) { sum += gradient; };
  for_each_block<T, I>(
      geometry, num_threads, [&](const WindowBlocks& blocks, Index from, Index to, T* values, I* indices) {
        const T* gradients = grad_output + to;
        find_extremes(blocks.forward(), order, input + from, values, indices, num_threads);
        zero_fresh(blocks, grad_input + from, num_threads);
        if (order == Order::magnitude)
          scatter_block(blocks, gradients, indices, from, grad_input, AddSigned<T>{input}, num_threads);
        else if (pays_gather(geometry))
          gather_block(blocks.backward(), gradients, indices, grad_input + from, num_threads);
        else scatter_block(blocks, gradients, indices, from, grad_input, add_gradient, num_threads);
      });
}

template <class T>
void ties_in_blocks(const PoolGeometry& geometry, Order order, bool is_split, const T* grad_output, const T* input,
                    T* grad_input, int num_threads) {
  const KernelTable& table = *selected_kernels();
  for_each_block<T, T>(
      geometry, num_threads, [&](const WindowBlocks& blocks, Index from, Index to, T* extremes, T* shares) {
        const T *source = input + from, *gradients = grad_output + to;
        find_extremes(blocks.forward(), order, source, extremes, nullptr, num_threads);
        if (is_split) {
          gather_ties(table, blocks.forward(), TieArrays<T, T, T>{extremes, source, nullptr, gradients, shares},
                      num_threads);
          gradients = shares;
        }
        zero_fresh(blocks, grad_input + from, num_threads);
        gather_ties(table, blocks.backward(),
                    TieArrays<T, T, T>{source, extremes, gradients, nullptr, grad_input + from, true}, num_threads);
      });
}

#define CONVPOOL_BLOCKWISE(T)                                                             \
  template void first_in_blocks(const PoolGeometry&, Order, const T*, const T*, T*, int); \
  template void ties_in_blocks(const PoolGeometry&, Order, bool, const T*, const T*, T*, int);
CONVPOOL_BLOCKWISE(float)
CONVPOOL_BLOCKWISE(double)

}  // namespace convpool
