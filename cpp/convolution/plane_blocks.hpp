// The planes of a depthwise convolution as blocks of neighbouring channels, over slices of the images: what a task
// takes where it prepares something for each channel.
#pragma once

#include <algorithm>
#include <vector>

#include "convolution/correlation.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

constexpr Index kMostBlockChannels = 16;

struct PlaneBlock {
  Index first, channels;
  Index slice, first_image, stop_image;
};

class PlaneBlocks {
 public:
  PlaneBlocks(const Correlation& part, int num_threads)
      : groups_(part.groups), batch_(part.batch),
        at_once_(std::clamp<Index>(groups_ / kWantedTasks, 1, kMostBlockChannels)),
        slices_(std::clamp<Index>(ceil_divide(kWantedTasks, count()), 1, std::max<Index>(batch_, 1))),
        images_(ceil_divide(batch_, slices_)),
        workers_(worker_count(num_threads, count() * slices_,
                              groups_ * static_cast<Index>(part.taps.size()) * (part.pixels() / 16 + 1))) {}

  Index count() const noexcept { return ceil_divide(groups_, at_once_); }
  Index slices() const noexcept { return slices_; }
  int workers() const noexcept { return workers_; }
  PlaneBlock block(Index index, Index slice = 0) const noexcept {
    const Index first = index * at_once_;
    return {first, std::min(at_once_, groups_ - first), slice, slice * images_,
            std::min((slice + 1) * images_, batch_)};
  }

  // body(block, worker)
  template <class Body>
  void each(Body&& body) const {
    parallel_for(count() * slices_, workers_,
                 [&](Index task, int worker) { body(block(task / slices_, task % slices_), worker); });
  }

 private:
  Index groups_, batch_, at_once_, slices_, images_;
  int workers_;
};

// The gradient of the weight: add(block, image, worker, sums) adds the products of an image to
// sums[channel][tap][lane], total(sums, slices, count, totals) sums slices and lanes, and those of tap i go to
// grad_weight[offsets[i] + ...].
template <class T, class Add>
void sum_planes(const PlaneBlocks& blocks, const Correlation& part, const std::vector<Index>& offsets, Index lanes,
                void (*total)(const T*, Index, Index, T*), Add&& add, T* grad_weight) {
  const Index taps = static_cast<Index>(offsets.size()), slices = blocks.slices();
  const Workspace partial(1, static_cast<std::size_t>(part.groups * slices * taps * lanes) * sizeof(T));
  const Workspace totals(blocks.workers(), static_cast<std::size_t>(kMostBlockChannels * taps) * sizeof(T));
  T* sums = reinterpret_cast<T*>(partial.of(0));  // [block][slice][channel][tap][lane]
  const auto write = [&](const PlaneBlock& block, int worker) {
    T* next = reinterpret_cast<T*>(totals.of(worker));
    total(sums + block.first * slices * taps * lanes, slices, block.channels * taps, next);
    for (Index channel = block.first; channel < block.first + block.channels; ++channel)
      for (const Index offset : offsets) grad_weight[offset + channel * part.weight_group_stride] = *next++;
  };
  blocks.each([&](const PlaneBlock& block, int worker) {
    const Index length = block.channels * taps * lanes;
    T* own = sums + block.first * slices * taps * lanes + block.slice * length;
    std::fill_n(own, length, T{0});
    for (Index image = block.first_image; image < block.stop_image && !is_interrupted(); ++image)
      add(block, image, worker, own);
    if (slices == 1) write(block, worker);
  });
  for (Index index = 0; index < blocks.count() && slices > 1; ++index) write(blocks.block(index), 0);
}

}  // namespace convpool
