// Everything that is known of a convolution before it runs. A value of this type is always valid.
//
// A transposed convolution is the same geometry read backwards: its output is the `input` here. So one type serves the
// forward pass, both gradients and all passes of conv_transpose.
#pragma once

#include "geometry/window_arguments.hpp"

namespace convpool {

struct ConvGeometry {
  Extents input;
  Extents output;
  std::array<Axis, kAxes> axes;
  std::int64_t groups = 1;
  PaddingMode padding_mode = PaddingMode::zeros;  // always zeros where the convolution is transposed

  std::int64_t group_inputs() const { return input.channels / groups; }
  std::int64_t group_outputs() const { return output.channels / groups; }
  std::int64_t kernel_taps() const { return axes[0].kernel * axes[1].kernel * axes[2].kernel; }

  // Distances in the C-contiguous weight array, in elements. `output` is the whole output-channel index of conv
  // (0 to C_out), `input` the channel inside a group.
  std::int64_t weight_output_stride() const;
  std::int64_t weight_input_stride() const;
  std::int64_t weight_tap_stride(int axis) const;
};

// weight: (C_out, C_in / groups, *kernel) or, channels last, (*kernel, C_in / groups, C_out). `window.kernel` is
// taken from it.
ConvGeometry make_conv_geometry(const char* function, const Shape& input, const Shape& weight, WindowArguments window,
                                std::int64_t groups, Layout layout);

struct TransposedArguments {
  Triple output_padding{0, 0, 0};
  bool has_output_size = false;
  Triple output_size{0, 0, 0};
};

// weight: (C_in, C_out / groups, *kernel) or, channels last, (*kernel, C_out / groups, C_in). The result's `output` is
// the given input, its `input` the output of the transposed convolution.
ConvGeometry make_conv_transpose_geometry(const char* function, const Shape& input, const Shape& weight,
                                          WindowArguments window, const TransposedArguments& transposed,
                                          std::int64_t groups, Layout layout);

}  // namespace convpool
