#include "pooling/pooling.hpp"

#include <cmath>
#include <memory>
#include <optional>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

using Object = py::object;

constexpr std::int64_t kPlaneOf64BitIndices = std::int64_t{1} << 31;

// Calls body(T{}) with the C++ type of an integer or bool array; bools are bytes of 0 and 1.
template <class Body>
void with_integer(ElementType type, Body&& body) {
  const bool is_signed = type.kind == 'i';
  switch (type.bytes) {
    case 1: return is_signed ? body(std::int8_t{}) : body(std::uint8_t{});
    case 2: return is_signed ? body(std::int16_t{}) : body(std::uint16_t{});
    case 4: return is_signed ? body(std::int32_t{}) : body(std::uint32_t{});
    default: return is_signed ? body(std::int64_t{}) : body(std::uint64_t{});
  }
}

template <class Body>
void with_ordered(ElementType type, Body&& body) {
  if (type.kind == 'f') with_float(type, body);
  else with_integer(type, body);
}

void require_ordered(const std::string& function, const ArrayArgument& input) {
  const char kind = input.type().kind;
  if (kind != 'b' && kind != 'i' && kind != 'u') input.require_float(function);
}

// ---- the geometry of a call: sliding or adaptive windows ----

struct Windows {
  Object kernel_size, stride, padding, dilation, ceil_mode;  // sliding
  std::optional<Object> output_size;                         // adaptive

  PoolGeometry over(const std::string& function, const Shape& input, Object layout) const {
    const Layout order = to_layout(function, layout);
    const int rank = spatial_rank(function, "input", input.size());
    if (output_size)
      return make_adaptive_geometry(function, input, to_optional_triple(function, "output_size", *output_size, rank), order);
    return make_pool_geometry(function, input, to_pool_window(function, rank, kernel_size, stride, padding, dilation, ceil_mode),
                              order);
  }
};

// ---- indices ----

// A caller's index array, checked against the plane and narrowed to what the core reads.
class Indices {
 public:
  Indices(const std::string& function, py::handle value) : array_(function, "indices", value) { array_.require_integer(function); }

  ArrayArgument& array() { return array_; }
  void require_shape_of(const std::string& function, const Shape& output) const {
    require_shape(function, "indices", array_.shape(), output, "that of the pooled array");
  }

  // Calls body(const I*) with int32 indices, or int64 where the plane needs them. Runs without the GIL.
  template <class Body>
  void with_checked(const std::string& function, std::int64_t count, std::int64_t plane, Body&& body) const {
    with_integer(array_.type(), [&](auto zero) {
      using From = decltype(zero);
      const From* source = array_.data<From>();
      if (plane >= kPlaneOf64BitIndices) narrow<From, std::int64_t>(function, source, count, plane, body);
      else narrow<From, std::int32_t>(function, source, count, plane, body);
    });
  }

 private:
  template <class From, class I, class Body>
  static void narrow(const std::string& function, const From* source, std::int64_t count, std::int64_t plane, Body&& body) {
    if constexpr (std::is_same_v<From, I>) {
      import_indices<From, I>(function, source, count, plane, nullptr);
      body(source);
    } else {
      const std::unique_ptr<I[]> target(new I[static_cast<std::size_t>(count)]);
      import_indices(function, source, count, plane, target.get());
      body(const_cast<const I*>(target.get()));
    }
  }
  ArrayArgument array_;
};

py::array make_indices(const PoolGeometry& geometry) {
  const Shape shape = geometry.output.shape();
  const std::vector<py::ssize_t> extents(shape.begin(), shape.end());
  if (geometry.input.plane() >= kPlaneOf64BitIndices) return py::array_t<std::int64_t>(extents);
  return py::array_t<std::int32_t>(extents);
}

// ---- max pooling ----

Object run_max_pool(const std::string& function, Object input_object, const Windows& windows, Object return_indices,
                    Object layout, Object out, Object num_threads) {
  const int threads = to_thread_count(function, num_threads);
  const bool wants_indices = to_bool(function, "return_indices", return_indices);
  ArrayArgument input(function, "input", input_object);
  require_ordered(function, input);
  const PoolGeometry geometry = windows.over(function, input.shape(), layout);
  py::array output = make_output(function, "out", out, geometry.output.shape(), input.array().dtype(), {&input});
  Object indices = wants_indices ? Object(make_indices(geometry)) : Object(py::none());
  input.make_contiguous();
  void* positions = wants_indices ? py::reinterpret_borrow<py::array>(indices).mutable_data() : nullptr;
  with_ordered(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const T* source = input.data<T>();
    const py::gil_scoped_release nogil;
    if (geometry.input.plane() >= kPlaneOf64BitIndices)
      max_pool_forward(geometry, source, target, static_cast<std::int64_t*>(positions), threads);
    else
      max_pool_forward(geometry, source, target, static_cast<std::int32_t*>(positions), threads);
  });
  if (!wants_indices) return std::move(output);
  return py::make_tuple(output, indices);
}

Ties to_ties(const std::string& function, py::handle value) {
  const std::string text = to_text(function, "ties", value);
  if (text == "first") return Ties::first;
  if (text == "all") return Ties::all;
  if (text == "split") return Ties::split;
  reject(function, "ties", R"("first", "all" or "split")", printed(value));
}

// The forward input, or only its shape.
struct PooledInput {
  std::optional<ArrayArgument> array;
  Shape shape;

  PooledInput(const std::string& function, py::handle value, const ArrayArgument& grad_output) {
    if (PyTuple_Check(value.ptr()) || PyList_Check(value.ptr())) {
      shape = to_shape(function, "input", value);
      return;
    }
    array.emplace(function, "input", value);
    array->require_type(function, grad_output);
    shape = array->shape();
  }
};

Object run_max_pool_backward(const std::string& function, Object grad_object, Object input_object, const Windows& windows,
                             Object indices_object, Object ties_object, Object layout, Object out, Object num_threads) {
  const int threads = to_thread_count(function, num_threads);
  const Ties ties = to_ties(function, ties_object);
  ArrayArgument grad_output(function, "grad_output", grad_object);
  grad_output.require_float(function);
  PooledInput input(function, input_object, grad_output);
  std::optional<Indices> indices;
  if (!indices_object.is_none()) indices.emplace(function, indices_object);
  if (indices && ties != Ties::first) reject(function, "ties", "\"first\" where indices are given", printed(ties_object));
  if (!indices && !input.array) reject(function, "input", "an array where no indices are given", "the shape " + to_string(input.shape));
  const PoolGeometry geometry = windows.over(function, input.shape, layout);
  const Shape pooled = geometry.output.shape();
  require_shape(function, "grad_output", grad_output.shape(), pooled, "that of the forward output");
  if (indices) indices->require_shape_of(function, pooled);
  const ArrayArgument& other = indices ? indices->array() : *input.array;
  py::array grad_input = make_output(function, "out", out, input.shape, grad_output.array().dtype(), {&grad_output, &other});
  grad_output.make_contiguous();
  if (indices) indices->array().make_contiguous();
  else input.array->make_contiguous();
  with_float(grad_output.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T* gradient = grad_output.data<T>();
    const T* source = indices ? nullptr : input.array->data<T>();
    const py::gil_scoped_release nogil;
    if (!indices) {
      const bool is_wide = geometry.input.plane() >= kPlaneOf64BitIndices;
      if (is_wide) max_pool_backward<T, std::int64_t>(geometry, gradient, source, nullptr, ties, target, threads);
      else max_pool_backward<T, std::int32_t>(geometry, gradient, source, nullptr, ties, target, threads);
      return;
    }
    indices->with_checked(function, geometry.output.elements(), geometry.input.plane(), [&](auto* positions) {
      max_pool_backward(geometry, gradient, source, positions, ties, target, threads);
    });
  });
  return std::move(grad_input);
}

Object max_pool(Object input, Object kernel_size, Object stride, Object padding, Object dilation, Object ceil_mode,
                Object return_indices, Object layout, Object out, Object num_threads) {
  return run_max_pool("max_pool", input, {kernel_size, stride, padding, dilation, ceil_mode, {}}, return_indices, layout, out,
                      num_threads);
}

Object adaptive_max_pool(Object input, Object output_size, Object return_indices, Object layout, Object out,
                         Object num_threads) {
  return run_max_pool("adaptive_max_pool", input, {{}, {}, {}, {}, {}, output_size}, return_indices, layout, out, num_threads);
}

Object max_pool_backward(Object grad_output, Object input, Object kernel_size, Object stride, Object padding, Object dilation,
                         Object ceil_mode, Object indices, Object ties, Object layout, Object out, Object num_threads) {
  return run_max_pool_backward("max_pool_backward", grad_output, input,
                               {kernel_size, stride, padding, dilation, ceil_mode, {}}, indices, ties, layout, out, num_threads);
}

Object adaptive_max_pool_backward(Object grad_output, Object input, Object output_size, Object indices, Object ties,
                                  Object layout, Object out, Object num_threads) {
  return run_max_pool_backward("adaptive_max_pool_backward", grad_output, input, {{}, {}, {}, {}, {}, output_size}, indices,
                               ties, layout, out, num_threads);
}

// ---- average pooling ----

Object run_avg_pool(const std::string& function, ArrayArgument& input, const PoolGeometry& geometry, Object out, int threads) {
  py::array output = make_output(function, "out", out, geometry.output.shape(), input.array().dtype(), {&input});
  input.make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const T* source = input.data<T>();
    const py::gil_scoped_release nogil;
    avg_pool_forward<T>(geometry, source, target, threads);
  });
  return std::move(output);
}

Object run_avg_pool_backward(const std::string& function, ArrayArgument& grad_output, const PoolGeometry& geometry, Object out,
                             int threads) {
  require_shape(function, "grad_output", grad_output.shape(), geometry.output.shape(), "that of the forward output");
  py::array grad_input = make_output(function, "out", out, geometry.input.shape(), grad_output.array().dtype(), {&grad_output});
  grad_output.make_contiguous();
  with_float(grad_output.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T* gradient = grad_output.data<T>();
    const py::gil_scoped_release nogil;
    avg_pool_backward<T>(geometry, gradient, target, threads);
  });
  return std::move(grad_input);
}

ArrayArgument float_array(const std::string& function, const std::string& parameter, py::handle value) {
  ArrayArgument array(function, parameter, value);
  array.require_float(function);
  return array;
}

Object avg_pool(Object input_object, Object kernel_size, Object stride, Object padding, Object ceil_mode,
                Object count_include_pad, Object divisor_override, Object dilation, Object layout, Object out,
                Object num_threads) {
  const std::string function = "avg_pool";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument input = float_array(function, "input", input_object);
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, {}};
  PoolGeometry geometry = windows.over(function, input.shape(), layout);
  set_divisor(function, count_include_pad, divisor_override, geometry);
  return run_avg_pool(function, input, geometry, out, threads);
}

Object adaptive_avg_pool(Object input_object, Object output_size, Object layout, Object out, Object num_threads) {
  const std::string function = "adaptive_avg_pool";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument input = float_array(function, "input", input_object);
  const Windows windows{{}, {}, {}, {}, {}, output_size};
  return run_avg_pool(function, input, windows.over(function, input.shape(), layout), out, threads);
}

Object avg_pool_backward(Object grad_object, Object input_shape, Object kernel_size, Object stride, Object padding,
                         Object ceil_mode, Object count_include_pad, Object divisor_override, Object dilation, Object layout,
                         Object out, Object num_threads) {
  const std::string function = "avg_pool_backward";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument grad_output = float_array(function, "grad_output", grad_object);
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, {}};
  PoolGeometry geometry = windows.over(function, to_shape(function, "input_shape", input_shape), layout);
  set_divisor(function, count_include_pad, divisor_override, geometry);
  return run_avg_pool_backward(function, grad_output, geometry, out, threads);
}

Object adaptive_avg_pool_backward(Object grad_object, Object input_shape, Object output_size, Object layout, Object out,
                                  Object num_threads) {
  const std::string function = "adaptive_avg_pool_backward";
  const int threads = to_thread_count(function, num_threads);
  ArrayArgument grad_output = float_array(function, "grad_output", grad_object);
  const Windows windows{{}, {}, {}, {}, {}, output_size};
  const PoolGeometry geometry = windows.over(function, to_shape(function, "input_shape", input_shape), layout);
  return run_avg_pool_backward(function, grad_output, geometry, out, threads);
}

// ---- LP pooling ----

double to_norm_type(const std::string& function, py::handle value) {
  const double norm_type = to_real(function, "norm_type", value);
  if (!(norm_type > 0)) reject(function, "norm_type", "> 0 or infinity", printed(value));
  return norm_type;
}

Object lp_pool(Object input_object, Object norm_type, Object kernel_size, Object stride, Object ceil_mode, Object padding,
               Object dilation, Object layout, Object out, Object num_threads) {
  const std::string function = "lp_pool";
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
    const py::gil_scoped_release nogil;
    lp_pool_forward<T>(geometry, source, norm, target, threads);
  });
  return std::move(output);
}

Object lp_pool_backward(Object grad_object, Object input_object, Object output_object, Object norm_type, Object kernel_size,
                        Object stride, Object ceil_mode, Object padding, Object dilation, Object layout, Object out,
                        Object num_threads) {
  const std::string function = "lp_pool_backward";
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
  py::array grad_input = make_output(function, "out", out, input.shape(), input.array().dtype(), {&grad_output, &input, &output});
  for (ArrayArgument* array : {&grad_output, &input, &output}) array->make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T *gradient = grad_output.data<T>(), *values = input.data<T>(), *norms = output.data<T>();
    const py::gil_scoped_release nogil;
    lp_pool_backward<T>(geometry, gradient, values, norms, norm, target, threads);
  });
  return std::move(grad_input);
}

// ---- max unpooling ----

Object max_unpool(Object input_object, Object indices_object, Object kernel_size, Object stride, Object padding,
                  Object output_size, Object layout, Object out, Object num_threads) {
  const std::string function = "max_unpool";
  const int threads = to_thread_count(function, num_threads);
  const Layout order = to_layout(function, layout);
  ArrayArgument input = float_array(function, "input", input_object);
  Indices indices(function, indices_object);
  const int rank = spatial_rank(function, "input", input.shape().size());
  const WindowArguments window = to_pool_window(function, rank, kernel_size, stride, padding, py::int_(1), py::bool_(false));
  const bool has_size = !output_size.is_none();
  const Triple size = has_size ? to_triple(function, "output_size", output_size, rank) : Triple{};
  const UnpoolGeometry geometry = make_unpool_geometry(function, input.shape(), window, has_size ? &size : nullptr, order);
  indices.require_shape_of(function, input.shape());
  py::array output = make_output(function, "out", out, geometry.output.shape(), input.array().dtype(), {&input, &indices.array()});
  input.make_contiguous();
  indices.array().make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const T* source = input.data<T>();
    const py::gil_scoped_release nogil;
    indices.with_checked(function, geometry.pooled.elements(), geometry.output.plane(), [&](auto* positions) {
      max_unpool_forward(geometry, source, positions, target, threads);
    });
  });
  return std::move(output);
}

Object max_unpool_backward(Object grad_object, Object indices_object, Object layout, Object out, Object num_threads) {
  const std::string function = "max_unpool_backward";
  const int threads = to_thread_count(function, num_threads);
  const Layout order = to_layout(function, layout);
  ArrayArgument grad_output = float_array(function, "grad_output", grad_object);
  Indices indices(function, indices_object);
  const UnpoolGeometry geometry{make_extents(function, "indices", indices.array().shape(), order),
                                make_extents(function, "grad_output", grad_output.shape(), order)};
  if (geometry.pooled.rank != geometry.output.rank || geometry.pooled.batch != geometry.output.batch ||
      geometry.pooled.channels != geometry.output.channels) {
    reject(function, "indices", "of the rank, batch and channels of grad_output, shape " + to_string(grad_output.shape()),
           "shape " + to_string(indices.array().shape()));
  }
  py::array grad_input = make_output(function, "out", out, indices.array().shape(), grad_output.array().dtype(),
                                     {&grad_output, &indices.array()});
  grad_output.make_contiguous();
  indices.array().make_contiguous();
  with_float(grad_output.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T* gradient = grad_output.data<T>();
    const py::gil_scoped_release nogil;
    indices.with_checked(function, geometry.pooled.elements(), geometry.output.plane(), [&](auto* positions) {
      max_unpool_backward(geometry, gradient, positions, target, threads);
    });
  });
  return std::move(grad_input);
}

// For tests: which row of the plan serves a pass.
std::string algorithm(Object input_shape, Object kernel_size, Object stride, Object padding, Object dilation,
                      const std::string& pass, Object layout) {
  constexpr std::pair<const char*, PoolPass> kPasses[] = {
      {"max_forward", PoolPass::max_forward}, {"max_backward", PoolPass::max_backward}, {"avg_forward", PoolPass::avg_forward},
      {"avg_backward", PoolPass::avg_backward}, {"lp_forward", PoolPass::lp_forward}, {"lp_backward", PoolPass::lp_backward}};
  const std::string function = "pool_algorithm";
  const Windows windows{kernel_size, stride, padding, dilation, py::bool_(false), {}};
  const PoolGeometry geometry = windows.over(function, to_shape(function, "input_shape", input_shape), layout);
  for (const auto& [name, value] : kPasses)
    if (pass == name) return pool_algorithm(geometry, value);
  reject(function, "pass_", "the name of a pass", "\"" + pass + "\"");
}

}  // namespace

void bind_pooling(py::module_& module) {
  module.def("max_pool", &max_pool);
  module.def("max_pool_backward", &max_pool_backward);
  module.def("adaptive_max_pool", &adaptive_max_pool);
  module.def("adaptive_max_pool_backward", &adaptive_max_pool_backward);
  module.def("avg_pool", &avg_pool);
  module.def("avg_pool_backward", &avg_pool_backward);
  module.def("adaptive_avg_pool", &adaptive_avg_pool);
  module.def("adaptive_avg_pool_backward", &adaptive_avg_pool_backward);
  module.def("lp_pool", &lp_pool);
  module.def("lp_pool_backward", &lp_pool_backward);
  module.def("max_unpool", &max_unpool);
  module.def("max_unpool_backward", &max_unpool_backward);
  module.def("pool_algorithm", &algorithm);
}

}  // namespace convpool::bindings
