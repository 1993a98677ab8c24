#include "convolution/depthwise_spread.hpp"

#include <algorithm>
#include <optional>

#include "convolution/phase_set.hpp"
#include "convolution/plane_tasks.hpp"
#include "runtime/caches.hpp"

namespace convpool {

namespace {

struct Windows {
  Index kernel, row_padding, padding;
  bool is_flat;
};

// Element target_phase + target_step * j is the tap's of window j + offset, which begins at target_step times that,
// less the padding.
Index padding_of(const Correlation& part, int axis, Index tap) noexcept {
  return tap + part.target_step[axis] * part.taps.front().offset[axis] - part.target_phase[axis];
}

// Any phase tells the same. None unless they are as high as wide, at one stride, or a single row, without gaps.
std::optional<Windows> windows_of(const Correlation& part) {
  const Index *window = part.window, *step = part.target_step;
  const bool is_flat = window[1] == 1 && step[1] == 1, is_square = window[1] == window[2] && step[1] == step[2];
  const bool is_dense = window[0] == 1 && part.weight_group_stride == window[1] * window[2];
  if (!is_dense || !(is_flat || is_square) || window[2] > kMostSpreadKernel || step[2] > kMostSpreadStride)
    return std::nullopt;
  const Index place = part.taps.front().weight_offset;
  return Windows{window[2], padding_of(part, 1, place / window[2]), padding_of(part, 2, place % window[2]), is_flat};
}

template <class T>
auto kernel_for(const KernelTable& table, const Correlation& part, const Windows& windows) {
  const WindowSpreadKernels<DepthwiseSpread<T>>& kernels = conv_kernels<T>(table).depthwise.spreads;
  const auto& of_height = windows.is_flat ? kernels.flat : kernels.square;
  const Index step = part.target_step[2];
  return of_height[windows.kernel - 1][step - 1][windows.padding % step];
}

// Rows and columns follow each other without gaps, those of the target once all phases are there.
bool has_plain_planes(const Correlation& part) {
  const Index *step = part.target_step, *extent = part.whole_extent;
  return part.source.axis_stride[2] == 1 && part.source.axis_stride[1] == part.source.extent[2] &&
         part.target.axis_stride[2] == step[2] && part.target.axis_stride[1] == step[1] * extent[2] &&
         part.source.extent[0] == 1 && extent[0] == 1;
}

// The first plane of the target, all of its rows.
template <class T>
WindowSpread<T> first_plane(const PhaseSet& set, const Windows& windows, const T* source, T* target,
                            Index rows_at_once) noexcept {
  const Grid &from = set.common.source, &to = set.target;
  return {0,
          to.extent[1],
          to.extent[2],
          source,
          from.extent[1],
          from.extent[2],
          windows.row_padding,
          windows.padding / set.common.target_step[2],
          target + set.target_offset,
          band_ahead(rows_at_once / set.common.target_step[1], from.extent[2], sizeof(T)),
          far_band_ahead(set.common.elements(), rows_at_once, to.extent[2], sizeof(T))};
}

}  // namespace

bool depthwise_spread_accepts(const KernelTable& table, const Correlation& part) {
  constexpr Index kLeastColumns = 8, kMostColumns = 8192;  // fewer: planes side by side; more: they are cut
  const Index columns = part.whole_extent[2];
  if (part.rows != 1 || part.channels != 1 || columns < kLeastColumns || columns > kMostColumns ||
      !has_plain_planes(part))
    return false;
  const std::optional<Windows> windows = windows_of(part);
  return windows && kernel_for<float>(table, part, *windows) != nullptr;
}

template <class T>
void run_depthwise_spread(const KernelTable* table, const std::vector<Correlation>& parts, const T* source,
                          const T* weight, const T* bias, T* target, int num_threads) {
  const Correlation& part = parts.front();
  const Windows windows = *windows_of(part);
  const auto kernel = kernel_for<T>(*table, part, windows);
  const PhaseSet set(parts.data(), parts.data() + parts.size());
  const Grid &from = set.common.source, &to = set.target;
  const Index rows = to.extent[1], rows_at_once = strip_rows(rows, to.extent[2] * static_cast<Index>(sizeof(T)));
  const WindowSpread<T> first = first_plane(set, windows, source, target, rows_at_once);
  PlaneTasks(part, num_threads).each([&](Index batch, Index channel, int) {
    WindowSpread<T> plane = first;
    plane.gradients += batch * from.batch_stride + channel * from.channel_stride;
    plane.out += batch * to.batch_stride + channel * to.channel_stride;
    for (Index y = 0; y < rows; y += rows_at_once) {
      plane.first_row = y;
      plane.rows = std::min(rows_at_once, rows - y);
      kernel({plane, weight + channel * part.weight_group_stride, bias == nullptr ? T{0} : bias[channel]});
    }
  });
}

template void run_depthwise_spread(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                                   const float*, float*, int);
template void run_depthwise_spread(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                                   const double*, double*, int);

}  // namespace convpool
