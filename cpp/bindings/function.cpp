#include "bindings/function.hpp"

#include <new>

#include "geometry/error.hpp"
#include "runtime/interruption.hpp"

namespace convpool::bindings {

void set_python_error() noexcept {
  try {
    throw;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const Interrupted&) {  // the signal handler has set its error
  } catch (const InvalidType& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const InvalidArgument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc& error) {
    PyErr_SetString(PyExc_MemoryError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

void reject_argument_count(std::size_t expected, Py_ssize_t given) {
  throw InvalidType(std::to_string(expected) + " positional arguments are needed, got " + std::to_string(given));
}

}  // namespace convpool::bindings
