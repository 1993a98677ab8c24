// Channels first, small windows backwards: every input row gets its share of the gradients of averages straight from
// them.
#pragma once

#include "pooling/average_divisor.hpp"
#include "pooling/row_bands.hpp"

namespace convpool {

// The kernel for the windows of a backward view, or null where there is none.
template <class T>
typename WindowSpreadKernels<T>::Function window_spread_kernel(const PoolView& view,
                                                               const WindowSpreadKernels<T>& kernels) {
  const Axis &deep = view.axes[0].window, &high = view.axes[1].window, &wide = view.axes[2].window;
  if (view.inner > 1 || deep.kernel > deep.stride) return nullptr;
  for (const Axis* axis : {&deep, &high, &wide})
    if (axis->is_adaptive || axis->dilation > 1 || axis->kernel > kMostSmallKernel || axis->stride > kMostSmallKernel)
      return nullptr;
  const bool is_square = high.kernel == wide.kernel && high.stride == wide.stride;
  const bool is_flat = high.kernel == 1 && high.stride == 1;
  if (!is_square && !is_flat) return nullptr;
  const auto& kernels_of_height = is_square ? kernels.square : kernels.flat;
  return kernels_of_height[wide.kernel - 1][wide.stride - 1][wide.pad_low % wide.stride];
}

// `divisor` is small, `kernel` one of window_spread_kernel().
template <class T>
void run_window_spread(const PoolView& view, typename WindowSpreadKernels<T>::Function kernel,
                       const AverageDivisor<T>& divisor, const T* grad_output, T* grad_input, int num_threads) {
  constexpr Index kBandElements = 8 * 1024;
  if (view.outers == 0) return;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const ViewAxis &deep = view.axes[0], &high = view.axes[1], &wide = view.axes[2];
  const Index window_plane = high.sources * wide.sources, plane = high.targets * wide.targets;
  const RowBands bands(view, kBandElements, threads);
  parallel_for(bands.tasks(), worker_count(threads, bands.tasks(), view.elements()), [&](Index task, int) {
    bands.each(task, [&](const RowBand& band) {
      const Range& windows = deep.of(band.z);  // one plane of them at most
      const bool has_windows = windows.count > 0;
      const Index z = has_windows ? windows.first : 0;
      kernel({band.y.first, band.y.count, wide.targets,
              grad_output + band.outer * view.source_plane() + z * window_plane, has_windows ? high.sources : 0,
              wide.sources, high.window.pad_low, wide.window.pad_low / wide.window.stride, divisor.column_shares(),
              divisor.row_shares(z, 0), divisor.has_exact_inverses(),
              grad_input + band.outer * view.target_plane() + band.z * plane});
    });
  });
}

}  // namespace convpool
