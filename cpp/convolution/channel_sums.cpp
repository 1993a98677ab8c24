#include "convolution/channel_sums.hpp"

#include <algorithm>

#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kPieceElements = 4096;  // of a run that are summed in vectors: 64 for each lane of the widest
constexpr Index kPieceRows = 128;

// Pieces of pixels are cut into slices, and channels into blocks; a task sums one of each.
struct Cut {
  Index pieces, slices, channel_block;

  Cut(Index piece_count, Index channels, Index block)
      : pieces(piece_count), slices(0), channel_block(std::min(block, channels)) {
    const Index wanted = ceil_divide(kWantedTasks, ceil_divide(channels, channel_block));
    const Index slice_pieces = std::max<Index>(1, ceil_divide(pieces, wanted));
    slices = ceil_divide(pieces, slice_pieces);
  }
  Index first_piece(Index slice) const { return slice * pieces / std::max<Index>(slices, 1); }
};

// Channels lie apart: each plane is a run.
template <class T>
void sum_planes(const ConvKernels<T>& kernels, const Extents& extents, const Cut& cut, const T* values, Index slice,
                Index channel, T* sum) noexcept {
  const Index plane_pieces = ceil_divide(extents.plane(), kPieceElements);
  *sum = 0;
  for (Index piece = cut.first_piece(slice); piece < cut.first_piece(slice + 1) && !is_interrupted(); ++piece) {
    const Index first = piece % plane_pieces * kPieceElements;
    const T* plane = values + piece / plane_pieces * extents.batch_stride() + channel * extents.channel_stride();
    *sum += kernels.sum_run(plane + first, std::min(kPieceElements, extents.plane() - first));
  }
}

template <class T>
void sum_pixels(const ConvKernels<T>& kernels, const Extents& extents, const Cut& cut, const T* values, Index slice,
                T* sums) noexcept {
  const Index pixels = extents.batch * extents.plane();
  std::fill_n(sums, extents.channels, T{0});
  for (Index piece = cut.first_piece(slice); piece < cut.first_piece(slice + 1) && !is_interrupted(); ++piece) {
    const Index first = piece * kPieceRows;
    kernels.add_rows(values + first * extents.channels, std::min(kPieceRows, pixels - first), extents.channels, sums);
  }
}

}  // namespace

template <class T>
void add_channels(const KernelTable& table, const Extents& extents, const T* values, T* sums, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(table);
  const Index channels = extents.channels;
  const bool has_runs = extents.layout == Layout::channels_first && extents.plane() > 1;
  const Cut cut = has_runs ? Cut(extents.batch * ceil_divide(extents.plane(), kPieceElements), channels, 1)
                           : Cut(ceil_divide(extents.batch * extents.plane(), kPieceRows), channels, channels);
  const Workspace memory(1, static_cast<std::size_t>(cut.slices * channels) * sizeof(T));
  T* partial = reinterpret_cast<T*>(memory.of(0));
  const Index slice_tasks = ceil_divide(channels, cut.channel_block), tasks = cut.slices * slice_tasks;
  parallel_for(tasks, worker_count(num_threads, tasks, extents.elements()), [&](Index task, int) {
    const Index slice = task / slice_tasks, channel = task % slice_tasks;
    T* target = partial + slice * channels + channel;
    if (has_runs) sum_planes(kernels, extents, cut, values, slice, channel, target);
    else sum_pixels(kernels, extents, cut, values, slice, target);
  });
  std::fill_n(sums, channels, T{0});
  if (ScratchMeter::current() != nullptr) return;
  for (Index slice = 0; slice < cut.slices; ++slice)
    for (Index channel = 0; channel < channels; ++channel) sums[channel] += partial[slice * channels + channel];
}

template void add_channels(const KernelTable&, const Extents&, const float*, float*, int);
template void add_channels(const KernelTable&, const Extents&, const double*, double*, int);

}  // namespace convpool
