#include "convolution/convolution.hpp"

#include <array>

#include "bindings/convolution_arguments.hpp"
#include "bindings/module.hpp"
#include "geometry/error.hpp"
#include "runtime/isa.hpp"

namespace convpool::bindings {

namespace {

using Handle = py::handle;
using Object = py::object;

struct Bias {
  std::optional<ArrayArgument> array;

  Bias(const char* function, py::handle value, std::int64_t channels, const ArrayArgument& weight) {
    if (value.is_none()) return;
    array.emplace(function, "bias", value);
    array->require_type(function, weight);
    require_shape(function, "bias", array->shape(), {channels}, "one value per output channel");
  }
  void make_contiguous() {
    if (array) array->make_contiguous();
  }
  template <class T>
  const T* data() const {
    return array ? array->data<T>() : nullptr;
  }
  // make_output skips overlap tests against the weight twice where there is no bias.
  const ArrayArgument* or_else(const ArrayArgument& other) const { return array ? &*array : &other; }
};

std::array<bool, 3> to_needs(const char* function, py::handle needs) {
  const char* rule = "a tuple of 3 bools (input, weight, bias)";
  if (!PyTuple_Check(needs.ptr()) && !PyList_Check(needs.ptr())) reject_type(function, "needs", rule, needs);
  const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(needs.ptr()));
  if (items.size() != 3) reject(function, "needs", rule, printed(needs));
  return {to_bool(function, "needs", items[0]), to_bool(function, "needs", items[1]),
          to_bool(function, "needs", items[2])};
}

// The three entries of `out`, each None or an array.
std::array<Object, 3> to_outputs(const char* function, py::handle out) {
  if (out.is_none()) return {py::none(), py::none(), py::none()};
  if (!PyTuple_Check(out.ptr()) || PyTuple_Size(out.ptr()) != 3) {
    reject_type(function, "out", "a tuple of 3 arrays or None (input, weight, bias)", out);
  }
  const auto items = py::reinterpret_borrow<py::tuple>(out);
  return {items[0], items[1], items[2]};
}

void require_apart(const char* function, const std::array<Object, 3>& arrays) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < i; ++j) {
      if (arrays[i].is_none() || arrays[j].is_none()) continue;
      const ArrayArgument first(function, "out", arrays[i]);
      if (first.overlaps(py::reinterpret_borrow<py::array>(arrays[j])))
        reject(function, "out", "three arrays apart in memory", "an overlap");
    }
}

Object conv(Handle input_object, Handle weight_object, Handle bias_object, Handle stride, Handle padding,
            Handle dilation, Handle groups, Handle padding_mode, Handle precision, Handle layout, Handle out,
            Handle num_threads) {
  const char* function = "conv";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  ArrayArgument input(function, "input", input_object);
  WeightArgument weight_argument(function, weight_object, order, layout);
  ArrayArgument& weight = weight_argument.array;
  input.require_float(function);
  weight.require_type(function, input);
  const int rank = spatial_rank(function, "input", input.shape().size());
  WindowArguments window = to_conv_window(function, rank, stride, padding, dilation);
  window.padding_mode = to_padding_mode(function, padding_mode);
  const ConvGeometry geometry = make_conv_geometry(function, input.shape(), weight.shape(), window,
                                                   to_integer(function, "groups", groups), order);
  Bias bias(function, bias_object, geometry.output.channels, weight);
  py::array output = make_output(function, "out", out, geometry.output.shape(), input.array().dtype(),
                                 {&input, &weight, bias.or_else(weight)});
  input.make_contiguous();
  weight.make_contiguous();
  bias.make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const WithoutGil nogil;
    const PreparedScope prepared(weight_argument.prepared());
    conv_forward<T>(geometry, input.data<T>(), weight.data<T>(), bias.data<T>(), target, options);
  });
  return std::move(output);
}

Object conv_transpose(Handle input_object, Handle weight_object, Handle bias_object, Handle stride, Handle padding,
                      Handle output_padding, Handle groups, Handle dilation, Handle output_size, Handle precision,
                      Handle layout, Handle out, Handle num_threads) {
  const char* function = "conv_transpose";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  ArrayArgument input(function, "input", input_object);
  WeightArgument weight_argument(function, weight_object, order, layout);
  ArrayArgument& weight = weight_argument.array;
  input.require_float(function);
  weight.require_type(function, input);
  const int rank = spatial_rank(function, "input", input.shape().size());
  const ConvGeometry geometry = make_conv_transpose_geometry(
      function, input.shape(), weight.shape(), to_conv_window(function, rank, stride, padding, dilation),
      to_transposed(function, output_padding, output_size, rank), to_integer(function, "groups", groups), order);
  Bias bias(function, bias_object, geometry.input.channels, weight);
  py::array output = make_output(function, "out", out, geometry.input.shape(), input.array().dtype(),
                                 {&input, &weight, bias.or_else(weight)});
  input.make_contiguous();
  weight.make_contiguous();
  bias.make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const WithoutGil nogil;
    const PreparedScope prepared(weight_argument.prepared());
    conv_grad_input<T>(geometry, input.data<T>(), weight.data<T>(), bias.data<T>(), target, options);
  });
  return std::move(output);
}

// Arrays of a backward call: checked, contiguous, with their three targets.
struct Backward {
  ArrayArgument grad_output, input, weight;
  std::array<Object, 3> targets{py::none(), py::none(), py::none()};

  Backward(const char* function, py::handle grad_object, py::handle input_object, py::handle weight_object)
      : grad_output(function, "grad_output", grad_object), input(function, "input", input_object),
        weight(function, "weight", weight_object) {
    input.require_float(function);
    weight.require_type(function, input);
    grad_output.require_type(function, input);
  }

  void prepare(const char* function, const Shape& output_shape, const std::array<bool, 3>& needs, py::handle out,
               std::int64_t bias_channels) {
    require_shape(function, "grad_output", grad_output.shape(), output_shape, "that of the forward output");
    const std::array<Object, 3> given = to_outputs(function, out);
    const Shape shapes[3] = {input.shape(), weight.shape(), {bias_channels}};
    for (int i = 0; i < 3; ++i) {
      if (!needs[i] && !given[i].is_none()) reject(function, "out", "None where needs is False", printed(given[i]));
      if (needs[i])
        targets[i] =
            make_output(function, "out", given[i], shapes[i], input.array().dtype(), {&grad_output, &input, &weight});
    }
    if (!out.is_none()) require_apart(function, targets);
    grad_output.make_contiguous();
    input.make_contiguous();
    weight.make_contiguous();
  }

  template <class T>
  T* target(int i) const {
    return targets[i].is_none() ? nullptr
                                : static_cast<T*>(py::reinterpret_borrow<py::array>(targets[i]).mutable_data());
  }
  py::tuple result() const { return py::make_tuple(targets[0], targets[1], targets[2]); }
};

Object conv_backward(Handle grad_output, Handle input, Handle weight, Handle stride, Handle padding, Handle dilation,
                     Handle groups, Handle needs, Handle padding_mode, Handle precision, Handle layout, Handle out,
                     Handle num_threads) {
  const char* function = "conv_backward";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  Backward arrays(function, grad_output, input, weight);
  const int rank = spatial_rank(function, "input", arrays.input.shape().size());
  WindowArguments window = to_conv_window(function, rank, stride, padding, dilation);
  window.padding_mode = to_padding_mode(function, padding_mode);
  const ConvGeometry geometry = make_conv_geometry(function, arrays.input.shape(), arrays.weight.shape(), window,
                                                   to_integer(function, "groups", groups), order);
  arrays.prepare(function, geometry.output.shape(), to_needs(function, needs), out, geometry.output.channels);
  with_float(arrays.input.type(), [&](auto zero) {
    using T = decltype(zero);
    T *grad_input = arrays.target<T>(0), *grad_weight = arrays.target<T>(1), *grad_bias = arrays.target<T>(2);
    const T *x = arrays.input.data<T>(), *w = arrays.weight.data<T>(), *g = arrays.grad_output.data<T>();
    const WithoutGil nogil;
    if (grad_input != nullptr) conv_grad_input<T>(geometry, g, w, nullptr, grad_input, options);
    if (grad_weight != nullptr) conv_grad_weight<T>(geometry, g, x, grad_weight, options);
    if (grad_bias != nullptr) sum_channels<T>(geometry.output, g, grad_bias, options.num_threads);
  });
  return arrays.result();
}

Object conv_transpose_backward(Handle grad_output, Handle input, Handle weight, Handle stride, Handle padding,
                               Handle output_padding, Handle groups, Handle dilation, Handle needs, Handle output_size,
                               Handle precision, Handle layout, Handle out, Handle num_threads) {
  const char* function = "conv_transpose_backward";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  Backward arrays(function, grad_output, input, weight);
  const int rank = spatial_rank(function, "input", arrays.input.shape().size());
  const ConvGeometry geometry = make_conv_transpose_geometry(
      function, arrays.input.shape(), arrays.weight.shape(), to_conv_window(function, rank, stride, padding, dilation),
      to_transposed(function, output_padding, output_size, rank), to_integer(function, "groups", groups), order);
  arrays.prepare(function, geometry.input.shape(), to_needs(function, needs), out, geometry.input.channels);
  with_float(arrays.input.type(), [&](auto zero) {
    using T = decltype(zero);
    T *grad_input = arrays.target<T>(0), *grad_weight = arrays.target<T>(1), *grad_bias = arrays.target<T>(2);
    const T *x = arrays.input.data<T>(), *w = arrays.weight.data<T>(), *g = arrays.grad_output.data<T>();
    const WithoutGil nogil;
    // The passes swap: the gradient of a transposed convolution's input is a convolution of grad_output.
    if (grad_input != nullptr) conv_forward<T>(geometry, g, w, nullptr, grad_input, options);
    if (grad_weight != nullptr) conv_grad_weight<T>(geometry, x, g, grad_weight, options);
    if (grad_bias != nullptr) sum_channels<T>(geometry.input, g, grad_bias, options.num_threads);
  });
  return arrays.result();
}

ConvPass to_pass(const char* function, py::handle value) {
  const std::string_view text = to_text(function, "pass_", value);
  if (text == "forward") return ConvPass::forward;
  if (text == "grad_input") return ConvPass::grad_input;
  if (text == "grad_weight") return ConvPass::grad_weight;
  reject(function, "pass_", R"("forward", "grad_input" or "grad_weight")", printed(value));
}

// Without arrays that hold it, a weight of any size can be named; its taps are listed.
void require_listable(const char* function, const Shape& weight_shape, std::int64_t taps) {
  constexpr std::int64_t kMostTaps = 1 << 22;
  if (taps > kMostTaps) reject(function, "weight_shape", "of at most 2**22 taps", "shape " + to_string(weight_shape));
}

// The shape of a weight, or of one that was prepared for the layout and type of the call.
Shape to_weight_shape(const char* function, Handle value, const PreparedArray* prepared, Layout layout,
                      Handle given_layout, ElementType type, Handle given_type) {
  if (prepared == nullptr) return to_shape(function, "weight_shape", value);
  require_layout(function, *prepared, layout, given_layout);
  const ArrayArgument copy(function, "weight_shape", prepared->copy);
  if (!(copy.type() == type)) reject(function, "dtype", "that of the prepared weight", printed(given_type));
  return copy.shape();
}

// (algorithm, isa, scratch_bytes)
Object conv_plan(Handle input_shape, Handle weight_shape, Handle stride, Handle padding, Handle dilation, Handle groups,
                 Handle pass, Handle padding_mode, Handle precision, Handle layout, Handle dtype, Handle num_threads) {
  const char* function = "conv_plan";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  const ConvPass wanted = to_pass(function, pass);
  const ElementType type = to_float_type(function, dtype);
  const Shape input = to_shape(function, "input_shape", input_shape);
  const PreparedArray* prepared = find_prepared(weight_shape);
  const Shape weight = to_weight_shape(function, weight_shape, prepared, order, layout, type, dtype);
  const int rank = spatial_rank(function, "input_shape", input.size());
  WindowArguments window = to_conv_window(function, rank, stride, padding, dilation);
  window.padding_mode = to_padding_mode(function, padding_mode);
  const ConvGeometry geometry =
      make_conv_geometry(function, input, weight, window, to_integer(function, "groups", groups), order);
  require_listable(function, weight, geometry.kernel_taps());
  ConvPlan plan{};
  with_float(type, [&](auto zero) {
    plan = convpool::conv_plan<decltype(zero)>(geometry, wanted, options,
                                               prepared == nullptr ? nullptr : prepared->packed.get());
  });
  return py::make_tuple(plan.algorithm, selected_isa(), plan.scratch_bytes);
}

Object conv_output_shape(Handle input_shape, Handle weight_shape, Handle stride, Handle padding, Handle dilation,
                         Handle groups, Handle layout) {
  const char* function = "conv_output_shape";
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  return to_tuple(make_conv_geometry(function, input, to_shape(function, "weight_shape", weight_shape),
                                     to_conv_window(function, rank, stride, padding, dilation),
                                     to_integer(function, "groups", groups), to_layout(function, layout))
                      .output.shape());
}

Object conv_transpose_output_shape(Handle input_shape, Handle weight_shape, Handle stride, Handle padding,
                                   Handle output_padding, Handle groups, Handle dilation, Handle output_size,
                                   Handle layout) {
  const char* function = "conv_transpose_output_shape";
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  return to_tuple(make_conv_transpose_geometry(function, input, to_shape(function, "weight_shape", weight_shape),
                                               to_conv_window(function, rank, stride, padding, dilation),
                                               to_transposed(function, output_padding, output_size, rank),
                                               to_integer(function, "groups", groups), to_layout(function, layout))
                      .input.shape());
}

}  // namespace

void bind_convolution(py::module_& module) {
  define<&conv>(module, "conv");
  define<&conv_backward>(module, "conv_backward");
  define<&conv_transpose>(module, "conv_transpose");
  define<&conv_transpose_backward>(module, "conv_transpose_backward");
  define<&conv_plan>(module, "conv_plan");
  define<&conv_output_shape>(module, "conv_output_shape");
  define<&conv_transpose_output_shape>(module, "conv_transpose_output_shape");
}

}  // namespace convpool::bindings
