#include "pooling/place_gather.hpp"

#include <algorithm>
#include <limits>

#include "pooling/row_bands.hpp"
#include "pooling/small_spread.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

namespace {

constexpr Index kBandElements = 16 * 1024;

// Channels last, windows apart: lanes are channels, and everything is read where it lies.
template <class T>
class ChannelGatherer {
 public:
  ChannelGatherer(const KernelTable& table, const PoolView& view) : view_(view), kernels_(pool_kernels<T>(table)) {
    for (const Range& windows : view.axes[2].reads)
      windows_.push_back(windows.count > 0 ? windows.first * view.inner : kNone);
    none_.assign(windows_.size(), kNone);
  }

  void run(const RowBand& band, const T* gradients, const std::int32_t* places, T* out) const noexcept {
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1], &wide = view_.axes[2];
    const Index row = wide.targets * view_.inner;
    const Range& planes = deep.of(band.z);
    for (Index y = band.y.first; y < band.y.stop(); ++y) {
      const Range& rows = high.of(y);
      const bool has_windows = planes.count > 0 && rows.count > 0;
      const Index line = band.z * high.targets + y;
      const Index source =
          has_windows ? ((band.outer * deep.sources + planes.first) * high.sources + rows.first) * wide.sources : 0;
      kernels_.gather_channels({wide.targets, view_.inner, gradients + source * view_.inner,
                                places + source * view_.inner, has_windows ? windows_.data() : none_.data(),
                                line * wide.targets, out + (band.outer * deep.targets * high.targets + line) * row});
    }
  }

 private:
  static constexpr Index kNone = -1;

  const PoolView& view_;
  const PoolKernels<T>& kernels_;
  std::vector<Index> windows_, none_;  // over a column
};

// One channel: small windows, where the places of a vector are compared faster than they are followed.
template <class T>
auto place_spread_kernel(const PoolGeometry& geometry) {
  const auto& [deep, high, wide] = geometry.axes;
  return window_spread_kernel(deep, high, wide, pool_kernels<T>(*selected_kernels()).place_spreads);
}

template <class T>
void gather_channels(const PoolView& view, const T* grad_output, const std::int32_t* indices, T* grad_input,
                     int num_threads) {
  if (view.outers == 0) return;
  const RowBands bands(view, kBandElements, num_threads > 0 ? num_threads : default_threads());
  const ChannelGatherer<T> gather(*selected_kernels(), view);
  bands.for_all(num_threads, view.elements(),
                [&](const RowBand& band) { gather.run(band, grad_output, indices, grad_input); });
}

}  // namespace

template <class T>
bool pays_gather(const PoolGeometry& geometry) {
  constexpr Index kLeastChannels = 8, kManyWindows = 9;
  constexpr Index kLeastResults = 128 * 1024;
  Index windows = 1;
  for (const Axis& axis : geometry.axes) {
    windows *= axis.largest_cover();
    if (axis.dilation > 1) return false;  // are_in_windows() looks at rows without gaps
  }
  if (selected_kernels() == nullptr || geometry.input.plane() >= std::numeric_limits<std::int32_t>::max()) return false;
  if (!geometry.input.has_whole_planes()) return windows == 1 && geometry.input.channels >= kLeastChannels;
  return windows >= kManyWindows && geometry.output.elements() >= kLeastResults &&
         place_spread_kernel<T>(geometry) != nullptr;
}

template <class T>
void gather_gradients(const PoolGeometry& geometry, const T* grad_output, const std::int32_t* indices, T* grad_input,
                      int num_threads) {
  const PoolView view = plain_backward_view(geometry);
  if (!geometry.input.has_whole_planes()) return gather_channels(view, grad_output, indices, grad_input, num_threads);
  run_place_spread(view, place_spread_kernel<T>(geometry), grad_output, indices, grad_input, num_threads);
}

template bool pays_gather<float>(const PoolGeometry&);
template bool pays_gather<double>(const PoolGeometry&);
template void gather_gradients(const PoolGeometry&, const float*, const std::int32_t*, float*, int);
template void gather_gradients(const PoolGeometry&, const double*, const std::int32_t*, double*, int);

bool are_in_windows(const PoolGeometry& geometry, const std::int32_t* indices, int num_threads) {
  const PoolView view = forward_view(geometry);
  if (view.outers == 0) return true;
  const ViewAxis &deep = view.axes[0], &high = view.axes[1], &wide = view.axes[2];
  const auto narrow = [](Index value) { return static_cast<std::int32_t>(value); };
  std::vector<std::int32_t> starts, lengths, first, counts;
  for (const Range& reads : wide.reads) {
    starts.push_back(narrow(reads.first));
    lengths.push_back(narrow(reads.count));
  }
  for (const Range& reads : high.reads) {
    first.push_back(narrow(reads.first * wide.sources));
    counts.push_back(narrow(reads.count));
  }
  const KernelTable& table = *selected_kernels();
  const RowBands bands(view, kBandElements, num_threads > 0 ? num_threads : default_threads());
  const Index plane = high.sources * wide.sources, row = wide.targets * view.inner;
  const int workers = worker_count(num_threads, bands.tasks(), view.outers * view.target_plane());
  std::vector<char> is_inside(static_cast<std::size_t>(bands.tasks()), true);
  parallel_for(bands.tasks(), workers, [&](Index task, int) {
    bands.each(task, [&](const RowBand& band) {
      const Range& planes = deep.of(band.z);
      const std::int32_t* places = indices + ((band.outer * deep.targets + band.z) * high.targets + band.y.first) * row;
      if (!table.are_inside({band.y.count, wide.targets, view.inner, places, first.data() + band.y.first,
                             counts.data() + band.y.first, narrow(wide.sources), planes.count, narrow(plane),
                             starts.data(), lengths.data(), narrow(planes.first * plane)}))
        is_inside[static_cast<std::size_t>(task)] = false;
    });
  });
  return std::all_of(is_inside.begin(), is_inside.end(), [](char each) { return each; });
}

}  // namespace convpool
