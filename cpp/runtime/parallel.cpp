#include "runtime/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

#include "runtime/thread_pool.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// About 50 microseconds of work. Below it a second thread gains little on a quiet machine and loses much on a busy one,
// where a team waits for whichever of its threads is not running.
constexpr std::int64_t kSerialWork = 200'000;

std::atomic<int> process_threads{0};
thread_local int thread_override = 0;
std::atomic<bool> has_forked{false};
std::atomic<bool> pool_has_run{false};

int affinity_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Whole processors the control group grants (rounded up), or a large number without a limit.
int quota_cores() {
  constexpr int kNoLimit = 1 << 16;
  std::string quota;
  double period = 0;
  std::ifstream unified("/sys/fs/cgroup/cpu.max");
  if (unified >> quota >> period && quota != "max" && period > 0) {
    return std::max(1, static_cast<int>((std::atof(quota.c_str()) + period - 1) / period));
  }
  double legacy_quota = -1, legacy_period = 0;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> legacy_quota;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> legacy_period;
  if (legacy_quota <= 0 || legacy_period <= 0) return kNoLimit;
  return std::max(1, static_cast<int>((legacy_quota + legacy_period - 1) / legacy_period));
}

int automatic_threads() {
  static const int threads = [] {
    const int allowed = std::min(affinity_cores(), quota_cores());
#ifdef _OPENMP
    return std::max(1, std::min(allowed, omp_get_max_threads()));  // the runtime has read OMP_NUM_THREADS
#else
    return (void)allowed, 1;
#endif
  }();
  return threads;
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

namespace detail {

void run_tasks(std::int64_t tasks, int workers, TaskFunction function, void* context) {
  if (ScratchMeter::current() != nullptr) return;
  if (workers <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) function(context, task, 0);
    return;
  }
  watch_forks();
  pool_has_run.store(true, std::memory_order_relaxed);
  ThreadPool::instance().run(tasks, workers, function, context);
}

}  // namespace detail

}  // namespace convpool
