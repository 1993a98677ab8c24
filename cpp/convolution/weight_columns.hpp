// Weights brought from the array into columns of target channels, which every order of packed weights consists of.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// The taps of a channel share cache lines in the array, the channels of a tap in the packed columns: a few channels at
// a time keep both in the first-level cache, even where their distances are powers of two.
constexpr Index kChannelsAtOnce = 16;

// packed[tap * tap_pitch + (channel - first) * pitch + row] for all taps, channels [first, stop) and the first `rows`
// target channels of `weight`.
template <class T>
void pack_weight_columns(const Correlation& part, const ConvKernels<T>& kernels, const T* weight, Index rows,
                         Index first, Index stop, T* packed, Index pitch, Index tap_pitch) noexcept;

}  // namespace convpool
