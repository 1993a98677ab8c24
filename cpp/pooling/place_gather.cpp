#include "pooling/place_gather.hpp"

#include <algorithm>
#include <limits>

#include "pooling/pool_view.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kTaskElements = 16 * 1024;
constexpr Index kTasksPerThread = 4;

// Input rows of one task.
struct Band {
  Index outer, z;
  Range y;
};

class BandCut {
 public:
  BandCut(const PoolView& view, int threads) : view_(view), rows_(view.axes[1].targets) {
    while (rows_ > 1 && rows_ * view.axes[2].targets * view.inner > kTaskElements) rows_ = ceil_divide(rows_, 2);
    while (threads > 1 && rows_ > 1 && tasks() < kTasksPerThread * threads) rows_ = ceil_divide(rows_, 2);
  }

  Index tasks() const noexcept { return view_.outers * view_.axes[0].targets * row_blocks(); }
  Band band(Index task) const noexcept {
    const Index first = task % row_blocks() * rows_, plane = task / row_blocks();
    return {plane / view_.axes[0].targets,
            plane % view_.axes[0].targets,
            {first, std::min(rows_, view_.axes[1].targets - first)}};
  }

 private:
  Index row_blocks() const noexcept { return ceil_divide(view_.axes[1].targets, rows_); }

  const PoolView& view_;
  Index rows_;
};

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

  void run(const Band& band, const T* gradients, const std::int32_t* places, T* out, bool is_added,
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

template <class T>
void gather_view(const PoolView& view, const T* grad_output, const std::int32_t* indices, T* grad_input, bool is_added,
                 int num_threads) {
  if (view.outers == 0) return;
  const BandCut cut(view, num_threads > 0 ? num_threads : default_threads());
  const ChannelGatherer<T> gather(*selected_kernels(), view);
  const int workers = worker_count(num_threads, cut.tasks(), view.elements());
  const Workspace memory(workers, gather.scratch_bytes());
  parallel_for(cut.tasks(), workers, [&](Index task, int worker) {
    gather.run(cut.band(task), grad_output, indices, grad_input, is_added, memory.of(worker));
  });
}

}  // namespace

bool pays_gather(const PoolGeometry& geometry) {
  constexpr Index kMostWindows = 27, kLeastChannels = 8;
  Index windows = 1;
  for (const Axis& axis : geometry.axes) {
    windows *= axis.largest_cover();
    if (axis.dilation > 1) return false;  // are_in_windows() looks at rows without gaps
  }
  return geometry.input.layout == Layout::channels_last && geometry.input.channels >= kLeastChannels &&
         windows <= kMostWindows && selected_kernels() != nullptr &&
         geometry.input.plane() < std::numeric_limits<std::int32_t>::max();
}

template <class T>
void gather_gradients(const PoolGeometry& geometry, const T* grad_output, const std::int32_t* indices, T* grad_input,
                      int num_threads) {
  gather_view(plain_backward_view(geometry), grad_output, indices, grad_input, false, num_threads);
}

template <class T>
void gather_block(const PoolView& block, const T* grad_output, const std::int32_t* indices, T* grad_input,
                  int num_threads) {
  gather_view(block, grad_output, indices, grad_input, true, num_threads);
}

template void gather_block(const PoolView&, const float*, const std::int32_t*, float*, int);
template void gather_block(const PoolView&, const double*, const std::int32_t*, double*, int);
template void gather_gradients(const PoolGeometry&, const float*, const std::int32_t*, float*, int);
template void gather_gradients(const PoolGeometry&, const double*, const std::int32_t*, double*, int);

bool are_in_windows(const PoolGeometry& geometry, const std::int32_t* indices, int num_threads) {
  const PoolView view = forward_view(geometry);
  const ViewAxis &deep = view.axes[0], &high = view.axes[1], &wide = view.axes[2];
  std::vector<std::int32_t> first, last;
  for (const Range& reads : wide.reads) {
    first.insert(first.end(), static_cast<std::size_t>(view.inner), static_cast<std::int32_t>(reads.first));
    last.insert(last.end(), static_cast<std::size_t>(view.inner), static_cast<std::int32_t>(reads.stop() - 1));
  }
  const KernelTable& table = *selected_kernels();
  const Index columns = wide.targets * view.inner, rows = deep.targets * high.targets, all = view.outers * rows;
  const Index at_once = std::max<Index>(kTaskElements / columns, 1), tasks = ceil_divide(all, at_once);
  const int workers = worker_count(num_threads, tasks, all * columns);
  const Index most_rows = view.most_rows();
  const Workspace memory(workers, static_cast<std::size_t>(most_rows) * sizeof(std::int32_t));
  std::vector<char> is_inside(static_cast<std::size_t>(tasks), true);  // of every task
  parallel_for(tasks, workers, [&](Index task, int worker) {
    std::int32_t* positions = reinterpret_cast<std::int32_t*>(memory.of(worker));
    for (Index row = task * at_once; row < std::min(all, (task + 1) * at_once); ++row) {
      const Range &z = deep.of(row % rows / high.targets), &y = high.of(row % high.targets);
      Index count = 0;
      for (Index tz = 0; tz < z.count; ++tz)
        for (Index ty = 0; ty < y.count; ++ty)
          positions[count++] = static_cast<std::int32_t>(((z.first + tz) * high.sources + y.first + ty) * wide.sources);
      if (!table.are_inside({columns, indices + row * columns, first.data(), last.data(), positions, count}))
        is_inside[static_cast<std::size_t>(task)] = false;
    }
  });
  return std::all_of(is_inside.begin(), is_inside.end(), [](char each) { return each; });
}

}  // namespace convpool
