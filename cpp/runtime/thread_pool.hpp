// Threads that wait for work and help the thread that brings it.
//
// Unlike with a team of OpenMP, nobody waits for a helper that has not begun: where other threads want the processors
// too, such as those of NumPy's matrix products, a helper may come milliseconds late, and the caller then does its
// share (note 28). Helpers stay awake for a while, since calls follow each other, but let any other thread go first.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

namespace convpool {

using TaskFunction = void (*)(void* context, std::int64_t task, int worker) noexcept;

// For sections of some instructions.
class SpinLock {
 public:
  void lock() noexcept;
  void unlock() noexcept { is_taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> is_taken_{false};
};

class ThreadPool {
 public:
  // Never destroyed: its threads run until the process ends. The child of a fork has none of them and must not use it.
  static ThreadPool& instance();

  // Calls function(context, task, worker) for every task in [0, tasks): the calling thread is worker 0, helpers are
  // workers 1 to workers - 1. Several threads may call at once; they share the helpers.
  void run(std::int64_t tasks, int workers, TaskFunction function, void* context);

 private:
  // Neighbouring tasks, in a cache line of their own.
  struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t stop = 0;

    bool is_done() const noexcept { return next.load(std::memory_order_relaxed) >= stop; }
  };
  static constexpr int kMostShares = 32;

  // Every worker has a share that it begins with. With two, the same thread has the same one in every call with as many
  // tasks: its cache may still hold what the last call left there. Who is done helps the others.
  struct Job {
    TaskFunction function;
    void* context;
    int most_helpers;
    int helpers = 0;              // that have joined; guarded by list_
    std::atomic<int> working{0};  // helpers that have not finished
    int share_count;
    Share shares[kMostShares];

    Job(std::int64_t tasks, int workers, TaskFunction function, void* context) noexcept;
    bool is_done() const noexcept;
    void work(int worker) noexcept;
  };

  void start_threads(int count) noexcept;
  void add_job(Job& job);
  void remove_job(Job& job) noexcept;
  Job* join_job(int& worker) noexcept;
  void help() noexcept;
  void wait_for_job(std::uint64_t seen) noexcept;

  SpinLock list_;
  std::vector<Job*> jobs_;  // that helpers may join; guarded by list_
  std::atomic<std::uint64_t> jobs_added_{0};
  std::mutex mutex_;  // of what follows
  std::condition_variable job_added_;
  std::atomic<int> threads_{0}, sleepers_{0};
};

}  // namespace convpool
