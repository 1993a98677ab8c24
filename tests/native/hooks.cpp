#include "hooks.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace driver {

namespace {

unsigned char filling_byte = 0;

}  // namespace

void set_filling(unsigned char byte) { filling_byte = byte; }
unsigned char filling() { return filling_byte; }

}  // namespace driver

extern "C" {

void* __real_aligned_alloc(std::size_t alignment, std::size_t bytes);

void* __wrap_aligned_alloc(std::size_t alignment, std::size_t bytes) {
  void* memory = __real_aligned_alloc(alignment, bytes);
  if (memory != nullptr) std::memset(memory, driver::filling_byte, bytes);
  return memory;
}

// convpool::worker_count without its least work: threads share the smallest problem.
int __wrap__ZN8convpool12worker_countEill(int requested_threads, std::int64_t tasks, std::int64_t) {
  return static_cast<int>(std::min<std::int64_t>(std::max(requested_threads, 1), std::max<std::int64_t>(tasks, 1)));
}
}
