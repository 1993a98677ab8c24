// Shape helpers: the geometry of the core, seen from Python.
#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "geometry/window_tables.hpp"

namespace convpool::bindings {

namespace {

using Object = py::object;

py::tuple pool_output_shape(Object input_shape, Object kernel_size, Object stride, Object padding, Object dilation,
                            Object ceil_mode, Object layout) {
  const std::string function = "pool_output_shape";
  const Shape input = to_shape(function, "input_shape", input_shape);
  const int rank = spatial_rank(function, "input_shape", input.size());
  const WindowArguments window = to_pool_window(function, rank, kernel_size, stride, padding, dilation, ceil_mode);
  return to_tuple(make_pool_geometry(function, input, window, to_layout(function, layout)).output.shape());
}

// An int64 array of the spatial shape of `extents`, written by write(data).
template <class Write>
py::array spatial_array(const Extents& extents, Write&& write) {
  const Shape shape = extents.shape();
  const auto first = shape.begin() + (extents.layout == Layout::channels_first ? 2 : 1);
  py::array_t<std::int64_t> result(std::vector<py::ssize_t>(first, first + extents.rank));
  write(result.mutable_data());
  return std::move(result);
}

py::array window_bounds(const Axis& axis) {
  py::array_t<std::int64_t> bounds(std::vector<py::ssize_t>{axis.output, 2});
  write_window_bounds(axis, bounds.mutable_data());
  return std::move(bounds);
}

py::tuple window_geometry(Object input_shape, Object kernel_size, Object stride, Object padding, Object dilation,
                          Object ceil_mode, Object count_include_pad, Object divisor_override, Object layout) {
  const std::string function = "window_geometry";
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
  module.def("pool_output_shape", &pool_output_shape);
  module.def("window_geometry", &window_geometry);
}

}  // namespace convpool::bindings
