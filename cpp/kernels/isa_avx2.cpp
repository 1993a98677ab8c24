// The kernel set for AVX2 and FMA (x86-64-v3).
#include "kernels/table.hpp"

#include <immintrin.h>

#define CONVPOOL_VECTOR_BYTES 32

namespace convpool::avx2 {

constexpr bool kHasFusedMultiplyAdd = true;
constexpr int kRegisters = 16;
// Largest accumulator tiles that leave registers for the operands.
constexpr int kWeightRows = 4, kPixelVectors = 3, kGradientRows = 6, kChannelVectors = 2;

#include "kernels/vector.inl.hpp"

static inline __attribute__((always_inline)) __m256 multiply_add(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}
static inline __attribute__((always_inline)) __m256d multiply_add(__m256d a, __m256d b, __m256d c) {
  return _mm256_fmadd_pd(a, b, c);
}

#include "kernels/first_lanes.inl.hpp"
#include "kernels/bodies.inl.hpp"

}  // namespace convpool::avx2

namespace convpool {
extern const KernelTable table_avx2 = avx2::make_table("avx2");
}  // namespace convpool
