#include "bindings/without_gil.hpp"

#include <chrono>
#include <thread>

namespace convpool::bindings {

namespace py = pybind11;

namespace {

unsigned long main_thread = 0;

// Ends the way of a thread that the interpreter, on its own way out, ends by unwinding the stack: there are frames
// above that nothing may be thrown through. Python 3.14 itself leaves such a thread hanging.
struct HangWhereUnwound {
  bool is_over = false;
  ~HangWhereUnwound() {
    while (!is_over) std::this_thread::sleep_for(std::chrono::hours(1));
  }
};

[[gnu::noinline]] void take_gil(PyThreadState* thread) {
  HangWhereUnwound guard;
  PyEval_RestoreThread(thread);
  guard.is_over = true;
}

}  // namespace

void watch_signals() {
  main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
}

WithoutGil::WithoutGil(std::int64_t elements) {
  if (elements < kLeastElements) return;
  if (PyThread_get_thread_ident() == main_thread) interruption_.emplace(&has_handler_raised, this);
  thread_ = PyEval_SaveThread();
}

WithoutGil::~WithoutGil() {
  if (thread_ != nullptr) take_gil(thread_);
}

bool WithoutGil::has_handler_raised(void* self) noexcept {
  PyThreadState*& thread = static_cast<WithoutGil*>(self)->thread_;
  PyEval_RestoreThread(thread);
  const bool has_raised = PyErr_CheckSignals() != 0;
  thread = PyEval_SaveThread();
  return has_raised;
}

}  // namespace convpool::bindings
