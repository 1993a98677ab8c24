// avg_pool, adaptive_avg_pool, lp_pool and their gradients.
#include "bindings/module.hpp"
#include "bindings/pooling_arguments.hpp"
#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

using Handle = py::handle;
using Object = py::object;

// ---- average pooling ----

// Calls body(T{}) with a C++ type that adds as the array's type does.
template <class Body>
void with_summed(ElementType type, Body&& body) {
  if (!is_whole(type)) return with_real(type, body);
  with_integer({'u', type.bytes}, [&](auto zero) {
    if constexpr (std::is_unsigned_v<decltype(zero)>) body(zero);
  });
}

Object run_avg_pool(const char* function, ArrayArgument& input, const PoolGeometry& geometry, Handle out, int threads) {
  py::array output = make_output(function, "out", out, geometry.output.shape(), input.array().dtype(), {&input});
  input.make_contiguous();
  const bool is_bool = input.type().kind == 'b';
  with_summed(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const T* source = input.data<T>();
    const WithoutGil nogil(geometry.input.elements() + geometry.output.elements());
    // The sum of bools is whether any of them is true.
    if (is_bool) extreme_pool_forward<T, std::int32_t>(geometry, Extreme::max, source, target, nullptr, threads);
    else avg_pool_forward<T>(geometry, source, target, threads);
  });
  return std::move(output);
}

// Whole numbers have sums, but no averages of their own type.
void require_summable(const char* function, const ArrayArgument& input, const PoolGeometry& geometry) {
  if (!is_whole(input.type())) return input.require_real(function);
  if (geometry.divisor == Divisor::constant && geometry.divisor_override == 1) return;
  throw InvalidType(
      must_be(function, "input", "an array of floats where divisor_override is not 1",
              "dtype " + py::str(static_cast<const py::object&>(input.array().dtype())).cast<std::string>()));
}

Object run_avg_pool_backward(const char* function, ArrayArgument& grad_output, const PoolGeometry& geometry, Handle out,
                             int threads) {
  require_shape(function, "grad_output", grad_output.shape(), geometry.output.shape(), "that of the forward output");
  py::array grad_input =
      make_output(function, "out", out, geometry.input.shape(), grad_output.array().dtype(), {&grad_output});
  grad_output.make_contiguous();
  with_real(grad_output.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T* gradient = grad_output.data<T>();
    const WithoutGil nogil(geometry.input.elements() + geometry.output.elements());
    convpool::avg_pool_backward<T>(geometry, gradient, target, threads);
  });
  return std::move(grad_input);
}

Object avg_pool(Handle input_object, Handle kernel_size, Handle stride, Handle padding, Handle ceil_mode,
                Handle count_include_pad, Handle divisor_override, Handle dilation, Handle layout, Handle out,
                Handle num_threads) {
  const char* function = "avg_pool";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument input(function, "input", input_object);
  if (!is_whole(input.type())) input.require_real(function);
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, {}};
  PoolGeometry geometry = windows.over(function, input.shape(), layout);
  set_divisor(function, count_include_pad, divisor_override, geometry);
  require_summable(function, input, geometry);
  return run_avg_pool(function, input, geometry, out, threads);
}

Object adaptive_avg_pool(Handle input_object, Handle output_size, Handle layout, Handle out, Handle num_threads) {
  const char* function = "adaptive_avg_pool";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument input = real_array(function, "input", input_object);
  const Windows windows{{}, {}, {}, {}, {}, output_size};
  return run_avg_pool(function, input, windows.over(function, input.shape(), layout), out, threads);
}

Object avg_pool_backward(Handle grad_object, Handle input_shape, Handle kernel_size, Handle stride, Handle padding,
                         Handle ceil_mode, Handle count_include_pad, Handle divisor_override, Handle dilation,
                         Handle layout, Handle out, Handle num_threads) {
  const char* function = "avg_pool_backward";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument grad_output = real_array(function, "grad_output", grad_object);
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, {}};
  PoolGeometry geometry = windows.over(function, to_shape(function, "input_shape", input_shape), layout);
  set_divisor(function, count_include_pad, divisor_override, geometry);
  return run_avg_pool_backward(function, grad_output, geometry, out, threads);
}

Object adaptive_avg_pool_backward(Handle grad_object, Handle input_shape, Handle output_size, Handle layout, Handle out,
                                  Handle num_threads) {
  const char* function = "adaptive_avg_pool_backward";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument grad_output = real_array(function, "grad_output", grad_object);
  const Windows windows{{}, {}, {}, {}, {}, output_size};
  const PoolGeometry geometry = windows.over(function, to_shape(function, "input_shape", input_shape), layout);
  return run_avg_pool_backward(function, grad_output, geometry, out, threads);
}

// ---- LP pooling ----

double to_norm_type(const char* function, py::handle value) {
  const double norm_type = to_real(function, "norm_type", value);
  if (!(norm_type > 0)) reject(function, "norm_type", "> 0 or infinity", printed(value));
  return norm_type;
}

Object lp_pool(Handle input_object, Handle norm_type, Handle kernel_size, Handle stride, Handle ceil_mode,
               Handle padding, Handle dilation, Handle layout, Handle out, Handle num_threads) {
  const char* function = "lp_pool";
  const int threads = to_thread_count(function, num_threads);
  const double norm = to_norm_type(function, norm_type);
  ArrayArgument input = float_array(function, "input", input_object);
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, {}};
  const PoolGeometry geometry = windows.over(function, input.shape(), layout);
  py::array output = make_output(function, "out", out, geometry.output.shape(), input.array().dtype(), {&input});
  input.make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const T* source = input.data<T>();
    const WithoutGil nogil(geometry.input.elements() + geometry.output.elements());
    lp_pool_forward<T>(geometry, source, norm, target, threads);
  });
  return std::move(output);
}

Object lp_pool_backward(Handle grad_object, Handle input_object, Handle output_object, Handle norm_type,
                        Handle kernel_size, Handle stride, Handle ceil_mode, Handle padding, Handle dilation,
                        Handle layout, Handle out, Handle num_threads) {
  const char* function = "lp_pool_backward";
  const int threads = to_thread_count(function, num_threads);
  const double norm = to_norm_type(function, norm_type);
  ArrayArgument grad_output = float_array(function, "grad_output", grad_object);
  ArrayArgument input(function, "input", input_object), output(function, "output", output_object);
  input.require_type(function, grad_output);
  output.require_type(function, grad_output);
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, {}};
  const PoolGeometry geometry = windows.over(function, input.shape(), layout);
  require_shape(function, "grad_output", grad_output.shape(), geometry.output.shape(), "that of the forward output");
  require_shape(function, "output", output.shape(), geometry.output.shape(), "that of the forward output");
  py::array grad_input =
      make_output(function, "out", out, input.shape(), input.array().dtype(), {&grad_output, &input, &output});
  for (ArrayArgument* array : {&grad_output, &input, &output}) array->make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T *gradient = grad_output.data<T>(), *values = input.data<T>(), *norms = output.data<T>();
    const WithoutGil nogil(geometry.input.elements() + geometry.output.elements());
    convpool::lp_pool_backward<T>(geometry, gradient, values, norms, norm, target, threads);
  });
  return std::move(grad_input);
}

// For tests: which row of the plan serves a pass.
std::string algorithm(Handle input_shape, Handle kernel_size, Handle stride, Handle padding, Handle dilation,
                      Handle ceil_mode, Handle output_size, const std::string& pass, Handle layout) {
  constexpr std::pair<const char*, PoolPass> kPasses[] = {
      {"max_forward", PoolPass::max_forward}, {"max_backward", PoolPass::max_backward},
      {"avg_forward", PoolPass::avg_forward}, {"avg_backward", PoolPass::avg_backward},
      {"lp_forward", PoolPass::lp_forward},   {"lp_backward", PoolPass::lp_backward}};
  const char* function = "pool_algorithm";
  const Windows windows = output_size.is_none() ? Windows{kernel_size, stride, padding, dilation, ceil_mode, {}}
                                                : Windows{{}, {}, {}, {}, {}, output_size};
  const PoolGeometry geometry = windows.over(function, to_shape(function, "input_shape", input_shape), layout);
  for (const auto& [name, value] : kPasses)
    if (pass == name) return pool_algorithm(geometry, value);
  reject(function, "pass_", "the name of a pass", "\"" + pass + "\"");
}

}  // namespace

void bind_sum_pooling(py::module_& module) {
  define<&avg_pool>(module, "avg_pool");
  define<&avg_pool_backward>(module, "avg_pool_backward");
  define<&adaptive_avg_pool>(module, "adaptive_avg_pool");
  define<&adaptive_avg_pool_backward>(module, "adaptive_avg_pool_backward");
  define<&lp_pool>(module, "lp_pool");
  define<&lp_pool_backward>(module, "lp_pool_backward");
  module.def("pool_algorithm", &algorithm);
}

}  // namespace convpool::bindings
