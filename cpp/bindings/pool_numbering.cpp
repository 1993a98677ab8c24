// convert_pool_indices: from one library's numbering of maxima to another's.
#include "geometry/pool_numbering.hpp"

#include "bindings/module.hpp"
#include "bindings/pooling_arguments.hpp"
#include "geometry/error.hpp"
#include "pooling/window_offsets.hpp"

namespace convpool::bindings {

namespace {

using Handle = py::handle;
using Object = py::object;

Numbering to_numbering(const char* function, const char* parameter, Handle value) {
  const std::string_view text = to_text(function, parameter, value);
  if (text == "pytorch") return Numbering::pytorch;
  if (text == "onnx") return Numbering::onnx;
  if (text == "tensorflow") return Numbering::tensorflow;
  if (text == "window") return Numbering::window;
  reject(function, parameter, R"("pytorch", "onnx", "tensorflow" or "window")", printed(value));
}

// What is known without windows: both shapes, which must agree in all but the spatial extents.
PoolGeometry windowless_geometry(const char* function, const Shape& input, const Shape& pooled, Handle layout) {
  const Layout order = to_layout(function, layout);
  PoolGeometry geometry;
  geometry.input = make_extents(function, "input_shape", input, order);
  geometry.output = make_extents(function, "indices", pooled, order);
  require_same_planes(function, "indices", geometry.output, "input_shape", geometry.input);
  return geometry;
}

py::dtype index_type(const char* function, Numbering numbering, const PoolGeometry& geometry) {
  constexpr std::int64_t kTapsOfBytes = 256;
  std::int64_t count = kPlaneOf64BitIndices;
  if (numbering == Numbering::pytorch) count = geometry.input.plane();
  if (numbering == Numbering::window) {
    count = largest_window_taps(function, geometry);
    if (count <= kTapsOfBytes) return py::dtype::of<std::uint8_t>();
  }
  return count >= kPlaneOf64BitIndices ? py::dtype::of<std::int64_t>() : py::dtype::of<std::int32_t>();
}

// The conversions that vjp() makes, in parallel and without 64-bit numbers between. Null where the problem is another
// or an index does not fit: the general way then names it.
Object convert_bytes(const PoolGeometry& geometry, Numbering from, Numbering to, const ArrayArgument& indices) {
  constexpr ElementType kInt32{'i', 4}, kUint8{'u', 1};
  if ((from != Numbering::window && to != Numbering::window) || !has_byte_offsets(geometry)) return {};
  const bool is_narrowing = from == Numbering::pytorch && indices.type() == kInt32;
  const bool is_widening = to == Numbering::pytorch && indices.type() == kUint8;
  if (!is_narrowing && !is_widening) return {};
  py::array converted =
      new_array(is_narrowing ? py::dtype::of<std::uint8_t>() : py::dtype::of<std::int32_t>(), indices.shape());
  void* target = converted.mutable_data();
  bool is_done = false;
  {
    const WithoutGil nogil(geometry.output.elements());
    is_done = is_narrowing
                  ? offsets_of_indices(geometry, indices.data<std::int32_t>(), static_cast<std::uint8_t*>(target), 0)
                  : indices_of_offsets(geometry, indices.data<std::uint8_t>(), static_cast<std::int32_t*>(target), 0);
  }
  return is_done ? Object(std::move(converted)) : Object();
}

Object convert_pool_indices(Handle indices_object, Handle input_shape, Handle kernel_size, Handle stride,
                            Handle padding, Handle dilation, Handle ceil_mode, Handle source, Handle target,
                            Handle output_size, Handle layout) {
  const char* function = "convert_pool_indices";
  const Numbering from = to_numbering(function, "source", source), to = to_numbering(function, "target", target);
  ArrayArgument indices(function, "indices", indices_object);
  indices.require_integer(function);
  const Shape input = to_shape(function, "input_shape", input_shape);
  const bool is_sliding = !kernel_size.is_none(), is_adaptive = !output_size.is_none();
  if (is_sliding && is_adaptive)
    reject(function, "output_size", "None where kernel_size is given", printed(output_size));
  if (!is_sliding && !is_adaptive && (from == Numbering::window || to == Numbering::window))
    reject(function, "kernel_size", "given (or output_size) to count inside windows", "None");
  const Windows windows{kernel_size, stride, padding, dilation, ceil_mode, is_adaptive ? output_size : Handle()};
  const PoolGeometry geometry = is_sliding || is_adaptive
                                    ? windows.over(function, input, layout)
                                    : windowless_geometry(function, input, indices.shape(), layout);
  require_shape(function, "indices", indices.shape(), geometry.output.shape(), "that of the pooled array");
  const py::dtype type = index_type(function, to, geometry);
  indices.make_contiguous();
  if (Object bytes = convert_bytes(geometry, from, to, indices)) return bytes;
  py::array converted = new_array(py::dtype::of<std::int64_t>(), indices.shape());
  with_integer(indices.type(), [&](auto zero) {
    using From = decltype(zero);
    std::int64_t* numbers = mutable_data<std::int64_t>(converted);
    const From* given = indices.data<From>();
    const WithoutGil nogil;
    convert_indices(function, geometry, from, to, given, numbers);
  });
  return converted.attr("astype")(type, py::arg("copy") = false);
}

}  // namespace

void bind_pool_numbering(py::module_& module) { define<&convert_pool_indices>(module, "convert_pool_indices"); }

}  // namespace convpool::bindings
