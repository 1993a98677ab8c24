// Threads, instruction sets and the probes that benchmarks relate themselves to.
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "bindings/arguments.hpp"
#include "bindings/module.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool::bindings {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Best of repeated runs within `seconds`: amount(run) per second.
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

// Float32 multiply-adds per second, counted as two operations, of num_threads threads together.
double probe_fma(double seconds, int num_threads) {
  constexpr std::int64_t kRounds = 200'000;
  const KernelTable* table = selected_kernels();
  if (table == nullptr) return 0;
  const py::gil_scoped_release nogil;
  return best_rate(seconds, [&] {
    double flops = 0;
    parallel_for(num_threads, num_threads, [&](std::int64_t task, int) {
      const double done = table->fma_peak(kRounds);
      if (task == 0) flops = done * num_threads;
    });
    return flops;
  });
}

// Bytes read and written per second by copying half of `bytes` to the other half.
double probe_copy(std::int64_t bytes, double seconds, int num_threads) {
  const std::size_t share = static_cast<std::size_t>(bytes) / 2 / static_cast<std::size_t>(num_threads);
  const Workspace memory(num_threads, 2 * share + 1);
  for (int worker = 0; worker < num_threads; ++worker) std::memset(memory.of(worker), 1, 2 * share);
  const py::gil_scoped_release nogil;
  return best_rate(seconds, [&] {
    parallel_for(num_threads, num_threads, [&](std::int64_t task, int) {
      std::byte* base = memory.of(static_cast<int>(task));
      std::memcpy(base + share, base, share);
    });
    return 2.0 * static_cast<double>(share) * num_threads;
  });
}

}  // namespace

void bind_runtime(py::module_& module) {
  module.def("available_isas", &available_isas);
  module.def("selected_isa", &selected_isa);
  module.def("select_isa", [](py::object name) { select_isa(to_text("select_isa", "name", name)); });
  module.def("get_num_threads", &default_threads);
  module.def("set_num_threads",
             [](py::object threads) { set_default_threads(to_thread_count("set_num_threads", threads)); });
  module.def("exchange_thread_override",
             [](py::object threads) { return exchange_thread_override(to_thread_count("num_threads", threads)); });
  module.def("openmp_runtime", &openmp_runtime);
  module.def("compiler", [] { return std::string(CONVPOOL_COMPILER); });
  module.def("probe_fma", &probe_fma, py::arg("seconds"), py::arg("num_threads"));
  module.def("probe_copy", &probe_copy, py::arg("bytes"), py::arg("seconds"), py::arg("num_threads"));
}

}  // namespace convpool::bindings
