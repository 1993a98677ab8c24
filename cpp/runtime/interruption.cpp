#include "runtime/interruption.hpp"

#include <chrono>
#include <ctime>

namespace convpool {

namespace {

constexpr std::int64_t kMillisecondsBetween = 50;
constexpr int kSkippedLooks = 7;  // at the clock, where it stood still between two: tasks may take nanoseconds

thread_local Interruption* current_call = nullptr;

// Some milliseconds coarse where that is cheaper to read.
std::int64_t milliseconds_now() noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
#else
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
#endif
}

}  // namespace

Interruption::Interruption(Question shall_stop, void* context) noexcept
    : shall_stop_(shall_stop), context_(context), caller_(std::this_thread::get_id()), outer_(exchange_current(this)),
      last_look_(milliseconds_now()), next_question_(last_look_ + kMillisecondsBetween) {}

Interruption::~Interruption() { exchange_current(outer_); }

Interruption* Interruption::current() noexcept { return current_call; }

Interruption* Interruption::exchange_current(Interruption* other) noexcept {
  Interruption* const before = current_call;
  current_call = other;
  return before;
}

bool Interruption::is_time_to_ask() noexcept {
  if (std::this_thread::get_id() != caller_ || --looks_to_skip_ >= 0) return false;
  const std::int64_t now = milliseconds_now();
  looks_to_skip_ = now == last_look_ ? kSkippedLooks : 0;
  last_look_ = now;
  if (now < next_question_) return false;
  next_question_ = now + kMillisecondsBetween;
  return true;
}

bool Interruption::is_requested() noexcept {
  if (was_requested()) return true;
  if (!is_time_to_ask() || !shall_stop_(context_)) return false;
  was_requested_.store(true, std::memory_order_relaxed);
  return true;
}

}  // namespace convpool
