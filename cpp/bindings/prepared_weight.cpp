// prepare_weight, prepare_transpose_weight and the class of what they return.
#include "bindings/convolution_arguments.hpp"
#include "bindings/module.hpp"
#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

using Handle = py::handle;
using Object = py::object;

Object make_prepared(const char* function, const ArrayArgument& weight, Layout layout, const ConvGeometry& geometry,
                     ConvPass pass, const ConvOptions& options) {
  auto prepared = std::make_unique<PreparedArray>();
  prepared->copy = read_only_copy(weight);
  prepared->layout = layout;
  const ArrayArgument copy(function, "weight", prepared->copy);
  with_float(copy.type(), [&](auto zero) {
    using T = decltype(zero);
    const py::gil_scoped_release nogil;
    prepared->packed = convpool::prepare_weight<T>(geometry, pass, copy.data<T>(), options);
  });
  return py::cast(std::move(prepared));
}

Object prepare_weight(Handle weight_object, Handle input_shape, Handle stride, Handle padding, Handle dilation,
                      Handle groups, Handle padding_mode, Handle precision, Handle layout, Handle num_threads) {
  const char* function = "prepare_weight";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  const ArrayArgument weight(function, "weight", weight_object);
  weight.require_float(function);
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  WindowArguments window = to_conv_window(function, rank, stride, padding, dilation);
  window.padding_mode = to_padding_mode(function, padding_mode);
  const ConvGeometry geometry =
      make_conv_geometry(function, input, weight.shape(), window, to_integer(function, "groups", groups), order);
  return make_prepared(function, weight, order, geometry, ConvPass::forward, options);
}

Object prepare_transpose_weight(Handle weight_object, Handle input_shape, Handle stride, Handle padding,
                                Handle output_padding, Handle groups, Handle dilation, Handle output_size,
                                Handle precision, Handle layout, Handle num_threads) {
  const char* function = "prepare_transpose_weight";
  const Layout order = to_layout(function, layout);
  const ConvOptions options = to_options(function, precision, num_threads);
  const ArrayArgument weight(function, "weight", weight_object);
  weight.require_float(function);
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  const ConvGeometry geometry = make_conv_transpose_geometry(
      function, input, weight.shape(), to_conv_window(function, rank, stride, padding, dilation),
      to_transposed(function, output_padding, output_size, rank), to_integer(function, "groups", groups), order);
  return make_prepared(function, weight, order, geometry, ConvPass::grad_input, options);
}

py::ssize_t held_bytes(const PreparedArray& weight) {
  return weight.copy.nbytes() + static_cast<py::ssize_t>(weight.packed->packed_bytes());
}

py::str representation(const PreparedArray& weight) {
  return py::str("PreparedWeight(shape={}, dtype={}, layout={!r}, nbytes={})")
      .format(weight.copy.attr("shape"), weight.copy.dtype(), name_of(weight.layout), held_bytes(weight));
}

}  // namespace

void bind_prepared_weight(py::module_& module) {
  define<&prepare_weight>(module, "prepare_weight");
  define<&prepare_transpose_weight>(module, "prepare_transpose_weight");
  const auto myself = [](Object weight, py::args) { return weight; };
  py::class_<PreparedArray>(module, "PreparedWeight", R"(A weight packed for `conv` or `conv_transpose`.

Made by `prepare_weight` and `prepare_transpose_weight`, and taken in place of the array. It cannot be changed, so threads
may share it, and copies of it are itself. It holds its own copy of the weight.)")
      .def_property_readonly(
          "shape", [](const PreparedArray& weight) { return weight.copy.attr("shape"); }, "Shape of the weight.")
      .def_property_readonly(
          "dtype", [](const PreparedArray& weight) { return weight.copy.dtype(); }, "Data type of the weight.")
      .def_property_readonly(
          "layout", [](const PreparedArray& weight) { return name_of(weight.layout); },
          "Layout of the weight, and of the arrays that it serves.")
      .def_property_readonly("nbytes", held_bytes, "Memory held: the copy of the weight and what was packed of it.")
      .def("__copy__", myself)
      .def("__deepcopy__", myself)
      .def("__reduce_ex__",
           [](const PreparedArray&, py::args) -> Object {
             throw InvalidType("a PreparedWeight cannot be pickled: pickle the array, and prepare it again");
           })
      .def("__repr__", representation)
      .attr("__module__") = "convpool";
}

}  // namespace convpool::bindings
