// Channels first, small windows backwards: every input row gets its share of the gradients of averages, or of maxima,
// straight from them.
#pragma once

#include "pooling/average_divisor.hpp"
#include "pooling/row_bands.hpp"

namespace convpool {

// The kernel for windows over one channel, or null where there is none.
template <class Spread>
auto window_spread_kernel(const Axis& deep, const Axis& high, const Axis& wide,
                          const WindowSpreadKernels<Spread>& kernels) ->
    typename WindowSpreadKernels<Spread>::Function {
  if (deep.kernel > deep.stride) return nullptr;
  for (const Axis* axis : {&deep, &high, &wide})
    if (axis->is_adaptive || axis->dilation > 1 || axis->kernel > kMostSpreadKernel || axis->stride > kMostSpreadStride)
      return nullptr;
  const bool is_square = high.kernel == wide.kernel && high.stride == wide.stride;
  const bool is_flat = high.kernel == 1 && high.stride == 1;
  if (!is_square && !is_flat) return nullptr;
  const auto& kernels_of_height = is_square ? kernels.square : kernels.flat;
  return kernels_of_height[wide.kernel - 1][wide.stride - 1][wide.pad_low % wide.stride];
}

// run(spread, where its gradients begin, plane of elements, plane of windows) for every band of rows of a plane.
template <class T, class Run>
void for_each_spread(const PoolView& view, const T* grad_output, T* grad_input, int num_threads, Run&& run) {
  if (view.outers == 0) return;
  const int threads = num_threads > 0 ? num_threads : default_threads();
  const ViewAxis &deep = view.axes[0], &high = view.axes[1], &wide = view.axes[2];
  const Index window_plane = high.sources * wide.sources, plane = high.targets * wide.targets;
  const RowBands bands(view, strip_elements(view, sizeof(T)), threads);
  const Index gradients_ahead = band_ahead(bands.rows() / high.window.stride, wide.sources, sizeof(T));
  const Index out_ahead = far_band_ahead(view.elements(), bands.rows(), wide.targets, sizeof(T));
  bands.for_all(threads, view.elements(), [&](const RowBand& band) {
    const Range& windows = deep.of(band.z);  // one plane of them at most
    const bool has_windows = windows.count > 0;
    const Index z = has_windows ? windows.first : 0;
    const Index source = band.outer * view.source_plane() + z * window_plane;
    run(WindowSpread<T>{band.y.first, band.y.count, wide.targets, grad_output + source, has_windows ? high.sources : 0,
                        wide.sources, high.window.pad_low, wide.window.pad_low / wide.window.stride,
                        grad_input + band.outer * view.target_plane() + band.z * plane, gradients_ahead, out_ahead},
        source, band.z, z);
  });
}

// `divisor` is small, `kernel` one of window_spread_kernel().
template <class T, class Kernel>
void run_window_spread(const PoolView& view, Kernel kernel, const AverageDivisor<T>& divisor, const T* grad_output,
                       T* grad_input, int num_threads) {
  for_each_spread(view, grad_output, grad_input, num_threads,
                  [&](const WindowSpread<T>& spread, Index, Index, Index window_z) {
                    kernel(AverageSpread<T>{spread, divisor.column_shares(), divisor.row_shares(window_z, 0),
                                            divisor.has_exact_inverses()});
                  });
}

// Places lie in windows of their own.
template <class T, class Kernel>
void run_place_spread(const PoolView& view, Kernel kernel, const T* grad_output, const std::int32_t* places,
                      T* grad_input, int num_threads) {
  const Index plane = view.axes[1].targets * view.axes[2].targets;
  for_each_spread(view, grad_output, grad_input, num_threads,
                  [&](const WindowSpread<T>& spread, Index source, Index z, Index) {
                    kernel(PlaceSpread<T>{spread, places + source, z * plane});
                  });
}

}  // namespace convpool
