// What a call of the core runs in: other Python threads go on meanwhile, and signals (Ctrl-C) can end it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>

#include "runtime/interruption.hpp"

namespace convpool::bindings {

// Notes which thread is Python's main one: signal handlers run there. Called at import.
void watch_signals();

// Releases the GIL while it lives. On Python's main thread it takes the GIL back every now and then to run signal
// handlers; if one raises, the call ends with Interrupted and the Python error stays set.
class WithoutGil {
 public:
  WithoutGil() : WithoutGil(kLeastElements) {}
  // Does nothing where the work is over before the GIL could change hands.
  explicit WithoutGil(std::int64_t elements);
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  static constexpr std::int64_t kLeastElements = 1024;  // moved; 3 to 20 microseconds

  static bool has_handler_raised(void* self) noexcept;

  PyThreadState* thread_ = nullptr;
  std::optional<Interruption> interruption_;
};

}  // namespace convpool::bindings
