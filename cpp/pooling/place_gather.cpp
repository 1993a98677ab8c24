#include "pooling/place_gather.hpp"

#include <algorithm>
#include <limits>

#include "pooling/row_bands.hpp"
#include "pooling/small_spread.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kBandElements = 16 * 1024;

// Channels last: lanes are channels, and everything is read where it lies.
template <class T>
class ChannelGatherer {
 public:
  ChannelGatherer(const KernelTable& table, const PoolView& view) : view_(view), kernels_(pool_kernels<T>(table)) {
    for (const Range& windows : view.axes[2].reads) {
      first_.push_back(windows.first * view.inner);
      counts_.push_back(windows.count);
    }
  }

  std::size_t scratch_bytes() const noexcept {
    return static_cast<std::size_t>(view_.axes[0].most_reads * view_.axes[1].most_reads) * sizeof(Index);
  }

  void run(const RowBand& band, const T* gradients, const std::int32_t* places, T* out, bool is_added,
           std::byte* memory) const noexcept {
    Index* rows = reinterpret_cast<Index*>(memory);
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1], &wide = view_.axes[2];
    const Index source = band.outer * view_.source_plane();
    const Index target = band.outer * deep.extent * high.extent * wide.extent * view_.inner;
    for (Index y = band.y.first; y < band.y.stop(); ++y) {
      const Index count = find_rows(band.z, y, rows);
      const Index row = (deep.origin + band.z) * high.extent + high.origin + y;
      const Index position = row * wide.extent + wide.origin;
      kernels_.gather_channels({wide.targets, view_.inner, gradients + source, places + source, rows, count,
                                first_.data(), counts_.data(), wide.step * view_.inner, position,
                                out + target + position * view_.inner, view_.inner, is_added});
    }
  }

 private:
  // Where the rows of windows over input row (z, y) begin, from the front and the top; returns how many there are.
  Index find_rows(Index z, Index y, Index* rows) const noexcept {
    const Range &deep = view_.axes[0].of(z), &high = view_.axes[1].of(y);
    Index count = 0;
    for (Index tz = 0; tz < deep.count; ++tz)
      for (Index ty = 0; ty < high.count; ++ty)
        rows[count++] =
            ((deep.first + tz) * view_.axes[1].sources + high.first + ty) * view_.axes[2].sources * view_.inner;
    return count;
  }

  const PoolView& view_;
  const PoolKernels<T>& kernels_;
  std::vector<Index> first_, counts_;
};

// One channel: small windows, where the places of a vector are compared faster than they are followed.
template <class T>
auto place_spread_kernel(const PoolGeometry& geometry) {
  const auto& [deep, high, wide] = geometry.axes;
  return window_spread_kernel(deep, high, wide, pool_kernels<T>(*selected_kernels()).place_spreads);
}

template <class T>
void gather_view(const PoolView& view, const T* grad_output, const std::int32_t* indices, T* grad_input, bool is_added,
                 int num_threads) {
  if (view.outers == 0) return;
  const RowBands bands(view, kBandElements, num_threads > 0 ? num_threads : default_threads());
  const ChannelGatherer<T> gather(*selected_kernels(), view);
  Index comparisons = view.outers * view.source_plane();
  for (const ViewAxis& axis : view.axes) comparisons *= axis.window.largest_window();
  const int workers = worker_count(num_threads, bands.tasks(), view.outers * view.target_plane() + comparisons / 2);
  const Workspace memory(workers, gather.scratch_bytes());
  parallel_for(bands.tasks(), workers, [&](Index task, int worker) {
    bands.each(task, [&](const RowBand& band) {
      gather.run(band, grad_output, indices, grad_input, is_added, memory.of(worker));
    });
  });
}

}  // namespace

template <class T>
bool pays_gather(const PoolGeometry& geometry) {
  constexpr Index kMostWindows = 27, kLeastChannels = 8;
  constexpr Index kLeastResults = 128 * 1024;
  Index windows = 1;
  for (const Axis& axis : geometry.axes) {
    windows *= axis.largest_cover();
    if (axis.dilation > 1) return false;  // are_in_windows() looks at rows without gaps
  }
  if (windows > kMostWindows || selected_kernels() == nullptr ||
      geometry.input.plane() >= std::numeric_limits<std::int32_t>::max())
    return false;
  if (!geometry.input.has_whole_planes()) return geometry.input.channels >= kLeastChannels;
  return geometry.output.elements() >= kLeastResults && place_spread_kernel<T>(geometry) != nullptr;
}

template <class T>
bool pays_block_gather(const PoolGeometry& geometry) {
  return !geometry.input.has_whole_planes() && pays_gather<T>(geometry);
}

template <class T>
void gather_gradients(const PoolGeometry& geometry, const T* grad_output, const std::int32_t* indices, T* grad_input,
                      int num_threads) {
  const PoolView view = plain_backward_view(geometry);
  if (!geometry.input.has_whole_planes())
    return gather_view(view, grad_output, indices, grad_input, false, num_threads);
  run_place_spread(view, place_spread_kernel<T>(geometry), grad_output, indices, grad_input, num_threads);
}

template <class T>
void gather_block(const PoolView& block, const T* grad_output, const std::int32_t* indices, T* grad_input) {
  gather_view(block, grad_output, indices, grad_input, true, 1);
}

template bool pays_gather<float>(const PoolGeometry&);
template bool pays_gather<double>(const PoolGeometry&);
template bool pays_block_gather<float>(const PoolGeometry&);
template bool pays_block_gather<double>(const PoolGeometry&);
template void gather_block(const PoolView&, const float*, const std::int32_t*, float*);
template void gather_block(const PoolView&, const double*, const std::int32_t*, double*);
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
