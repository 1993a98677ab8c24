#include "bindings/module.hpp"

#include "bindings/arguments.hpp"
#include "bindings/without_gil.hpp"
#include "geometry/error.hpp"
#include "runtime/isa.hpp"

namespace py = pybind11;

// All that calls share are atomics and what never changes: Python need not bring its GIL back for us.
PYBIND11_MODULE(core_of_main_interpreter, module, py::mod_gil_not_used()) {
  module.doc() = "The compiled core of convpool. Private: use the functions of the package.";
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const convpool::InvalidType& bad) {
      py::set_error(PyExc_TypeError, bad.what());
    }
  });
  convpool::bindings::numpy_types();
  convpool::bindings::watch_signals();
  convpool::select_isa_from_environment();
  convpool::bindings::bind_convolution(module);
  convpool::bindings::bind_geometry(module);
  convpool::bindings::bind_max_pooling(module);
  convpool::bindings::bind_pool_numbering(module);
  convpool::bindings::bind_prepared_weight(module);
  convpool::bindings::bind_runtime(module);
  convpool::bindings::bind_sum_pooling(module);
}

// Neither NumPy nor this module is made for subinterpreters. pybind11's own refusal comes too late before Python 3.12:
// it waits for ever for a lock that this thread holds.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit_core_of_main_interpreter();
  PyErr_SetString(PyExc_ImportError, "convpool does not support subinterpreters");
  return nullptr;
}
