// Channels last, few windows over an element, backwards: every element gets its share of the gradients of averages,
// straight from them.
#pragma once

#include <vector>

#include "pooling/average_divisor.hpp"
#include "pooling/axis_pass.hpp"
#include "pooling/row_bands.hpp"

namespace convpool {

constexpr Index kMostChannelWindows = 4;

// A gradient is divided anew for every element: more windows, or overlapping ones in a cache, are faster divided once
// and added along one axis after the other. The bits are the same: where they would not be, this is not taken.
inline bool pays_channel_spread(const PoolView& view, std::size_t element_bytes) noexcept {
  const auto& [deep, high, wide] = view.axes;
  if (deep.most_reads > 1 && high.most_reads > 1) return false;  // there the sums of planes are added
  if (pays_running(deep) || pays_running(high) || pays_running(wide)) return false;
  const Index windows = deep.most_reads * high.most_reads * wide.most_reads;
  const bool is_far = are_far(view.elements() * static_cast<Index>(element_bytes));
  return view.inner > 1 && wide.step == 1 && windows <= (is_far ? kMostChannelWindows : 1);
}

template <class T>
class ChannelSpreader {
 public:
  ChannelSpreader(const PoolView& view, const PoolKernels<T>& kernels, const AverageDivisor<T>& divisor)
      : view_(view), kernels_(kernels), divisor_(divisor) {
    for (const Range& windows : view.axes[2].reads) {
      first_.push_back(windows.first);
      counts_.push_back(windows.count);
    }
  }

  void run(const RowBand& band, const T* gradients, T* out) const noexcept {
    const auto& [deep, high, wide] = view_.axes;
    const Index row = wide.targets * view_.inner;
    for (Index y = band.y.first; y < band.y.stop(); ++y) {
      Rows rows;
      find_rows(band.z, y, rows);
      kernels_.spread_channels({wide.targets, view_.inner, gradients + band.outer * view_.source_plane(), rows.offsets,
                                rows.shares, rows.count, first_.data(), counts_.data(), divisor_.column_shares(),
                                divisor_.has_exact_inverses(),
                                out + ((band.outer * deep.targets + band.z) * high.targets + y) * row});
    }
  }

 private:
  // The rows of windows over a row of elements.
  struct Rows {
    Index offsets[kMostChannelWindows];
    T shares[kMostChannelWindows];
    Index count = 0;
  };

  // From the front and the top.
  void find_rows(Index z, Index y, Rows& rows) const noexcept {
    const auto& [deep, high, wide] = view_.axes;
    const Range &planes = deep.of(z), &lines = high.of(y);
    for (Index tz = 0; tz < planes.count; ++tz)
      for (Index ty = 0; ty < lines.count; ++ty) {
        const Index window_z = planes.first + tz * deep.step, window_y = lines.first + ty * high.step;
        rows.offsets[rows.count] = (window_z * high.sources + window_y) * wide.sources * view_.inner;
        rows.shares[rows.count++] = divisor_.row_shares(window_z, window_y)[0];
      }
  }

  const PoolView& view_;
  const PoolKernels<T>& kernels_;
  const AverageDivisor<T>& divisor_;
  std::vector<Index> first_, counts_;
};

// With pays_channel_spread() and a small divisor.
template <class T>
void run_channel_spread(const PoolView& view, const PoolKernels<T>& kernels, const AverageDivisor<T>& divisor,
                        const T* grad_output, T* grad_input, int num_threads) {
  if (view.outers == 0) return;
  constexpr Index kBandElements = 16 * 1024;
  const RowBands bands(view, kBandElements, num_threads > 0 ? num_threads : default_threads());
  const ChannelSpreader<T> spread(view, kernels, divisor);
  bands.for_all(num_threads, view.elements(), [&](const RowBand& band) { spread.run(band, grad_output, grad_input); });
}

}  // namespace convpool
