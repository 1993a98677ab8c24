#include "bindings/module.hpp"

#include "bindings/arguments.hpp"
#include "bindings/without_gil.hpp"
#include "geometry/error.hpp"
#include "runtime/isa.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, module) {
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
