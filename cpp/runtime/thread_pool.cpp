#include "runtime/thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <thread>

#ifdef __linux__
#include <pthread.h>
#endif

namespace convpool {

namespace {

constexpr int kPauses = 500;  // some tens of microseconds
constexpr std::chrono::milliseconds kAwake{5};

void pause_processor() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// False if the condition, which another thread makes true, does not hold by then.
template <class Condition>
bool pause_until(const Condition& holds) noexcept {
  for (int pause = 0; pause < kPauses; ++pause) {
    if (holds()) return true;
    pause_processor();
  }
  return false;
}

template <class Condition>
void wait_until(const Condition& holds) noexcept {
  if (pause_until(holds)) return;
  while (!holds()) std::this_thread::yield();
}

// Threads that begin meanwhile leave the program's signals to the program's threads.
class BlockedSignals {
#ifdef __linux__
 public:
  BlockedSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
#endif
};

}  // namespace

void SpinLock::lock() noexcept {
  wait_until([this] { return !is_taken_.exchange(true, std::memory_order_acquire); });
}

ThreadPool& ThreadPool::instance() {
  static ThreadPool* const pool = new ThreadPool;
  return *pool;
}

ThreadPool::Job::Job(std::int64_t tasks, int workers, TaskFunction task_function, void* task_context) noexcept
    : function(task_function), context(task_context), most_helpers(workers - 1),
      share_count(std::min(workers, kMostShares)) {
  const std::int64_t share = tasks / share_count, left = tasks % share_count;
  for (std::int64_t i = 0; i < share_count; ++i) {
    shares[i].next.store(i * share + std::min(i, left), std::memory_order_relaxed);
    shares[i].stop = (i + 1) * share + std::min(i + 1, left);
  }
}

bool ThreadPool::Job::is_done() const noexcept {
  return std::all_of(shares, shares + share_count, [](const Share& share) { return share.is_done(); });
}

void ThreadPool::Job::work(int worker) noexcept {
  for (int i = 0; i < share_count; ++i) {
    Share& share = shares[(worker + i) % share_count];
    while (!share.is_done()) {
      const std::int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
      if (task < share.stop) function(context, task, worker);
    }
  }
}

void ThreadPool::run(std::int64_t tasks, int workers, TaskFunction function, void* context) {
  Job job(tasks, workers, function, context);
  start_threads(job.most_helpers);
  add_job(job);
  job.work(0);
  remove_job(job);
  wait_until([&job] { return job.working.load(std::memory_order_acquire) == 0; });
}

// As many as the system allows: a job needs no helper.
void ThreadPool::start_threads(int count) noexcept {
  if (count <= threads_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(mutex_);
  const BlockedSignals inherited;
  try {
    for (; threads_.load(std::memory_order_relaxed) < count; threads_.fetch_add(1, std::memory_order_relaxed))
      std::thread([this] { help(); }).detach();
  } catch (const std::exception&) {
  }
}

void ThreadPool::add_job(Job& job) {
  {
    const std::lock_guard lock(list_);
    jobs_.push_back(&job);
  }
  jobs_added_.fetch_add(1);
  if (sleepers_.load() == 0) return;
  // A sleeper that has not seen the number holds the mutex until it waits.
  {
    const std::lock_guard lock(mutex_);
  }
  job_added_.notify_all();
}

void ThreadPool::remove_job(Job& job) noexcept {
  const std::lock_guard lock(list_);
  jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
}

ThreadPool::Job* ThreadPool::join_job(int& worker) noexcept {
  const std::lock_guard lock(list_);
  for (Job* job : jobs_) {
    if (job->helpers == job->most_helpers || job->is_done()) continue;
    worker = ++job->helpers;
    job->working.fetch_add(1, std::memory_order_relaxed);
    return job;
  }
  return nullptr;
}

void ThreadPool::help() noexcept {
  for (;;) {
    const std::uint64_t seen = jobs_added_.load();
    int worker = 0;
    if (Job* const job = join_job(worker)) {
      job->work(worker);
      job->working.fetch_sub(1, std::memory_order_release);  // the last of this job: its caller may be gone now
    } else {
      wait_for_job(seen);
    }
  }
}

void ThreadPool::wait_for_job(std::uint64_t seen) noexcept {
  const auto is_there = [&] { return jobs_added_.load() != seen; };
  if (pause_until(is_there)) return;
  const auto stop = std::chrono::steady_clock::now() + kAwake;
  while (std::chrono::steady_clock::now() < stop) {
    if (is_there()) return;
    std::this_thread::yield();
  }
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1);
  job_added_.wait(lock, is_there);
  sleepers_.fetch_sub(1);
}

}  // namespace convpool
