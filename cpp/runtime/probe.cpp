#include "runtime/probe.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Best of repeated runs within `seconds`: amount done per second.
template <class Run>
double best_rate(double seconds, Run&& run) {
  double best = 0;
  for (const Clock::time_point begin = Clock::now(); best == 0 || seconds_since(begin) < seconds;) {
    const Clock::time_point start = Clock::now();
    const double amount = run();
    best = std::max(best, amount / seconds_since(start));
  }
  return best;
}

}  // namespace

double probe_fma(double seconds, int num_threads) {
  constexpr std::int64_t kRounds = 200'000;
  const KernelTable* table = selected_kernels();
  if (table == nullptr) return 0;
  return best_rate(seconds, [&] {
    double flops = 0;
    parallel_for(num_threads, num_threads, [&](std::int64_t task, int) {
      const double done = table->fma_peak(kRounds);
      if (task == 0) flops = done * num_threads;
    });
    return flops;
  });
}

double probe_copy(std::int64_t bytes, double seconds, int num_threads) {
  const std::size_t share = static_cast<std::size_t>(bytes) / 2 / static_cast<std::size_t>(num_threads);
  const Workspace memory(num_threads, 2 * share + 1);
  for (int worker = 0; worker < num_threads; ++worker) std::memset(memory.of(worker), 1, 2 * share);
  return best_rate(seconds, [&] {
    parallel_for(num_threads, num_threads, [&](std::int64_t task, int) {
      std::byte* base = memory.of(static_cast<int>(task));
      std::memcpy(base + share, base, share);
    });
    return 2.0 * static_cast<double>(share) * num_threads;
  });
}

}  // namespace convpool
