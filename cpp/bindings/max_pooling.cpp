// max_pool, adaptive_max_pool, max_unpool and their gradients.
#include "bindings/module.hpp"
#include "bindings/pooling_arguments.hpp"
#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

using Handle = py::handle;
using Object = py::object;

template <class Body>
void with_ordered(ElementType type, Body&& body) {
  if (is_whole(type)) with_integer(type, body);
  else with_real(type, body);
}

void require_ordered(const char* function, const ArrayArgument& input) {
  if (!is_whole(input.type())) input.require_real(function);
}

py::array make_indices(const PoolGeometry& geometry) {
  const bool is_wide = geometry.input.plane() >= kPlaneOf64BitIndices;
  return new_array(is_wide ? py::dtype::of<std::int64_t>() : py::dtype::of<std::int32_t>(), geometry.output.shape());
}

// ---- max pooling ----

Object run_extreme_pool(const char* function, Extreme extreme, Handle input_object, const Windows& windows,
                        Handle return_indices, Handle layout, Handle out, Handle num_threads) {
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
    const WithoutGil nogil(geometry.input.elements() + geometry.output.elements());
    if (geometry.input.plane() >= kPlaneOf64BitIndices)
      extreme_pool_forward(geometry, extreme, source, target, static_cast<std::int64_t*>(positions), threads);
    else extreme_pool_forward(geometry, extreme, source, target, static_cast<std::int32_t*>(positions), threads);
  });
  if (!wants_indices) return std::move(output);
  return py::make_tuple(output, indices);
}

Ties to_ties(const char* function, py::handle value) {
  const std::string_view text = to_text(function, "ties", value);
  if (text == "first") return Ties::first;
  if (text == "all") return Ties::all;
  if (text == "split") return Ties::split;
  reject(function, "ties", R"("first", "all" or "split")", printed(value));
}

// The forward input, or only its shape.
struct PooledInput {
  std::optional<ArrayArgument> array;
  Shape shape;

  PooledInput(const char* function, py::handle value, const ArrayArgument& grad_output) {
    if (PyTuple_Check(value.ptr()) || PyList_Check(value.ptr())) {
      shape = to_shape(function, "input", value);
      return;
    }
    array.emplace(function, "input", value);
    array->require_type(function, grad_output);
    shape = array->shape();
  }
};

Object run_extreme_pool_backward(const char* function, Extreme extreme, Handle grad_object, Handle input_object,
                                 const Windows& windows, Handle indices_object, Handle ties_object, Handle layout,
                                 Handle out, Handle num_threads) {
  const int threads = to_thread_count(function, num_threads);
  const Ties ties = to_ties(function, ties_object);
  ArrayArgument grad_output(function, "grad_output", grad_object);
  grad_output.require_real(function);
  PooledInput input(function, input_object, grad_output);
  std::optional<Indices> indices;
  if (!indices_object.is_none()) indices.emplace(function, indices_object);
  if (indices && ties != Ties::first)
    reject(function, "ties", "\"first\" where indices are given", printed(ties_object));
  if (!indices && !input.array)
    reject(function, "input", "an array where no indices are given", "the shape " + to_string(input.shape));
  const PoolGeometry geometry = windows.over(function, input.shape, layout);
  const Shape pooled = geometry.output.shape();
  require_shape(function, "grad_output", grad_output.shape(), pooled, "that of the forward output");
  if (indices) indices->require_shape_of(function, pooled);
  const ArrayArgument& other = indices ? indices->array() : *input.array;
  py::array grad_input =
      make_output(function, "out", out, input.shape, grad_output.array().dtype(), {&grad_output, &other});
  grad_output.make_contiguous();
  if (indices) indices->array().make_contiguous();
  else input.array->make_contiguous();
  with_real(grad_output.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T* gradient = grad_output.data<T>();
    const T* source = indices ? nullptr : input.array->data<T>();
    const WithoutGil nogil(geometry.input.elements() + geometry.output.elements());
    if (!indices) {
      if (geometry.input.plane() >= kPlaneOf64BitIndices)
        extreme_pool_backward<T, std::int64_t>(geometry, extreme, gradient, source, {}, ties, target, threads);
      else extreme_pool_backward<T, std::int32_t>(geometry, extreme, gradient, source, {}, ties, target, threads);
      return;
    }
    indices->with_examined(
        function, geometry.output.elements(), geometry.input.plane(), threads,
        [&](auto* places) { return examine_indices<T>(geometry, places, threads); },
        [&](auto given) { extreme_pool_backward(geometry, extreme, gradient, source, given, ties, target, threads); });
  });
  return std::move(grad_input);
}

Object max_pool(Handle input, Handle kernel_size, Handle stride, Handle padding, Handle dilation, Handle ceil_mode,
                Handle return_indices, Handle layout, Handle out, Handle num_threads) {
  return run_extreme_pool("max_pool", Extreme::max, input, {kernel_size, stride, padding, dilation, ceil_mode, {}},
                          return_indices, layout, out, num_threads);
}

Object adaptive_max_pool(Handle input, Handle output_size, Handle return_indices, Handle layout, Handle out,
                         Handle num_threads) {
  return run_extreme_pool("adaptive_max_pool", Extreme::max, input, {{}, {}, {}, {}, {}, output_size}, return_indices,
                          layout, out, num_threads);
}

Object max_pool_backward(Handle grad_output, Handle input, Handle kernel_size, Handle stride, Handle padding,
                         Handle dilation, Handle ceil_mode, Handle indices, Handle ties, Handle layout, Handle out,
                         Handle num_threads) {
  return run_extreme_pool_backward("max_pool_backward", Extreme::max, grad_output, input,
                                   {kernel_size, stride, padding, dilation, ceil_mode, {}}, indices, ties, layout, out,
                                   num_threads);
}

Object adaptive_max_pool_backward(Handle grad_output, Handle input, Handle output_size, Handle indices, Handle ties,
                                  Handle layout, Handle out, Handle num_threads) {
  return run_extreme_pool_backward("adaptive_max_pool_backward", Extreme::max, grad_output, input,
                                   {{}, {}, {}, {}, {}, output_size}, indices, ties, layout, out, num_threads);
}

Object min_pool(Handle input, Handle kernel_size, Handle stride, Handle padding, Handle dilation, Handle ceil_mode,
                Handle return_indices, Handle layout, Handle out, Handle num_threads) {
  return run_extreme_pool("min_pool", Extreme::min, input, {kernel_size, stride, padding, dilation, ceil_mode, {}},
                          return_indices, layout, out, num_threads);
}

Object min_pool_backward(Handle grad_output, Handle input, Handle kernel_size, Handle stride, Handle padding,
                         Handle dilation, Handle ceil_mode, Handle indices, Handle ties, Handle layout, Handle out,
                         Handle num_threads) {
  return run_extreme_pool_backward("min_pool_backward", Extreme::min, grad_output, input,
                                   {kernel_size, stride, padding, dilation, ceil_mode, {}}, indices, ties, layout, out,
                                   num_threads);
}

// ---- max unpooling ----

Object max_unpool(Handle input_object, Handle indices_object, Handle kernel_size, Handle stride, Handle padding,
                  Handle output_size, Handle layout, Handle out, Handle num_threads) {
  const char* function = "max_unpool";
  const int threads = to_thread_count(function, num_threads);
  const Layout order = to_layout(function, layout);
  ArrayArgument input = float_array(function, "input", input_object);
  Indices indices(function, indices_object);
  const int rank = spatial_rank(function, "input", input.shape().size());
  const WindowArguments window =
      to_pool_window(function, rank, kernel_size, stride, padding, py::int_(1), py::bool_(false));
  const bool has_size = !output_size.is_none();
  const Triple size = has_size ? to_triple(function, "output_size", output_size, rank) : Triple{};
  const UnpoolGeometry geometry =
      make_unpool_geometry(function, input.shape(), window, has_size ? &size : nullptr, order);
  indices.require_shape_of(function, input.shape());
  py::array output =
      make_output(function, "out", out, geometry.output.shape(), input.array().dtype(), {&input, &indices.array()});
  input.make_contiguous();
  indices.array().make_contiguous();
  with_float(input.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(output);
    const T* source = input.data<T>();
    const WithoutGil nogil(geometry.pooled.elements() + geometry.output.elements());
    indices.with_checked(function, geometry.pooled.elements(), geometry.output.plane(), threads,
                         [&](auto* positions) { max_unpool_forward(geometry, source, positions, target, threads); });
  });
  return std::move(output);
}

Object max_unpool_backward(Handle grad_object, Handle indices_object, Handle layout, Handle out, Handle num_threads) {
  const char* function = "max_unpool_backward";
  const int threads = to_thread_count(function, num_threads);
  const Layout order = to_layout(function, layout);
  ArrayArgument grad_output = float_array(function, "grad_output", grad_object);
  Indices indices(function, indices_object);
  const UnpoolGeometry geometry{make_extents(function, "indices", indices.array().shape(), order),
                                make_extents(function, "grad_output", grad_output.shape(), order)};
  require_same_planes(function, "indices", geometry.pooled, "grad_output", geometry.output);
  py::array grad_input = make_output(function, "out", out, indices.array().shape(), grad_output.array().dtype(),
                                     {&grad_output, &indices.array()});
  grad_output.make_contiguous();
  indices.array().make_contiguous();
  with_float(grad_output.type(), [&](auto zero) {
    using T = decltype(zero);
    T* target = mutable_data<T>(grad_input);
    const T* gradient = grad_output.data<T>();
    const WithoutGil nogil(geometry.pooled.elements() + geometry.output.elements());
    indices.with_checked(function, geometry.pooled.elements(), geometry.output.plane(), threads, [&](auto* positions) {
      convpool::max_unpool_backward(geometry, gradient, positions, target, threads);
    });
  });
  return std::move(grad_input);
}

}  // namespace

void bind_max_pooling(py::module_& module) {
  define<&max_pool>(module, "max_pool");
  define<&max_pool_backward>(module, "max_pool_backward");
  define<&min_pool>(module, "min_pool");
  define<&min_pool_backward>(module, "min_pool_backward");
  define<&adaptive_max_pool>(module, "adaptive_max_pool");
  define<&adaptive_max_pool_backward>(module, "adaptive_max_pool_backward");
  define<&max_unpool>(module, "max_unpool");
  define<&max_unpool_backward>(module, "max_unpool_backward");
}

}  // namespace convpool::bindings
