// Calls that can be stopped. Whoever makes a call that may take long keeps an Interruption while it runs; parallel
// loops then ask now and then whether to go on, and end with Interrupted if not. What the call was writing is
// unspecified.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace convpool {

// Thrown by parallel loops of a call that was stopped. The reason is known to who stopped it.
struct Interrupted {};

class Interruption {
 public:
  // Whether the call shall end. Asked on the thread that makes the call, about every 50 ms.
  using Question = bool (*)(void* context) noexcept;

  Interruption(Question shall_stop, void* context) noexcept;
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  // That of the call which this thread makes or works for, or null; and another in its place.
  static Interruption* current() noexcept;
  static Interruption* exchange_current(Interruption* other) noexcept;

  // Asks if it is time to, on the thread that makes the call.
  bool is_requested() noexcept;
  // Without asking.
  bool was_requested() const noexcept { return was_requested_.load(std::memory_order_relaxed); }

 private:
  bool is_time_to_ask() noexcept;

  const Question shall_stop_;
  void* const context_;
  const std::thread::id caller_;
  Interruption* const outer_;
  std::int64_t last_look_, next_question_;  // milliseconds
  int looks_to_skip_ = 0;
  std::atomic<bool> was_requested_{false};
};

// While it lives, this thread works for a call that another one makes.
class WorkFor {
 public:
  explicit WorkFor(Interruption* call) noexcept : own_(Interruption::exchange_current(call)) {}
  ~WorkFor() { Interruption::exchange_current(own_); }
  WorkFor(const WorkFor&) = delete;
  WorkFor& operator=(const WorkFor&) = delete;

 private:
  Interruption* const own_;
};

// Whether this thread's call was stopped. parallel_for asks before every task; a task that can take longer than some
// tens of milliseconds asks between its pieces too, and leaves out the rest: nobody reads it.
inline bool is_interrupted() noexcept {
  Interruption* const call = Interruption::current();
  return call != nullptr && call->is_requested();
}

}  // namespace convpool
