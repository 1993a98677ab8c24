// Gradients of max pooling: every output's gradient goes to the place its index names.

#include <algorithm>

#include "pooling/blockwise_backward.hpp"
#include "pooling/half.hpp"
#include "pooling/half_scatter.hpp"
#include "pooling/index_runs.hpp"
#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/place_gather.hpp"
#include "pooling/plane_scatter.hpp"
#include "pooling/recomputation.hpp"
#include "pooling/tie_gather.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kTaskElements = 16 * 1024, kGroupBytes = 512 * 1024;

// In elements moved: an addition somewhere in a plane takes about four times as long, a zero is stored faster.
Index scatter_cost(const PoolGeometry& geometry) {
  return geometry.input.elements() / 4 + 4 * geometry.output.elements();
}

// Targets of each part start at 0, then add(part, run of pooled positions) for all that has to be added; where it
// returns true, the part is added up anew by add_with_nan(part, run).
template <class T, class I, class Add, class AddWithNan>
void scatter(const PoolGeometry& geometry, const I* indices, T* grad_input, int threads, Add&& add,
             AddWithNan&& add_with_nan) {
  const ScatterTasks tasks(geometry.input, geometry.output, threads, scatter_cost(geometry));
  const IndexRuns<I> runs(geometry.output, indices, tasks, threads);
  parallel_for(tasks.count(), tasks.workers(), [&](Index task, int) {
    tasks.run(task, [&](const ScatterTask& part) {
      bool has_nan = false;
      zero_band(part, grad_input);
      runs.each(part, [&](const Range& run) { has_nan |= add(part, run); });
      if (!has_nan) return;
      zero_band(part, grad_input);
      runs.each(part, [&](const Range& run) { add_with_nan(part, run); });
    });
  });
}

// Gradients go to their places by kernels, and by a loop where some are NaN.
template <class T>
class KernelScatter {
 public:
  KernelScatter(const PoolGeometry& geometry, const T* grad_output, const std::int32_t* indices, T* grad_input)
      : geometry_(geometry), grad_output_(grad_output), indices_(indices), grad_input_(grad_input),
        kernels_(pool_kernels<T>(*selected_kernels())), full_(geometry.input.plane()),
        pooled_(geometry.output.plane()) {}

  void run(int threads) const {
    constexpr Index kGroupsPerThread = 2;  // below that planes are cut into bands
    const Index planes = geometry_.input.batch * geometry_.input.channels;
    const bool has_groups = planes >= kGroupsPerThread * kScatteredPlanes * threads &&
                            kScatteredPlanes * full_ * static_cast<Index>(sizeof(T)) <= kGroupBytes;
    if (geometry_.input.has_whole_planes() && has_groups) return run_groups(planes, threads);
    scatter(
        geometry_, indices_, grad_input_, threads,
        [this](const ScatterTask& part, const Range& run) { return add_run(part, run); },
        [this](const ScatterTask& part, const Range& run) { add_with_nan(part, run); });
  }

 private:
  void run_groups(Index planes, int threads) const {
    const Index groups = ceil_divide(planes, kScatteredPlanes),
                at_once = std::max<Index>(kTaskElements / (kScatteredPlanes * full_), 1);
    const Index tasks = ceil_divide(groups, at_once);
    parallel_for(tasks, worker_count(threads, tasks, scatter_cost(geometry_)), [&](Index task, int) {
      for (Index group = task * at_once; group < std::min(groups, (task + 1) * at_once); ++group)
        run_group(group * kScatteredPlanes, std::min<Index>(kScatteredPlanes, planes - group * kScatteredPlanes));
    });
  }

  void run_group(Index first, Index planes) const noexcept {
    const bool is_full = planes == kScatteredPlanes;
    bool has_nan = false;
    std::fill_n(grad_input_ + first * full_, planes * full_, T{0});
    if (is_full) has_nan = kernels_.scatter_planes(planes_from(first));
    for (Index plane = first; plane < first + planes && !is_full; ++plane)
      has_nan |= kernels_.scatter(planes_from(plane));
    if (!has_nan) return;
    std::fill_n(grad_input_ + first * full_, planes * full_, T{0});
    for (Index plane = first; plane < first + planes; ++plane)
      add_with_nan({plane * full_, plane * pooled_, 1, 1, 0, full_}, {0, pooled_});
  }

  PlaceScatter<T> planes_from(Index plane) const noexcept {
    const Index from = plane * pooled_;
    return {pooled_, 1, grad_output_ + from, indices_ + from, 0, full_, grad_input_ + plane * full_, pooled_, full_};
  }

  // Parts have all channels: none is cut into blocks of them.
  bool add_run(const ScatterTask& part, const Range& run) const noexcept {
    const Index from = part.pooled_offset + run.first * part.pitch;
    return kernels_.scatter({run.count * part.pitch, part.pitch, grad_output_ + from, indices_ + from, part.band_first,
                             part.band_stop, grad_input_ + part.full_offset});
  }

  void add_with_nan(const ScatterTask& part, const Range& run) const noexcept {
    scatter_run(part, run, grad_input_, grad_output_, indices_, AddGradient{});
  }

  const PoolGeometry& geometry_;
  const T* grad_output_;
  const std::int32_t* indices_;
  T* grad_input_;
  const PoolKernels<T>& kernels_;
  Index full_, pooled_;
};

// By a loop, for what the kernels cannot add or reach.
template <class T, class I, class Add>
void scatter_each(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input, int threads,
                  Add add) {
  const auto add_run = [&](const ScatterTask& part, const Range& run) {
    scatter_run(part, run, grad_input, grad_output, indices, add);
    return false;
  };
  scatter(geometry, indices, grad_input, threads, add_run, add_run);
}

template <class T, class I>
void scatter_gradients(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                       int num_threads) {
  const int threads = num_threads > 0 ? num_threads : default_threads();
  if constexpr (kIsHalf<T>) {
    return scatter_halves(geometry, grad_output, indices, grad_input, num_threads);
  } else {
    if constexpr (std::is_same_v<I, std::int32_t>) {
      if (has_kernel_offsets(geometry.input))
        return KernelScatter<T>(geometry, grad_output, indices, grad_input).run(threads);
    }
    scatter_each(geometry, grad_output, indices, grad_input, threads, AddGradient{});
  }
}

Order order_of(Extreme extreme) { return extreme == Extreme::max ? Order::max : Order::min; }

template <class T, class I>
void first_extremes(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input, T* grad_input,
                    int num_threads) {
  if (!fits_whole_outers<T, I>(geometry, num_threads))
    return first_in_blocks(geometry, order_of(extreme), grad_output, input, grad_input, num_threads);
  for_each_slice<T, I>(geometry, num_threads,
                       [&](const PoolGeometry& slice, Index from, Index to, T* maxima, I* indices) {
                         extreme_pool_forward(slice, extreme, input + from, maxima, indices, num_threads);
                         scatter_gradients(slice, grad_output + to, indices, grad_input + from, num_threads);
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
  if constexpr (std::is_same_v<I, std::int32_t> && !kIsHalf<T>) {
    if (indices.are_in_windows) return gather_gradients(geometry, grad_output, indices.data, grad_input, num_threads);
  }
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
  const int threads = num_threads > 0 ? num_threads : default_threads();
  for_each_slice<T, std::int32_t>(
      geometry, num_threads, [&](const PoolGeometry& slice, Index from, Index to, T* maxima, std::int32_t* indices) {
        max_magnitude(slice, input + from, maxima, indices, num_threads);
        scatter_each(slice, grad_output + to, indices, grad_input + from, threads, AddSigned<T>{input + from});
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
