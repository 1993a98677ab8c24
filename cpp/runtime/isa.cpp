#include "runtime/isa.hpp"

#include <atomic>
#include <cstdlib>

#include "geometry/error.hpp"
#include "runtime/matrix_unit.hpp"

namespace convpool {

extern const KernelTable table_baseline;
#ifdef CONVPOOL_HAS_X86_KERNELS
extern const KernelTable table_avx2;
extern const KernelTable table_avx512;
extern const MatrixSets matrices_amx;
#elif defined(CONVPOOL_HAS_ARM_KERNELS)
extern const KernelTable table_neon;
#endif

namespace {

struct KernelSet {
  const char* name;
  const KernelTable* table;
  bool (*is_supported)();
};

#ifdef CONVPOOL_HAS_X86_KERNELS
// By feature: older Clang does not know the levels (x86-64-v3) by name. What else a level holds came with these.
bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
bool has_v3() {
  return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_amx() { return has_v4() && has_matrix_unit(); }

// The kernels of AVX-512 with products of matrices beside them.
const KernelTable table_amx = [] {
  KernelTable table = table_avx512;
  table.isa = "amx";
  table.matrices = &matrices_amx;
  return table;
}();
#endif

// Best first. A new instruction set is one row here and one in CMakeLists.txt.
const KernelSet kKernelSets[] = {
#ifdef CONVPOOL_HAS_X86_KERNELS
    {"amx", &table_amx, has_amx},
    {"avx512", &table_avx512, has_v4},
    {"avx2", &table_avx2, has_v3},
    {"baseline", &table_baseline, has_v2},
#else
#ifdef CONVPOOL_HAS_ARM_KERNELS
    {"neon", &table_neon, [] { return true; }},
#endif
    {"baseline", &table_baseline, [] { return true; }},
#endif
    {"reference", nullptr, [] { return true; }},
};

const KernelSet* best_set() {
  for (const KernelSet& set : kKernelSets)
    if (set.is_supported()) return &set;
  return nullptr;  // unreachable: the reference is always supported
}

std::atomic<const KernelSet*>& selection() {
  static std::atomic<const KernelSet*> selected{best_set()};
  return selected;
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : ", \"") + name + "\"";
  return text;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const KernelSet& set : kKernelSets)
    if (set.is_supported()) names.emplace_back(set.name);
  return names;
}

std::string selected_isa() { return selection().load(std::memory_order_acquire)->name; }

void select_isa(const std::string& name) {
  for (const KernelSet& set : kKernelSets) {
    if (name != set.name || !set.is_supported()) continue;
    selection().store(&set, std::memory_order_release);
    return;
  }
  reject("convpool", "CONVPOOL_ISA", "one of " + quoted_list(available_isas()) + " on this processor",
         "\"" + name + "\"");
}

void select_isa_from_environment() {
  const char* name = std::getenv("CONVPOOL_ISA");
  if (name != nullptr && *name != '\0') select_isa(name);
}

const MatrixSets* usable_matrices(const KernelTable& table) {
  if (table.matrices == nullptr) return nullptr;
  static const bool is_permitted = permits_matrix_unit();
  return is_permitted ? table.matrices : nullptr;
}

const KernelTable* selected_kernels() { return selection().load(std::memory_order_acquire)->table; }

}  // namespace convpool
