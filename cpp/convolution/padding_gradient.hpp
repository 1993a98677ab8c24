// Gradient of the input where its padding stands for elements of it: what reaches a position of the padding is added to
// the element.
//
// The positions that windows read are cut into boxes: thin ones, since padding is. Their gradients are correlations
// like any other, into scratch memory; when the gradient of the input itself is there, they are added in the order of
// boxes.
#pragma once

#include <functional>

#include "convolution/correlation.hpp"

namespace convpool {

constexpr Index kMostPaddingElements = 1 << 19;  // of scratch memory

struct PaddingBox {
  std::array<AxisSegment, kAxes> segments;

  Index positions() const { return segments[0].count * segments[1].count * segments[2].count; }
};

// Calls `visit` for boxes that together hold every position of the padding that a window reads, once. They depend on
// neither the batch nor the threads, and one image of a box fits the scratch memory.
void for_each_padding_box(const ConvGeometry& geometry, const std::function<void(const PaddingBox&)>& visit);

// Adds the gradients of boxes, arrays [image][...] one behind the other, to those of images [first, first + images).
template <class T>
void add_padding(const ConvGeometry& geometry, const std::vector<PaddingBox>& boxes, const T* values, Index first,
                 Index images, T* grad_input, int num_threads);

}  // namespace convpool
