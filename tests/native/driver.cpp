// Runs every operation, pass, layout, algorithm and kernel set against the reference loops, without Python:
// driver [--isa NAME]... [--threads N]... [--only PART_OF_A_NAME] [--quick] [--race]
#include "driver.hpp"

#include <atomic>
#include <csignal>
#include <thread>

#include "runtime/parallel.hpp"

namespace driver {

namespace {

// Rows of the plans that every kernel set has to reach, those of convolution in each pass; tests/test_codebase.py
// compares them with the plans.
const std::vector<std::string> kConvAlgorithms = {"depthwise_planes", "lanes",        "winograd_f4", "winograd_f2",
                                                  "row_tiles",        "output_lanes", "pixel_tiles", "packed_tiles"};
const std::vector<std::string> kGradientAlgorithms = {"depthwise_spread grad_input", "channel_dots grad_input",
                                                      "plane_tiles grad_weight"};
const std::vector<std::string> kWideAlgorithms = {"depthwise_small_planes"};  // of registers that hold eight elements
const std::vector<std::string> kMatrixAlgorithms = {"bf16x3", "bf16x6"};      // of AMX alone
const std::vector<std::string> kPoolAlgorithms = {"direct", "separable", "scatter"};

std::vector<std::string> required_runs(const std::string& isa) {
  std::vector<std::string> runs = kPoolAlgorithms;
  std::vector<std::string> algorithms = kConvAlgorithms;
  if (isa == "avx2" || isa == "avx512" || isa == "amx")
    algorithms.insert(algorithms.end(), kWideAlgorithms.begin(), kWideAlgorithms.end());
  if (isa == "amx") algorithms.insert(algorithms.end(), kMatrixAlgorithms.begin(), kMatrixAlgorithms.end());
  for (const std::string& algorithm : algorithms)
    for (const char* pass : {"forward", "grad_input", "grad_weight"}) runs.push_back(algorithm + " " + pass);
  runs.insert(runs.end(), kGradientAlgorithms.begin(), kGradientAlgorithms.end());
  return runs;
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "--race") options.is_race = true;
    else if (name == "--quick") options.is_quick = true;
    else if (i + 1 == count)
      std::fprintf(stderr, "driver: %s is unknown, or without its value\n", name.c_str()), std::exit(2);
    else if (name == "--isa") options.isas.push_back(arguments[++i]);
    else if (name == "--threads") options.threads.push_back(std::atoi(arguments[++i]));
    else if (name == "--only") options.only = arguments[++i];
    else std::fprintf(stderr, "driver: %s is unknown\n", name.c_str()), std::exit(2);
  }
  if (options.isas.empty()) options.isas = convpool::available_isas();
  if (options.threads.empty()) options.threads = {1, 2, 3, 7};
  return options;
}

// The positive control of a race detector: two workers add to one number without order. They wait for each other, so
// that neither does it all, in a way that orders nothing.
void race() {
  std::atomic<int> arrived{0};
  std::int64_t sum = 0;
  convpool::parallel_for(2, 2, [&](std::int64_t task, int) {
    arrived.fetch_add(1, std::memory_order_relaxed);
    while (arrived.load(std::memory_order_relaxed) < 2) std::this_thread::yield();
    sum += task;
  });
  std::printf("a sum with a race: %lld\n", static_cast<long long>(sum));
}

// A case that kills the process is named first.
void name_the_case(int signal) {
  std::signal(signal, SIG_DFL);
  const char* name = Report::running();
  const ssize_t written = write(STDERR_FILENO, name, std::strlen(name));
  std::raise(written < 0 ? SIGABRT : signal);
}

}  // namespace

int Report::finish(bool is_whole) const {
  std::int64_t missing = 0;
  std::map<std::string, std::int64_t> sums;
  for (const auto& [key, count] : runs_) {
    std::printf("%-10s %-28s %lld\n", key.first.c_str(), key.second.c_str(), static_cast<long long>(count));
    sums[key.first] += count;
  }
  for (const auto& [isa, count] : sums)
    for (const std::string& run : required_runs(isa)) {
      if (!is_whole || isa == "reference" || runs_.count({isa, run}) > 0) continue;
      std::printf("FAILED: %s never ran %s\n", isa.c_str(), run.c_str());
      missing += 1;
    }
  std::printf("%lld results checked, %lld failed\n", static_cast<long long>(checks_),
              static_cast<long long>(failures_ + missing));
  return failures_ + missing == 0 && checks_ > 0 ? 0 : 1;
}

int main(int count, char** arguments) {
  const Options options = parse(count, arguments);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) std::signal(signal, name_the_case);
  if (options.is_race) return race(), 0;
  Report report(options);
  run_conv_cases(report);
  run_pool_cases(report);
  return report.finish(options.only.empty());
}

}  // namespace driver

int main(int count, char** arguments) { return driver::main(count, arguments); }
