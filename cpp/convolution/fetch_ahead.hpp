// What is needed next, fetched into the second-level cache while products of what is there are summed: copies that read
// a short run from each of many planes, and windows that read a run of channels from each of many pixels, are nothing
// that processors see coming.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/elements.hpp"

namespace convpool {

// The barrier: a compiler takes a function that does nothing but fetch for one without effect, and drops its calls.
template <class T>
void fetch_run(const T* first, Index length) noexcept {
  constexpr std::uintptr_t kLineBytes = 64;
  asm volatile("" : : : "memory");
  const auto begin = reinterpret_cast<std::uintptr_t>(first), stop = reinterpret_cast<std::uintptr_t>(first + length);
  for (std::uintptr_t line = begin & ~(kLineBytes - 1); line < stop; line += kLineBytes)
    __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 2);
}

// The first `channels` of pixels that lie `pitch` apart.
template <class T>
void fetch_pixels(const T* first, Index pixels, Index pitch, Index channels) noexcept {
  if (pitch == channels) return fetch_run(first, pixels * pitch);
  for (Index pixel = 0; pixel < pixels; ++pixel) fetch_run(first + pixel * pitch, channels);
}

// fetch(0), fetch(1), ... fetch(count - 1), spread evenly over so many calls of next(). `fetch` must outlive this.
class FetchAhead {
 public:
  template <class Fetch>
  FetchAhead(Index count, Index calls, const Fetch& fetch) noexcept
      : count_(count), calls_(std::max<Index>(calls, 1)), context_(&fetch),
        fetch_([](const void* context, Index index) { (*static_cast<const Fetch*>(context))(index); }) {}

  template <class Fetch>
  FetchAhead(Index count, Index calls, const Fetch&& fetch) = delete;

  void next() noexcept {
    const Index stop = std::min(++call_ * count_ / calls_, count_);
    for (; fetched_ < stop; ++fetched_) fetch_(context_, fetched_);
  }

 private:
  Index count_, calls_, call_ = 0, fetched_ = 0;
  const void* context_;
  void (*fetch_)(const void* context, Index index);
};

}  // namespace convpool
