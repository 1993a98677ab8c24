// The one crossing between NumPy arrays and the core: dtype, contiguity, overlap and allocation.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <string>

#include "bindings/arguments.hpp"
#include "bindings/without_gil.hpp"

namespace convpool::bindings {

// Element types the core knows. `character` is NumPy's kind, `bytes` its item size.
struct ElementType {
  char kind;
  int bytes;
  bool operator==(const ElementType& other) const { return kind == other.kind && bytes == other.bytes; }
};
constexpr ElementType kFloat16{'f', 2}, kFloat32{'f', 4}, kFloat64{'f', 8};
constexpr ElementType kBFloat16{'E', 2};  // an extension's dtype; NumPy has no kind for it

// float32 or float64, as anything that NumPy takes for a dtype.
ElementType to_float_type(const char* function, py::handle dtype);

// An argument that is a NumPy array of native byte order; nothing of it is copied yet.
class ArrayArgument {
 public:
  ArrayArgument(const char* function, const char* parameter, py::handle value);

  ElementType type() const { return type_; }
  const Shape& shape() const { return shape_; }
  const py::array& array() const { return array_; }

  // float32 or float64, else TypeError.
  void require_float(const char* function) const;
  // The same, or one of the 16-bit floats.
  void require_real(const char* function) const;
  void require_integer(const char* function) const;
  void require_type(const char* function, const ArrayArgument& other) const;
  // Swaps the array for a C-contiguous, aligned one with the same values; a no-op where it is that already.
  void make_contiguous();

  template <class T>
  const T* data() const {
    return static_cast<const T*>(array_.data());
  }
  bool overlaps(const py::array& other) const;
  const char* parameter() const { return parameter_; }

 private:
  const char* parameter_;
  py::array array_;
  ElementType type_;
  Shape shape_;
};

// A fresh C-contiguous array, its elements not set.
py::array new_array(py::dtype dtype, const Shape& shape);

// A fresh C-contiguous array with the same values, read-only.
py::array read_only_copy(const ArrayArgument& argument);

// A fresh array, or `out` after it was checked against shape, dtype, contiguity and overlap with the inputs.
py::array make_output(const char* function, const char* parameter, py::handle out, const Shape& shape,
                      const py::dtype& dtype, std::initializer_list<const ArrayArgument*> inputs);

template <class T>
T* mutable_data(py::array& array) {
  return static_cast<T*>(array.mutable_data());
}

// Calls body(T{}) with the C++ type of a checked float array.
template <class Body>
void with_float(ElementType type, Body&& body) {
  if (type == kFloat32) body(float{});
  else body(double{});
}

}  // namespace convpool::bindings
