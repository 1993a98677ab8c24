#include "runtime/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <pthread.h>
#endif

#include "runtime/interruption.hpp"
#include "runtime/processors.hpp"
#include "runtime/thread_pool.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// About 10 to 15 microseconds of work: below it a helper comes too late (note 11).
constexpr std::int64_t kSerialWork = 60'000;

std::atomic<int> process_threads{0};
thread_local int thread_override = 0;
std::atomic<bool> has_forked{false};
std::atomic<bool> pool_has_run{false};

// The runtime has read OMP_NUM_THREADS, and is asked each time: its own number may be changed (threadpoolctl does
// that).
int automatic_threads() {
#ifdef _OPENMP
  static const int allowed = std::min(affinity_processors(), quota_processors());
  return std::max(1, std::min(allowed, omp_get_max_threads()));
#else
  return 1;
#endif
}

// Registered once, before the first parallel region: the child of a fork must never enter a region.
void watch_forks() {
#ifdef __linux__
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    if (pool_has_run.load(std::memory_order_relaxed)) has_forked.store(true, std::memory_order_relaxed);
  });
  (void)registered;
#endif
}

}  // namespace

int default_threads() {
  if (thread_override > 0) return thread_override;
  const int setting = process_threads.load(std::memory_order_relaxed);
  return setting > 0 ? setting : automatic_threads();
}

void set_default_threads(int threads) { process_threads.store(threads, std::memory_order_relaxed); }

int exchange_thread_override(int threads) { return std::exchange(thread_override, threads); }

int worker_count(int requested_threads, std::int64_t tasks, std::int64_t work) {
  if (tasks <= 1 || work < kSerialWork || has_forked.load(std::memory_order_relaxed)) return 1;
#ifdef _OPENMP
  if (omp_in_parallel()) return 1;
#endif
  const std::int64_t threads = requested_threads > 0 ? requested_threads : default_threads();
  return static_cast<int>(std::min(threads, tasks));
}

std::string openmp_runtime() {
#if defined(_OPENMP) && defined(__clang__)
  return "libomp (OpenMP " + std::to_string(_OPENMP) + ")";
#elif defined(_OPENMP)
  return "libgomp (OpenMP " + std::to_string(_OPENMP) + ")";
#else
  return "none: built without OpenMP, every call runs in one thread";
#endif
}

namespace {

// Tasks that helpers do for a call which may be stopped.
struct Loop {
  TaskFunction function;
  void* context;
  Interruption* call;

  static void run(void* loop_pointer, std::int64_t task, int worker) noexcept {
    const Loop& loop = *static_cast<const Loop*>(loop_pointer);
    const WorkFor work(loop.call);
    if (!is_interrupted()) loop.function(loop.context, task, worker);
  }
};

}  // namespace

namespace detail {

void run_tasks(std::int64_t tasks, int workers, TaskFunction function, void* context) {
  if (ScratchMeter::current() != nullptr) return;
  Interruption* const call = Interruption::current();
  if (workers <= 1) {
    for (std::int64_t task = 0; task < tasks && !is_interrupted(); ++task) function(context, task, 0);
  } else {
    watch_forks();
    pool_has_run.store(true, std::memory_order_relaxed);
    Loop loop{function, context, call};
    ThreadPool::instance().run(tasks, workers, Loop::run, &loop);
  }
  if (call != nullptr && call->was_requested()) throw Interrupted{};
}

}  // namespace detail

}  // namespace convpool
