#include "runtime/matrix_unit.hpp"

#if defined(__linux__) && defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace convpool {

namespace {

// arch_prctl(2) and the kernel's Documentation/arch/x86/xstate.rst.
constexpr int kGetSupported = 0x1021, kRequestPermission = 0x1023, kTileData = 18;

}  // namespace

bool has_matrix_unit() {
  constexpr unsigned kBFloat16 = 1u << 22, kTiles = 1u << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBFloat16) == 0 || (d & kTiles) == 0) return false;
  std::uint64_t features = 0;
  return syscall(SYS_arch_prctl, kGetSupported, &features) == 0 && (features >> kTileData & 1) != 0;
}

bool permits_matrix_unit() { return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0; }

}  // namespace convpool

#else

namespace convpool {

bool has_matrix_unit() { return false; }

bool permits_matrix_unit() { return false; }

}  // namespace convpool

#endif
