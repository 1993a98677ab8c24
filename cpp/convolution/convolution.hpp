// Contract of the convolution room. Arrays are C-contiguous in the geometry's layout; everything is validated already.
//
// Cross-correlation: output[n, k, o] = bias[k] + sum over c, t of weight[k, c, t] * input[n, c, o * stride - pad +
// t * dilation], where positions outside the input are zeros or stand for elements of it (geometry/padding.hpp). Each
// output has one order of summation, whatever the number of threads.
#pragma once

#include <memory>

#include "convolution/packed_weights.hpp"
#include "geometry/conv_geometry.hpp"

namespace convpool {

enum class ConvPass { forward, grad_input, grad_weight };

// How much error of float32 sums a call lets an algorithm trade for speed (float64 is always `highest`). highest: no
// more than a sequential sum; high: up to twice that; medium: arithmetic of reduced precision, some 5e-6.
enum class Precision { highest, high, medium };

struct ConvOptions {
  Precision precision;
  int num_threads;  // 0: as many as the settings say
};

// bias may be null.
template <class T>
void conv_forward(const ConvGeometry& geometry, const T* input, const T* weight, const T* bias, T* output,
                  const ConvOptions& options);

// The adjoint of conv_forward in its input. `bias`, one value per input channel, may be null: conv_transpose is this
// pass with its own bias.
template <class T>
void conv_grad_input(const ConvGeometry& geometry, const T* grad_output, const T* weight, const T* bias, T* grad_input,
                     const ConvOptions& options);

// Adjoint in the weight.
template <class T>
void conv_grad_weight(const ConvGeometry& geometry, const T* grad_output, const T* input, T* grad_weight,
                      const ConvOptions& options);

// Sum over everything but the channels: the adjoint in the bias.
template <class T>
void sum_channels(const Extents& extents, const T* values, T* sums, int num_threads);

// What serves a pass with the chosen kernels, and the scratch memory of the call, with a prepared weight if one is
// given. "fill": no element is read by a window.
struct ConvPlan {
  const char* algorithm;
  std::size_t scratch_bytes;
};

template <class T>
ConvPlan conv_plan(const ConvGeometry& geometry, ConvPass pass, const ConvOptions& options,
                   const PreparedWeight* prepared);

// What conv_forward or conv_grad_input packs of `weight`, which must stay where it is. A PreparedScope hands it to
// calls.
template <class T>
std::unique_ptr<const PreparedWeight> prepare_weight(const ConvGeometry& geometry, ConvPass pass, const T* weight,
                                                     const ConvOptions& options);

}  // namespace convpool
