// The portable kernel set: what the compiler makes of 128-bit vectors on any architecture (x86-64-v2 here).
#include "kernels/table.hpp"

#define CONVPOOL_VECTOR_BYTES 16

namespace convpool::baseline {

constexpr bool kHasFusedMultiplyAdd = false;
constexpr int kRegisters = 16;
// Largest accumulator tiles that leave registers for the operands.
constexpr int kWeightRows = 4, kPixelVectors = 2, kGradientRows = 4, kChannelVectors = 2;

#include "kernels/vector.inl.hpp"
#include "kernels/lanes.inl.hpp"

// Two roundings: there is no fused instruction to rely on.
template <class V>
static inline __attribute__((always_inline)) V multiply_add(V a, V b, V c) {
  return a * b + c;
}

#include "kernels/first_lanes.inl.hpp"
#include "kernels/bodies.inl.hpp"

}  // namespace convpool::baseline

namespace convpool {
extern const KernelTable table_baseline = baseline::make_table("baseline");
}  // namespace convpool
