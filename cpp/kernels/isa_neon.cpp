// The kernel set for 64-bit ARM: Advanced SIMD, which every such processor has.
#include "kernels/table.hpp"

#include <arm_neon.h>

#define CONVPOOL_VECTOR_BYTES 16

namespace convpool::neon {

constexpr bool kHasFusedMultiplyAdd = true;
constexpr int kRegisters = 32;
// Largest accumulator tiles that leave registers for the operands.
constexpr int kWeightRows = 8, kPixelVectors = 3, kGradientRows = 6, kChannelVectors = 4;

#include "kernels/vector.inl.hpp"
#include "kernels/lanes.inl.hpp"

static inline __attribute__((always_inline)) float32x4_t multiply_add(float32x4_t a, float32x4_t b, float32x4_t c) {
  return vfmaq_f32(c, a, b);
}
static inline __attribute__((always_inline)) float64x2_t multiply_add(float64x2_t a, float64x2_t b, float64x2_t c) {
  return vfmaq_f64(c, a, b);
}

#include "kernels/first_lanes.inl.hpp"
#include "kernels/bodies.inl.hpp"

}  // namespace convpool::neon

namespace convpool {
extern const KernelTable table_neon = neon::make_table("neon");
}  // namespace convpool
