// Python arguments into plain values: types and signs of life are checked here, ranges and consistency in geometry/.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <string_view>

#include "geometry/pool_geometry.hpp"

namespace convpool::bindings {

namespace py = pybind11;

// Classes of NumPy that arguments are tested against; looked up once, when the module is imported.
struct NumpyTypes {
  PyObject *integer, *boolean;
};
const NumpyTypes& numpy_types();

// How a value shows in an error message: its repr, cut to a readable length.
std::string printed(py::handle value);
[[noreturn]] void reject_type(const char* function, const char* parameter, const std::string& rule, py::handle value);

// A Python or NumPy integer, not a bool; one that does not fit 64 bits is a ValueError.
std::int64_t to_integer(const char* function, const char* parameter, py::handle value);
bool to_bool(const char* function, const char* parameter, py::handle value);
double to_real(const char* function, const char* parameter, py::handle value);
std::string_view to_text(const char* function, const char* parameter, py::handle value);  // lives as long as value
Layout to_layout(const char* function, py::handle value);
const char* name_of(Layout layout);
PaddingMode to_padding_mode(const char* function, py::handle value);
int to_thread_count(const char* function, py::handle value);  // None: 0
Shape to_shape(const char* function, const char* parameter, py::handle value);

// An int for every dimension, or one int for each.
Triple to_triple(const char* function, const char* parameter, py::handle value, int rank);
// As to_triple, with None entries as 0 where `value` may hold them.
Triple to_optional_triple(const char* function, const char* parameter, py::handle value, int rank);
// int | one int per dimension | one (low, high) pair per dimension | "valid" | "same" | "same_lower".
void set_padding(const char* function, py::handle value, int rank, WindowArguments& window);

// Number of spatial dimensions of an array of `dimensions`, checked.
int spatial_rank(const char* function, const char* parameter, std::size_t dimensions);

// Kernel, stride (None: the kernel), padding, dilation and ceil_mode of a pooling call.
WindowArguments to_pool_window(const char* function, int rank, py::handle kernel_size, py::handle stride,
                               py::handle padding, py::handle dilation, py::handle ceil_mode);
// Stride, padding and dilation of a convolution; the kernel is the weight's.
WindowArguments to_conv_window(const char* function, int rank, py::handle stride, py::handle padding,
                               py::handle dilation);

// count_include_pad and divisor_override of an average.
void set_divisor(const char* function, py::handle count_include_pad, py::handle divisor_override,
                 PoolGeometry& geometry);

py::tuple to_tuple(const Shape& shape);

}  // namespace convpool::bindings
