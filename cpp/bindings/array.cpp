#include "bindings/array.hpp"

#include <utility>

#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

using py::detail::npy_api;

// Looked up only for a subclass of ndarray: importing numpy.ma takes longer than importing this package.
bool is_masked(py::handle value) { return py::isinstance(value, py::module_::import("numpy.ma").attr("MaskedArray")); }

py::array require_array(const char* function, const char* parameter, py::handle value) {
  const bool is_array = py::isinstance<py::array>(value);
  const bool is_plain = is_array && Py_TYPE(value.ptr()) == npy_api::get().PyArray_Type_;
  if (!is_array || (!is_plain && is_masked(value))) {
    throw InvalidType(must_be(function, parameter, "a NumPy array", Py_TYPE(value.ptr())->tp_name));
  }
  return py::reinterpret_borrow<py::array>(value);
}

// First and one-past-last byte of the memory an array may touch.
std::pair<const char*, const char*> byte_range(const py::array& array) {
  const char* first = static_cast<const char*>(array.data());
  const char* last = first;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (array.shape(i) == 0) return {first, first};
    const py::ssize_t reach = array.strides(i) * (array.shape(i) - 1);
    (reach < 0 ? first : last) += reach;
  }
  return {first, last + array.itemsize()};
}

bool is_contiguous(const py::array& array) {
  constexpr int kNeeded = npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_;
  return (array.flags() & kNeeded) == kNeeded;
}

std::string name_of(const py::dtype& dtype) {
  return "dtype " + py::str(static_cast<const py::object&>(dtype)).cast<std::string>();
}

// ml_dtypes' type, recognised by its name: nothing needs to be imported.
bool is_bfloat16(const py::dtype& dtype) { return dtype.attr("name").cast<std::string>() == "bfloat16"; }

}  // namespace

ElementType to_float_type(const char* function, py::handle value) {
  const char* rule = "float32 or float64";
  if (value.is_none()) reject_type(function, "dtype", rule, value);  // NumPy's default: float64
  try {
    const py::dtype dtype = py::dtype::from_args(py::reinterpret_borrow<py::object>(value));
    const ElementType type{dtype.kind(), static_cast<int>(dtype.itemsize())};
    if (dtype.byteorder() == '=' && (type == kFloat32 || type == kFloat64)) return type;
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;
  }
  reject_type(function, "dtype", rule, value);
}

ArrayArgument::ArrayArgument(const char* function, const char* parameter, py::handle value)
    : parameter_(parameter), array_(require_array(function, parameter, value)) {
  const py::dtype dtype = array_.dtype();
  const char order = dtype.byteorder();
  if (order != '=' && order != '|') {
    throw InvalidType(must_be(function, parameter, "an array of native byte order", name_of(dtype)));
  }
  type_ = {dtype.kind(), static_cast<int>(dtype.itemsize())};
  if (type_.kind == 'V' && type_.bytes == kBFloat16.bytes && is_bfloat16(dtype)) type_ = kBFloat16;
  shape_.append(array_.shape(), array_.shape() + array_.ndim());
}

void ArrayArgument::require_float(const char* function) const {
  if (type_ == kFloat32 || type_ == kFloat64) return;
  throw InvalidType(must_be(function, parameter_, "an array of float32 or float64", name_of(array_.dtype())));
}

void ArrayArgument::require_real(const char* function) const {
  if (type_ == kFloat32 || type_ == kFloat64 || type_ == kFloat16 || type_ == kBFloat16) return;
  throw InvalidType(
      must_be(function, parameter_, "an array of float32, float64, float16 or bfloat16", name_of(array_.dtype())));
}

void ArrayArgument::require_integer(const char* function) const {
  if (type_.kind == 'i' || type_.kind == 'u') return;
  throw InvalidType(must_be(function, parameter_, "an array of integers", name_of(array_.dtype())));
}

void ArrayArgument::require_type(const char* function, const ArrayArgument& other) const {
  if (type_ == other.type_) return;
  throw InvalidType(
      must_be(function, parameter_,
              std::string("of the same dtype as ") + other.parameter_ + ", " + name_of(other.array_.dtype()),
              name_of(array_.dtype())));
}

void ArrayArgument::make_contiguous() {
  if (is_contiguous(array_)) return;
  constexpr int kFlags =
      npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_ | npy_api::NPY_ARRAY_ENSUREARRAY_;
  PyObject* copy = npy_api::get().PyArray_FromAny_(array_.ptr(), nullptr, 0, 0, kFlags, nullptr);
  if (copy == nullptr) throw py::error_already_set();
  array_ = py::reinterpret_steal<py::array>(copy);
}

bool ArrayArgument::overlaps(const py::array& other) const {
  const auto mine = byte_range(array_), theirs = byte_range(other);
  return mine.first < theirs.second && theirs.first < mine.second;
}

py::array new_array(py::dtype dtype, const Shape& shape) {
  static_assert(sizeof(Py_intptr_t) == sizeof(std::int64_t));
  const npy_api& numpy = npy_api::get();
  PyObject* array =
      numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, dtype.release().ptr(), static_cast<int>(shape.size()),
                                  reinterpret_cast<const Py_intptr_t*>(shape.begin()), nullptr, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(array);
}

py::array read_only_copy(const ArrayArgument& argument) {
  py::array copy = new_array(argument.array().dtype(), argument.shape());
  if (npy_api::get().PyArray_CopyInto_(copy.ptr(), argument.array().ptr()) < 0) throw py::error_already_set();
  copy.attr("setflags")(py::arg("write") = false);
  return copy;
}

py::array make_output(const char* function, const char* parameter, py::handle out, const Shape& shape,
                      const py::dtype& dtype, std::initializer_list<const ArrayArgument*> inputs) {
  if (out.is_none()) return new_array(dtype, shape);
  const ArrayArgument target(function, parameter, out);
  const py::array& array = target.array();
  if (!array.dtype().equal(dtype)) {
    throw InvalidType(must_be(function, parameter, "an array of " + name_of(dtype), name_of(array.dtype())));
  }
  require_shape(function, parameter, target.shape(), shape, "that of the result");
  if (!array.writeable()) reject(function, parameter, "writable", "a read-only array");
  if (!is_contiguous(array)) reject(function, parameter, "C-contiguous and aligned", "an array that is not");
  for (const ArrayArgument* input : inputs) {
    if (input->overlaps(array))
      reject(function, parameter, "apart from the inputs in memory",
             std::string("an overlap with ") + input->parameter());
  }
  return array;
}

}  // namespace convpool::bindings
