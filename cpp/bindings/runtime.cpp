// Threads, instruction sets and the probes that benchmarks relate themselves to.
#include <pybind11/stl.h>

#include "bindings/arguments.hpp"
#include "bindings/module.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/probe.hpp"
#include "runtime/processors.hpp"

namespace convpool::bindings {

namespace {

int threads_of_probe(const char* function, py::handle num_threads) {
  const int threads = to_thread_count(function, num_threads);
  return threads > 0 ? threads : default_threads();
}

double probe_fma_without_gil(double seconds, py::object num_threads) {
  const int threads = threads_of_probe("probe_fma", num_threads);
  const py::gil_scoped_release nogil;
  return probe_fma(seconds, threads);
}

double probe_copy_without_gil(std::int64_t bytes, double seconds, py::object num_threads) {
  const int threads = threads_of_probe("probe_copy", num_threads);
  require_range("probe_copy", "bytes", bytes, 1, std::int64_t{1} << 40);
  const py::gil_scoped_release nogil;
  return probe_copy(bytes, seconds, threads);
}

}  // namespace

void bind_runtime(py::module_& module) {
  module.def("available_isas", &available_isas);
  module.def("selected_isa", &selected_isa);
  module.def("select_isa", [](py::object name) { select_isa(std::string(to_text("select_isa", "name", name))); });
  module.def("get_num_threads", &default_threads);
  module.def("set_num_threads",
             [](py::object threads) { set_default_threads(to_thread_count("set_num_threads", threads)); });
  module.def("exchange_thread_override",
             [](py::object threads) { return exchange_thread_override(to_thread_count("num_threads", threads)); });
  module.def("quota_processors", &quota_processors, py::arg("root") = "");
  module.def("openmp_runtime", &openmp_runtime);
  module.def("compiler", [] { return std::string(CONVPOOL_COMPILER); });
  module.def("probe_fma", &probe_fma_without_gil, py::arg("seconds"), py::arg("num_threads"));
  module.def("probe_copy", &probe_copy_without_gil, py::arg("bytes"), py::arg("seconds"), py::arg("num_threads"));
}

}  // namespace convpool::bindings
