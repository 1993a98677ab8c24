// Shape helpers: the geometry of the core, seen from Python.
#include "bindings/array.hpp"
#include "bindings/function.hpp"
#include "bindings/module.hpp"
#include "geometry/window_tables.hpp"

namespace convpool::bindings {

namespace {

using Handle = py::handle;
using Object = py::object;

Object pool_output_shape(Handle input_shape, Handle kernel_size, Handle stride, Handle padding, Handle dilation,
                         Handle ceil_mode, Handle layout) {
  const char* function = "pool_output_shape";
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  const WindowArguments window = to_pool_window(function, rank, kernel_size, stride, padding, dilation, ceil_mode);
  return to_tuple(make_pool_geometry(function, input, window, to_layout(function, layout)).output.shape());
}

// An int64 array of the spatial shape of `extents`, written by write(data).
template <class Write>
py::array spatial_array(const Extents& extents, Write&& write) {
  Shape shape;
  shape.append(extents.spatial.begin() + first_axis(extents.rank), extents.spatial.end());
  py::array result = new_array(py::dtype::of<std::int64_t>(), shape);
  write(mutable_data<std::int64_t>(result));
  return result;
}

py::array window_bounds(const Axis& axis) {
  py::array bounds = new_array(py::dtype::of<std::int64_t>(), {axis.output, 2});
  write_window_bounds(axis, mutable_data<std::int64_t>(bounds));
  return bounds;
}

Object window_geometry(Handle input_shape, Handle kernel_size, Handle stride, Handle padding, Handle dilation,
                       Handle ceil_mode, Handle count_include_pad, Handle divisor_override, Handle layout) {
  const char* function = "window_geometry";
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  const WindowArguments window = to_pool_window(function, rank, kernel_size, stride, padding, dilation, ceil_mode);
  PoolGeometry geometry = make_pool_geometry(function, input, window, to_layout(function, layout));
  set_divisor(function, count_include_pad, divisor_override, geometry);
  py::tuple windows(rank);
  for (int i = 0; i < rank; ++i) windows[i] = window_bounds(geometry.axes[first_axis(rank) + i]);
  return py::make_tuple(
      to_tuple(geometry.output.shape()), windows,
      spatial_array(geometry.output, [&](std::int64_t* divisors) { write_divisors(geometry, divisors); }),
      spatial_array(geometry.input, [&](std::int64_t* coverage) { write_coverage(geometry, coverage); }));
}

}  // namespace

void bind_geometry(py::module_& module) {
  define<&pool_output_shape>(module, "pool_output_shape");
  define<&window_geometry>(module, "window_geometry");
}

}  // namespace convpool::bindings
