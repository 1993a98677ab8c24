// The only room that knows OpenMP.
//
// Determinism: a task's result must not depend on which worker runs it or on how many workers there are. Callers split
// outputs, never sums; where a sum is split, it is split into a number of slices that the thread count does not enter.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/thread_pool.hpp"

namespace convpool {

// Enough for any number of threads. Sums are split to make about so many tasks, since the split must not depend on it.
constexpr std::int64_t kWantedTasks = 16;

// Threads a call uses when it names none: the thread-local override, else the process-wide setting, else
// min(OMP_NUM_THREADS or cores, affinity mask, cgroup quota).
int default_threads();
void set_default_threads(int threads);      // 0: back to the automatic choice
int exchange_thread_override(int threads);  // this thread's override (0: none); returns the one before

// Workers for a job of `work` elements moved, or sixteen multiply-adds each, in `tasks` pieces. One inside
// another parallel region, in a forked child (threads do not survive a fork), and where the work is small.
int worker_count(int requested_threads, std::int64_t tasks, std::int64_t work);

std::string openmp_runtime();

namespace detail {
void run_tasks(std::int64_t tasks, int workers, TaskFunction function, void* context);
}  // namespace detail

// Calls body(task, worker) for every task in [0, tasks); worker is in [0, workers). The body must not throw, so it must
// not call parallel_for either. If the call is stopped (runtime/interruption.hpp), tasks are left out and Interrupted
// is thrown afterwards.
template <class Body>
void parallel_for(std::int64_t tasks, int workers, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  const auto call = [](void* context, std::int64_t task, int worker) noexcept {
    (*static_cast<Plain*>(context))(task, worker);
  };
  detail::run_tasks(tasks, workers, call, &body);
}

// The same for a body that may throw: the exception of the first worker that met one is thrown when all are done; a
// worker leaves its further tasks out.
template <class Body>
void parallel_for_each_or_throw(std::int64_t tasks, int workers, Body&& body) {
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(workers));
  parallel_for(tasks, workers, [&](std::int64_t task, int worker) {
    std::exception_ptr& failure = failures[static_cast<std::size_t>(worker)];
    if (failure != nullptr) return;
    try {
      body(task, worker);
    } catch (...) {
      failure = std::current_exception();
    }
  });
  for (const std::exception_ptr& failure : failures)
    if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace convpool
