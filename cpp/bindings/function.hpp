// Functions of Python objects, as CPython calls them. They take what they are given, in order: nothing is left for
// pybind11's dispatcher, which costs a tiny call more than the parsing of its arguments.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

namespace convpool::bindings {

namespace py = pybind11;

// Makes the C++ exception that is being handled the Python exception that is set.
void set_python_error() noexcept;

[[noreturn]] void reject_argument_count(std::size_t expected, Py_ssize_t given);

template <auto function>
struct Entry;

template <class... Handles, py::object (*function)(Handles...)>
struct Entry<function> {
  template <std::size_t... i>
  static py::object apply(PyObject* const* arguments, std::index_sequence<i...>) {
    return function(py::handle(arguments[i])...);
  }

  static PyObject* call(PyObject*, PyObject* const* arguments, Py_ssize_t count) noexcept {
    try {
      if (count != sizeof...(Handles)) reject_argument_count(sizeof...(Handles), count);
      return apply(arguments, std::index_sequence_for<Handles...>()).release().ptr();
    } catch (...) {
      set_python_error();
      return nullptr;
    }
  }
};

// module.<name>(...) calls `function`, a py::object (*)(py::handle, ...), with positional arguments.
template <auto function>
void define(py::module_& module, const char* name) {
  using Erased = void (*)();
  static PyMethodDef definition{name, reinterpret_cast<PyCFunction>(reinterpret_cast<Erased>(&Entry<function>::call)),
                                METH_FASTCALL, nullptr};
  module.add_object(name, py::reinterpret_steal<py::object>(PyCFunction_New(&definition, nullptr)));
}

}  // namespace convpool::bindings
