#include "bindings/arguments.hpp"

#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

constexpr Py_ssize_t kLongestPrint = 80;  // characters

bool is_sequence(py::handle value) { return PyTuple_Check(value.ptr()) || PyList_Check(value.ptr()); }

bool is_integer(py::handle value) {
  if (PyLong_CheckExact(value.ptr())) return true;
  if (PyBool_Check(value.ptr())) return false;
  return PyLong_Check(value.ptr()) || PyObject_IsInstance(value.ptr(), numpy_types().integer) == 1;
}

// Rules as messages state them.
using Rule = std::string (*)(int rank);

std::string per_dimension(int rank) { return std::to_string(rank) + (rank == 1 ? " int" : " ints"); }

std::string triple_rule(int rank) { return "an int or a tuple of " + per_dimension(rank); }

std::string optional_triple_rule(int rank) { return triple_rule(rank) + " or None"; }

std::string padding_rule(int rank) {
  return "an int, " + per_dimension(rank) + ", " + std::to_string(rank) +
         " (low, high) pair(s), \"valid\", \"same\" or \"same_lower\"";
}

// A list may change while it is read: other Python threads run, without the GIL at any time.
py::tuple frozen(py::handle sequence) {
  auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(sequence.ptr()));
  if (!items) throw py::error_already_set();
  return items;
}

// Items of a tuple or list of `rank` entries.
py::tuple items_of(const char* function, const char* parameter, py::handle value, int rank, Rule rule) {
  if (!is_sequence(value)) reject_type(function, parameter, rule(rank), value);
  py::tuple items = frozen(value);
  if (static_cast<int>(items.size()) != rank) reject(function, parameter, rule(rank), printed(value));
  return items;
}

PaddingRule named_padding(const char* function, py::handle value) {
  const std::string_view text = to_text(function, "padding", value);
  if (text == "valid") return PaddingRule::explicit_pairs;
  if (text == "same") return PaddingRule::same;
  if (text == "same_lower") return PaddingRule::same_lower;
  reject(function, "padding", R"("valid", "same" or "same_lower" where it is a string)", printed(value));
}

}  // namespace

const NumpyTypes& numpy_types() {
  static const NumpyTypes types = [] {
    const py::module_ numpy = py::module_::import("numpy");
    const auto keep = [](py::object type) { return type.release().ptr(); };
    return NumpyTypes{keep(numpy.attr("integer")), keep(numpy.attr("bool_"))};
  }();
  return types;
}

std::string printed(py::handle value) {
  const auto text = py::reinterpret_steal<py::object>(PyObject_Repr(value.ptr()));
  if (!text) {  // such as an int of thousands of digits
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0) throw py::error_already_set();
    PyErr_Clear();
    return std::string("an unprintable ") + Py_TYPE(value.ptr())->tp_name;
  }
  const bool is_long = PyUnicode_GetLength(text.ptr()) > kLongestPrint;
  const auto start = py::reinterpret_steal<py::object>(PyUnicode_Substring(text.ptr(), 0, kLongestPrint));
  const auto bytes =
      py::reinterpret_steal<py::bytes>(PyUnicode_AsEncodedString(start.ptr(), "utf-8", "backslashreplace"));
  if (!bytes) throw py::error_already_set();
  return static_cast<std::string>(bytes) + (is_long ? "..." : "");
}

void reject_type(const char* function, const char* parameter, const std::string& rule, py::handle value) {
  throw InvalidType(must_be(function, parameter, rule, printed(value) + " of type " + Py_TYPE(value.ptr())->tp_name));
}

std::int64_t to_integer(const char* function, const char* parameter, py::handle value) {
  if (!is_integer(value)) reject_type(function, parameter, "an int", value);
  int overflow = 0;
  const std::int64_t result = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (result == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (overflow != 0) reject(function, parameter, "an int of at most 64 bits", printed(value));
  return result;
}

bool to_bool(const char* function, const char* parameter, py::handle value) {
  if (value.ptr() == Py_True) return true;
  if (value.ptr() == Py_False) return false;
  if (PyObject_IsInstance(value.ptr(), numpy_types().boolean) != 1) reject_type(function, parameter, "a bool", value);
  return PyObject_IsTrue(value.ptr()) == 1;
}

double to_real(const char* function, const char* parameter, py::handle value) {
  const bool is_real = PyFloat_Check(value.ptr()) || is_integer(value) || py::hasattr(value, "is_integer");
  if (!is_real || PyBool_Check(value.ptr()) || py::hasattr(value, "__len__"))
    reject_type(function, parameter, "a real number", value);
  const double result = PyFloat_AsDouble(value.ptr());
  if (result == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    reject(function, parameter, "a real number of double precision", printed(value));
  }
  return result;
}

std::string_view to_text(const char* function, const char* parameter, py::handle value) {
  if (!PyUnicode_Check(value.ptr())) reject_type(function, parameter, "a str", value);
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text != nullptr) return {text, static_cast<std::size_t>(size)};
  PyErr_Clear();  // a lone surrogate: no valid name holds one
  reject(function, parameter, "a str of valid characters", printed(value));
}

const char* name_of(Layout layout) { return layout == Layout::channels_first ? "channels_first" : "channels_last"; }

Layout to_layout(const char* function, py::handle value) {
  const std::string_view text = to_text(function, "layout", value);
  if (text == "channels_first") return Layout::channels_first;
  if (text == "channels_last") return Layout::channels_last;
  reject(function, "layout", R"("channels_first" or "channels_last")", printed(value));
}

PaddingMode to_padding_mode(const char* function, py::handle value) {
  const std::string_view text = to_text(function, "padding_mode", value);
  if (text == "zeros") return PaddingMode::zeros;
  if (text == "reflect") return PaddingMode::reflect;
  if (text == "replicate") return PaddingMode::replicate;
  if (text == "circular") return PaddingMode::circular;
  reject(function, "padding_mode", R"("zeros", "reflect", "replicate" or "circular")", printed(value));
}

int to_thread_count(const char* function, py::handle value) {
  constexpr std::int64_t kMostThreads = 1024;
  if (value.is_none()) return 0;
  const std::int64_t threads = to_integer(function, "num_threads", value);
  require_range(function, "num_threads", threads, 1, kMostThreads);
  return static_cast<int>(threads);
}

Shape to_shape(const char* function, const char* parameter, py::handle value) {
  if (!is_sequence(value)) reject_type(function, parameter, "a tuple of ints", value);
  const py::tuple items = frozen(value);
  if (items.size() > Shape::kCapacity) spatial_rank(function, parameter, items.size());
  Shape shape;
  for (const py::handle item : items) shape.push_back(to_integer(function, parameter, item));
  return shape;
}

Triple to_triple(const char* function, const char* parameter, py::handle value, int rank) {
  Triple result{1, 1, 1};
  if (is_integer(value)) {
    result.fill(to_integer(function, parameter, value));
    return result;
  }
  const py::tuple items = items_of(function, parameter, value, rank, triple_rule);
  for (int i = 0; i < rank; ++i) result[i] = to_integer(function, parameter, items[i]);
  return result;
}

Triple to_optional_triple(const char* function, const char* parameter, py::handle value, int rank) {
  Triple result{0, 0, 0};
  if (!is_sequence(value)) {
    if (value.is_none()) return result;
    result.fill(to_integer(function, parameter, value));
    for (const std::int64_t entry : result) require_range(function, parameter, entry, 1, kLargestParameter);
    return result;
  }
  const py::tuple items = items_of(function, parameter, value, rank, optional_triple_rule);
  for (int i = 0; i < rank; ++i) {
    if (items[i].is_none()) continue;
    result[i] = to_integer(function, parameter, items[i]);
    require_range(function, parameter, result[i], 1, kLargestParameter);
  }
  return result;
}

void set_padding(const char* function, py::handle value, int rank, WindowArguments& window) {
  if (PyUnicode_Check(value.ptr())) {
    window.rule = named_padding(function, value);
    return;
  }
  if (is_integer(value)) {
    window.pad_low = window.pad_high = to_triple(function, "padding", value, rank);
    return;
  }
  const py::tuple items = items_of(function, "padding", value, rank, padding_rule);
  for (int i = 0; i < rank; ++i) {
    const py::handle item = items[i];
    if (!is_sequence(item)) {
      window.pad_low[i] = window.pad_high[i] = to_integer(function, "padding", item);
      continue;
    }
    const py::tuple pair = frozen(item);
    if (pair.size() != 2) reject(function, "padding", padding_rule(rank), printed(value));
    window.pad_low[i] = to_integer(function, "padding", pair[0]);
    window.pad_high[i] = to_integer(function, "padding", pair[1]);
  }
}

int spatial_rank(const char* function, const char* parameter, std::size_t dimensions) {
  if (dimensions >= 3 && dimensions <= 5) return static_cast<int>(dimensions) - 2;
  reject(function, parameter, "an array of 3 to 5 dimensions (batch, channels and 1 to 3 spatial)",
         std::to_string(dimensions) + " dimensions");
}

WindowArguments to_pool_window(const char* function, int rank, py::handle kernel_size, py::handle stride,
                               py::handle padding, py::handle dilation, py::handle ceil_mode) {
  WindowArguments window;
  window.kernel = to_triple(function, "kernel_size", kernel_size, rank);
  window.stride = stride.is_none() ? window.kernel : to_triple(function, "stride", stride, rank);
  set_padding(function, padding, rank, window);
  window.dilation = to_triple(function, "dilation", dilation, rank);
  window.ceil_mode = to_bool(function, "ceil_mode", ceil_mode);
  return window;
}

WindowArguments to_conv_window(const char* function, int rank, py::handle stride, py::handle padding,
                               py::handle dilation) {
  WindowArguments window;
  window.stride = to_triple(function, "stride", stride, rank);
  set_padding(function, padding, rank, window);
  window.dilation = to_triple(function, "dilation", dilation, rank);
  return window;
}

void set_divisor(const char* function, py::handle count_include_pad, py::handle divisor_override,
                 PoolGeometry& geometry) {
  geometry.divisor =
      to_bool(function, "count_include_pad", count_include_pad) ? Divisor::padded_window : Divisor::real_window;
  if (divisor_override.is_none()) return;
  geometry.divisor = Divisor::constant;
  geometry.divisor_override = to_integer(function, "divisor_override", divisor_override);
  require_range(function, "divisor_override", geometry.divisor_override, 1, kLargestParameter);
}

py::tuple to_tuple(const Shape& shape) {
  py::tuple result(shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i) result[i] = py::int_(shape[i]);
  return result;
}

}  // namespace convpool::bindings
