// The kernel set for AVX-512 F, BW, DQ and VL (x86-64-v4).
#include "kernels/table.hpp"

#include <immintrin.h>

#define CONVPOOL_VECTOR_BYTES 64

namespace convpool::avx512 {

constexpr int kRegisters = 32;
// Largest accumulator tiles that leave registers for the operands.
constexpr int kWeightRows = 8, kPixelVectors = 3, kGradientRows = 6, kChannelVectors = 4;

#include "kernels/vector.inl.hpp"

static inline __attribute__((always_inline)) __m512 multiply_add(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}
static inline __attribute__((always_inline)) __m512d multiply_add(__m512d a, __m512d b, __m512d c) {
  return _mm512_fmadd_pd(a, b, c);
}

#include "kernels/bodies.inl.hpp"

}  // namespace convpool::avx512

namespace convpool {
extern const KernelTable table_avx512 = avx512::make_table("avx512");
}  // namespace convpool
