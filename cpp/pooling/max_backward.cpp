// Gradients of max pooling: every output's gradient goes to the place its index names.

#include <algorithm>
#include <memory>

#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/plane_scatter.hpp"
#include "pooling/tie_gather.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kRecomputedBytes = 4 * 1024 * 1024;

// add(target, gradient) for every pooled element; targets start at 0.
template <class T, class I, class Add>
void scatter(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input, int num_threads,
             Add add) {
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const ScatterTasks tasks(geometry.input, geometry.output, threads);
  const int workers = worker_count(threads, tasks.count(), geometry.input.elements() / 4 + geometry.output.elements());
  parallel_for(tasks.count(), workers, [&](Index task, int) {
    tasks.run(task, [&](const ScatterTask& part) {
      T* full = grad_input + part.full_offset;
      zero_band(part, full);
      scatter_band(part, geometry.output.plane(), full, grad_output + part.pooled_offset, indices + part.pooled_offset,
                   add);
    });
  });
}

template <class T, class I>
void scatter_gradients(const PoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                       int num_threads) {
  scatter(geometry, grad_output, indices, grad_input, num_threads,
          [](T& target, const T& gradient) { target += gradient; });
}

// The part of a problem that has `count` planes (channels first) or one batch entry (channels last).
PoolGeometry slice_of(const PoolGeometry& geometry, Index count) {
  PoolGeometry slice = geometry;
  for (Extents* extents : {&slice.input, &slice.output}) {
    extents->batch = 1;
    if (extents->layout == Layout::channels_first) extents->channels = count;
  }
  return slice;
}

// What the forward pass found is found again for a slice of the planes at a time, so that scratch stays near
// kRecomputedBytes. body(slice, input offset, output offset, pooled values, something else of their number).
template <class T, class Extra, class Body>
void for_each_slice(const PoolGeometry& geometry, Body&& body) {
  const bool is_first = geometry.input.layout == Layout::channels_first;
  const Index planes = geometry.input.batch * (is_first ? geometry.input.channels : 1);
  if (planes == 0) return;
  const Index plane_outputs = geometry.output.elements() / planes, plane_inputs = geometry.input.elements() / planes;
  const Index fitting = kRecomputedBytes / (plane_outputs * static_cast<Index>(sizeof(T) + sizeof(Extra)));
  const Index step = is_first ? std::clamp<Index>(fitting, 1, planes) : 1;
  const std::unique_ptr<T[]> values(new T[static_cast<std::size_t>(step * plane_outputs)]);
  const std::unique_ptr<Extra[]> extra(new Extra[static_cast<std::size_t>(step * plane_outputs)]);
  for (Index plane = 0; plane < planes; plane += step)
    body(slice_of(geometry, std::min(step, planes - plane)), plane * plane_inputs, plane * plane_outputs, values.get(),
         extra.get());
}

template <class T, class I>
void first_maxima(const PoolGeometry& geometry, const T* grad_output, const T* input, T* grad_input, int num_threads) {
  for_each_slice<T, I>(geometry, [&](const PoolGeometry& slice, Index from, Index to, T* maxima, I* indices) {
    max_pool_forward(slice, input + from, maxima, indices, num_threads);
    scatter_gradients(slice, grad_output + to, indices, grad_input + from, num_threads);
  });
}

template <class T>
void tied_maxima(const PoolGeometry& geometry, const T* grad_output, const T* input, bool is_split, T* grad_input,
                 int num_threads) {
  const KernelTable& table = *selected_kernels();
  for_each_slice<T, T>(geometry, [&](const PoolGeometry& slice, Index from, Index to, T* maxima, T* shares) {
    const T* gradients = grad_output + to;
    max_pool_forward<T, std::int32_t>(slice, input + from, maxima, nullptr, num_threads);
    if (is_split)
      gather_ties<T>(table, forward_view(slice), {maxima, input + from, nullptr, gradients, shares}, num_threads);
    gather_ties<T>(table, backward_view(slice),
                   {input + from, maxima, is_split ? shares : gradients, nullptr, grad_input + from}, num_threads);
  });
}

}  // namespace

template <class T, class I>
void max_pool_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, const I* indices, Ties ties,
                       T* grad_input, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::max_backward) == PoolAlgorithm::reference)
    return reference::max_pool_backward(geometry, grad_output, input, indices, ties, grad_input, num_threads);
  if (ties != Ties::first)
    return tied_maxima(geometry, grad_output, input, ties == Ties::split, grad_input, num_threads);
  if (indices == nullptr) return first_maxima<T, I>(geometry, grad_output, input, grad_input, num_threads);
  scatter_gradients(geometry, grad_output, indices, grad_input, num_threads);
}

template <class T>
void max_magnitude_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, T* grad_input,
                            int num_threads) {
  for_each_slice<T, std::int32_t>(
      geometry, [&](const PoolGeometry& slice, Index from, Index to, T* maxima, std::int32_t* indices) {
        max_magnitude(slice, input + from, maxima, indices, num_threads);
        T* target = grad_input + from;
        const T* source = input + from;
        scatter(slice, grad_output + to, indices, target, num_threads, [target, source](T& sum, const T& gradient) {
          const T value = source[&sum - target];
          sum += gradient * (value > 0 ? T{1} : value < 0 ? T{-1} : value);
        });
      });
}

template void max_magnitude_backward(const PoolGeometry&, const float*, const float*, float*, int);
template void max_magnitude_backward(const PoolGeometry&, const double*, const double*, double*, int);

#define CONVPOOL_MAX_BACKWARD(T)                                                                                \
  template void max_pool_backward(const PoolGeometry&, const T*, const T*, const std::int32_t*, Ties, T*, int); \
  template void max_pool_backward(const PoolGeometry&, const T*, const T*, const std::int64_t*, Ties, T*, int);
CONVPOOL_MAX_BACKWARD(float)
CONVPOOL_MAX_BACKWARD(double)

}  // namespace convpool
