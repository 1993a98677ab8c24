#include "geometry/conv_geometry.hpp"

#include <algorithm>

#include "geometry/error.hpp"

namespace convpool {

namespace {

// The weight's channel extents: `many` runs over all groups (C_out of conv, C_in of conv_transpose), `few` is one
// group's share of the other side. Fills window.kernel on the way.
struct WeightChannels {
  std::int64_t many, few;
};

WeightChannels read_weight(const char* function, const Extents& input, const Shape& weight, Layout layout,
                           WindowArguments& window) {
  if (static_cast<int>(weight.size()) != input.rank + 2) {
    reject(function, "weight", "an array of " + std::to_string(input.rank + 2) + " dimensions, as input is",
           std::to_string(weight.size()) + " dimensions");
  }
  if (std::any_of(weight.begin(), weight.end(), [](auto n) { return n < 1; })) {
    reject(function, "weight", "of extents >= 1", "shape " + to_string(weight));
  }
  checked_product(function, "weight", weight);
  const auto kernel = weight.begin() + (layout == Layout::channels_first ? 2 : 0);
  std::copy(kernel, kernel + input.rank, window.kernel.begin());
  if (layout == Layout::channels_first) return {weight[0], weight[1]};
  return {weight[weight.size() - 1], weight[weight.size() - 2]};
}

void require_groups(const char* function, std::int64_t groups, std::int64_t in_channels, std::int64_t out_channels) {
  require_range(function, "groups", groups, 1, kLargestParameter);
  const auto require_divides = [&](std::int64_t channels, const char* side) {
    if (channels % groups == 0) return;
    reject(function, "groups", "a divisor of the " + std::to_string(channels) + " " + side + " channels",
           std::to_string(groups));
  };
  require_divides(in_channels, "input");
  require_divides(out_channels, "output");
}

// Padding that one reflection or one turn of the input can fill; replicate fills any.
void require_fillable(const char* function, PaddingMode mode, const Axis& axis) {
  const bool is_reflect = mode == PaddingMode::reflect;
  if (!is_reflect && mode != PaddingMode::circular) return;
  const std::int64_t padding = std::max(axis.pad_low, axis.pad_high);
  if (padding < axis.input + (is_reflect ? 0 : 1)) return;
  const std::string rule = is_reflect ? "less than the input extent " : "no more than the input extent ";
  reject(function, "padding",
         rule + std::to_string(axis.input) + " in padding_mode " + (is_reflect ? "\"reflect\"" : "\"circular\""),
         std::to_string(padding));
}

// The spatial extents of a transposed convolution's output; `window` loses its "same" rule on the way.
std::int64_t transposed_extent(const char* function, std::int64_t input, WindowArguments& window, int i,
                               const TransposedArguments& transposed) {
  const std::int64_t stride = window.stride[i], padding = transposed.output_padding[i];
  if (window.rule != PaddingRule::explicit_pairs) {
    if (padding != 0) reject(function, "output_padding", "0 with \"same\" padding", std::to_string(padding));
    const std::int64_t size = transposed.has_output_size ? transposed.output_size[i] : input * stride;
    if (size < 1 || ceil_divide(size, stride) != input) {
      reject(function, "output_size",
             "such that ceil(output_size / stride) is the input extent " + std::to_string(input), std::to_string(size));
    }
    return size;
  }
  const std::int64_t extent = window.dilation[i] * (window.kernel[i] - 1) + 1;
  const std::int64_t least = (input - 1) * stride - window.pad_low[i] - window.pad_high[i] + extent;
  const std::int64_t range = std::max(stride, window.dilation[i]);
  if (!transposed.has_output_size) {
    require_range(function, "output_padding", padding, 0, range - 1);
    return least + padding;
  }
  if (padding != 0) reject(function, "output_padding", "0 where output_size is given", std::to_string(padding));
  require_range(function, "output_size", transposed.output_size[i], least, least + range - 1);
  return transposed.output_size[i];
}

}  // namespace

std::int64_t ConvGeometry::weight_output_stride() const {
  return input.layout == Layout::channels_first ? group_inputs() * kernel_taps() : 1;
}

std::int64_t ConvGeometry::weight_input_stride() const {
  return input.layout == Layout::channels_first ? kernel_taps() : output.channels;
}

std::int64_t ConvGeometry::weight_tap_stride(int axis) const {
  std::int64_t stride = input.layout == Layout::channels_first ? 1 : group_inputs() * output.channels;
  for (int inner = axis + 1; inner < kAxes; ++inner) stride *= axes[inner].kernel;
  return stride;
}

ConvGeometry make_conv_geometry(const char* function, const Shape& input, const Shape& weight, WindowArguments window,
                                std::int64_t groups, Layout layout) {
  ConvGeometry geometry;
  geometry.input = make_extents(function, "input", input, layout);
  const int rank = geometry.input.rank;
  const WeightChannels channels = read_weight(function, geometry.input, weight, layout, window);
  require_groups(function, groups, geometry.input.channels, channels.many);
  if (channels.few != geometry.input.channels / groups) {
    reject(
        function, "weight",
        "for " + std::to_string(geometry.input.channels / groups) + " input channels a group (input channels / groups)",
        std::to_string(channels.few));
  }
  require_window(function, "weight", window, rank);
  geometry.groups = groups;
  geometry.axes = make_axes(function, "weight", geometry.input.spatial, window, rank);
  geometry.padding_mode = window.padding_mode;
  for (const Axis& axis : geometry.axes) require_fillable(function, window.padding_mode, axis);
  geometry.output = geometry.input;
  geometry.output.channels = channels.many;
  for (int axis = 0; axis < kAxes; ++axis) geometry.output.spatial[axis] = geometry.axes[axis].output;
  checked_product(function, "output", geometry.output.shape());
  return geometry;
}

ConvGeometry make_conv_transpose_geometry(const char* function, const Shape& input, const Shape& weight,
                                          WindowArguments window, const TransposedArguments& transposed,
                                          std::int64_t groups, Layout layout) {
  ConvGeometry geometry;
  geometry.output = make_extents(function, "input", input, layout);
  const int rank = geometry.output.rank;
  const WeightChannels channels = read_weight(function, geometry.output, weight, layout, window);
  require_range(function, "groups", groups, 1, kLargestParameter);
  if (channels.many != geometry.output.channels) {
    reject(function, "weight", "for the " + std::to_string(geometry.output.channels) + " input channels",
           std::to_string(channels.many));
  }
  Shape whole = input;  // the shape of the output, checked like any other
  const std::size_t channel_position = layout == Layout::channels_first ? 1 : input.size() - 1;
  if (__builtin_mul_overflow(channels.few, groups, &whole[channel_position])) {
    reject(function, "groups", "small enough for the output to fit memory", std::to_string(groups));
  }
  require_groups(function, groups, geometry.output.channels, whole[channel_position]);
  require_window(function, "weight", window, rank);
  const std::size_t first_spatial = layout == Layout::channels_first ? 2 : 1;
  for (int i = 0; i < rank; ++i) {
    std::int64_t& extent = whole[first_spatial + i];
    require_range(function, "input", extent, 1, kLargestParameter);
    extent = transposed_extent(function, extent, window, i, transposed);
    if (extent < 1) {
      reject(function, "padding", "small enough that the output has an extent >= 1",
             "extent " + std::to_string(extent));
    }
  }
  geometry.input = make_extents(function, "output", whole, layout);
  geometry.groups = groups;
  geometry.axes = make_axes(function, "weight", geometry.input.spatial, window, rank);
  return geometry;
}

}  // namespace convpool
