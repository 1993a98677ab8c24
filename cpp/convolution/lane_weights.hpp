// Weights of a depthwise pass where channels are lanes: packed [product][channel], products in the window's order.
#pragma once

#include "convolution/lane_window.hpp"

namespace convpool {

template <class T>
void pack_lane_weights(const Correlation& part, const LaneWindow& window, const ConvKernels<T>& kernels,
                       const T* weight, T* packed) noexcept;

// Puts the sums of some channels, packed with `pitch` from product to product, in their places.
template <class T>
void write_lane_weights(const Correlation& part, const LaneWindow& window, const ConvKernels<T>& kernels, const T* sums,
                        Index pitch, Index first_channel, Index channels, T* grad_weight) noexcept;

}  // namespace convpool
