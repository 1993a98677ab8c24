// Gradients of max pooling: every output's gradient goes to the place its index names.

#include <algorithm>

#include "pooling/blockwise_backward.hpp"
#include "pooling/half.hpp"
#include "pooling/half_scatter.hpp"
#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/place_gather.hpp"
#include "pooling/plane_scatter.hpp"
#include "pooling/recomputation.hpp"
#include "pooling/tie_gather.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kMostBlockBytes = 256 * 1024;
constexpr int kGroup = 4;              // planes that are scattered into together
constexpr Index kGroupsPerThread = 2;  // below that planes are cut into bands
constexpr Index kTaskElements = 16 * 1024;

// In elements moved: an addition somewhere in a plane takes about four times as long, a zero is stored faster.
Index scatter_cost(const PoolGeometry& geometry) {
  return geometry.input.elements() / 4 + 4 * geometry.output.elements();
}

template <class T, class I, class Add>
void scatter_groups(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input, int threads,
                    Add add) {
  const Index full = geometry.input.plane(), pooled = geometry.output.plane();
  const Index planes = geometry.input.batch * geometry.input.channels;
  const PlaneGroup<T, I, kGroup, Add> group(full, pooled, add);
  const Index at_once = kGroup * std::max<Index>(kTaskElements / (full * kGroup), 1),
              tasks = ceil_divide(planes, at_once);
  const int workers = worker_count(threads, tasks, scatter_cost(geometry));
  parallel_for(tasks, workers, [&](Index task, int) {
    const Index stop = std::min(planes, (task + 1) * at_once);
    for (Index plane = task * at_once; plane < stop; plane += kGroup)
      group.run(plane, std::min<Index>(kGroup, stop - plane), grad_input, grad_output, indices);
  });
}

// add(target, gradient) for every pooled element; targets start at 0.
template <class T, class I, class Add>
void scatter(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input, int num_threads,
             Add add) {
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const Index planes = geometry.input.batch * geometry.input.channels;
  const bool is_whole = geometry.input.has_whole_planes();
  if (is_whole && planes >= kGroupsPerThread * kGroup * threads)
    return scatter_groups(geometry, grad_output, indices, grad_input, threads, add);
  const ScatterTasks tasks(geometry.input, geometry.output, threads);
  const int workers = worker_count(threads, tasks.count(), scatter_cost(geometry));
  // Channels last: the elements of a plane lie far apart, often in the same few sets of the cache. Where a block of
  // planes fits, it is put together elsewhere.
  const Index block = geometry.input.plane() * tasks.most_lanes() * static_cast<Index>(sizeof(T));
  const bool is_elsewhere = !is_whole && block <= kMostBlockBytes;
  const Workspace memory(workers, is_elsewhere ? static_cast<std::size_t>(block) : 0);
  parallel_for(tasks.count(), workers, [&](Index task, int worker) {
    tasks.run(task, [&](const ScatterTask& part) {
      T* target = grad_input + part.full_offset;
      ScatterTask own = part;
      T* full = is_elsewhere ? reinterpret_cast<T*>(memory.of(worker)) : target;
      const Index pitch = is_elsewhere ? part.lanes : part.pitch;
      own.pitch = pitch;
      zero_band(own, full);
      scatter_band(part, geometry.output.plane(), full, pitch, grad_output, indices, add);
      for (Index position = part.band_first; position < part.band_stop && is_elsewhere; ++position)
        std::copy_n(full + position * pitch, part.lanes, target + position * part.pitch);
    });
  });
}

template <class T, class I>
void scatter_gradients(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                       int num_threads) {
  if constexpr (kIsHalf<T>) {
    scatter_halves(geometry, grad_output, indices, grad_input, num_threads);
  } else {
    scatter(geometry, grad_output, indices, grad_input, num_threads,
            [](T& target, const T& gradient, Index) { target += gradient; });
  }
}

// `indices` lie in their own windows; is_gathered: with pays_gather().
template <class T, class I>
void follow_indices(const PoolGeometry& geometry, bool is_gathered, const T* grad_output, const I* indices,
                    T* grad_input, int num_threads) {
  if constexpr (std::is_same_v<I, std::int32_t> && !kIsHalf<T>) {
    if (is_gathered) return gather_gradients(geometry, grad_output, indices, grad_input, num_threads);
  }
  scatter_gradients(geometry, grad_output, indices, grad_input, num_threads);
}

Order order_of(Extreme extreme) { return extreme == Extreme::max ? Order::max : Order::min; }

template <class T, class I>
void first_extremes(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input, T* grad_input,
                    int num_threads) {
  if (!fits_whole_outers<T, I>(geometry, num_threads))
    return first_in_blocks(geometry, order_of(extreme), grad_output, input, grad_input, num_threads);
  // How many windows a slice has depends on the number of threads, so whether they are many must not matter: of two NaN
  // in a sum, a gather may keep another one than a scatter.
  const bool is_gathered = pays_block_gather<Computed<T>>(geometry);
  for_each_slice<T, I>(geometry, num_threads,
                       [&](const PoolGeometry& slice, Index from, Index to, T* maxima, I* indices) {
                         extreme_pool_forward(slice, extreme, input + from, maxima, indices, num_threads);
                         follow_indices(slice, is_gathered, grad_output + to, indices, grad_input + from, num_threads);
                       });
}

template <class T>
void tied_extremes(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input, bool is_split,
                   T* grad_input, int num_threads) {
  using V = Computed<T>;
  if (!fits_whole_outers<T, V>(geometry, num_threads))
    return ties_in_blocks(geometry, order_of(extreme), is_split, grad_output, input, grad_input, num_threads);
  const KernelTable& table = *selected_kernels();
  for_each_slice<T, V>(
      geometry, num_threads, [&](const PoolGeometry& slice, Index from, Index to, T* maxima, V* shares) {
        const T *values = input + from, *gradients = grad_output + to;
        const PoolView inputs = plain_backward_view(slice);
        T* target = grad_input + from;
        extreme_pool_forward<T, std::int32_t>(slice, extreme, values, maxima, nullptr, num_threads);
        if (!is_split)
          return gather_ties(table, inputs, TieArrays<T, T, T>{values, maxima, gradients, nullptr, target},
                             num_threads);
        gather_ties(table, forward_view(slice), TieArrays<T, T, V>{maxima, values, nullptr, gradients, shares},
                    num_threads);
        gather_ties(table, inputs, TieArrays<T, V, T>{values, maxima, shares, nullptr, target}, num_threads);
      });
}

}  // namespace

template <class T, class I>
void extreme_pool_backward(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input,
                           GivenIndices<I> indices, Ties ties, T* grad_input, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::max_backward) == PoolAlgorithm::reference)
    return reference::extreme_pool_backward(geometry, extreme, grad_output, input, indices, ties, grad_input,
                                            num_threads);
  if (ties != Ties::first)
    return tied_extremes(geometry, extreme, grad_output, input, ties == Ties::split, grad_input, num_threads);
  if (indices.data == nullptr)
    return first_extremes<T, I>(geometry, extreme, grad_output, input, grad_input, num_threads);
  if (indices.are_in_windows)
    return follow_indices(geometry, pays_gather<Computed<T>>(geometry), grad_output, indices.data, grad_input,
                          num_threads);
  scatter_gradients(geometry, grad_output, indices.data, grad_input, num_threads);
}

template <class T, class I>
GivenIndices<I> examine_indices(const PoolGeometry& geometry, const I* indices, int num_threads) {
  if constexpr (std::is_same_v<I, std::int32_t> && !kIsHalf<T>) {
    const bool has_kernels = choose_pool_algorithm(geometry, PoolPass::max_backward) != PoolAlgorithm::reference;
    if (has_kernels && pays_gather<T>(geometry)) return {indices, are_in_windows(geometry, indices, num_threads)};
  }
  return {indices, false};
}

template <class T>
void max_magnitude_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, T* grad_input,
                            int num_threads) {
  if (!fits_whole_outers<T, std::int32_t>(geometry, num_threads))
    return first_in_blocks(geometry, Order::magnitude, grad_output, input, grad_input, num_threads);
  for_each_slice<T, std::int32_t>(
      geometry, num_threads, [&](const PoolGeometry& slice, Index from, Index to, T* maxima, std::int32_t* indices) {
        max_magnitude(slice, input + from, maxima, indices, num_threads);
        scatter(slice, grad_output + to, indices, grad_input + from, num_threads, AddSigned<T>{input + from});
      });
}

template void max_magnitude_backward(const PoolGeometry&, const float*, const float*, float*, int);
template void max_magnitude_backward(const PoolGeometry&, const double*, const double*, double*, int);

#define CONVPOOL_MAX_BACKWARD(T, I)                                                   \
  template GivenIndices<I> examine_indices<T, I>(const PoolGeometry&, const I*, int); \
  template void extreme_pool_backward(const PoolGeometry&, Extreme, const T*, const T*, GivenIndices<I>, Ties, T*, int);
CONVPOOL_MAX_BACKWARD(float, std::int32_t)
CONVPOOL_MAX_BACKWARD(float, std::int64_t)
CONVPOOL_MAX_BACKWARD(double, std::int32_t)
CONVPOOL_MAX_BACKWARD(double, std::int64_t)
CONVPOOL_MAX_BACKWARD(Float16, std::int32_t)
CONVPOOL_MAX_BACKWARD(Float16, std::int64_t)
CONVPOOL_MAX_BACKWARD(BFloat16, std::int32_t)
CONVPOOL_MAX_BACKWARD(BFloat16, std::int64_t)

}  // namespace convpool
