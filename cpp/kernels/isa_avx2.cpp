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

// Floating types have masks here.
static inline __attribute__((always_inline)) __m256i first_of_8(Index count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline __attribute__((always_inline)) __m256i first_of_4(Index count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
template <>
inline __attribute__((always_inline)) Vector<float> load_first(const float* source, Index count) {
  return _mm256_maskload_ps(source, first_of_8(count));
}
template <>
inline __attribute__((always_inline)) Vector<double> load_first(const double* source, Index count) {
  return _mm256_maskload_pd(source, first_of_4(count));
}
template <>
inline __attribute__((always_inline)) void store_first(float* target, Vector<float> value, Index count) {
  _mm256_maskstore_ps(target, first_of_8(count), value);
}
template <>
inline __attribute__((always_inline)) void store_first(double* target, Vector<double> value, Index count) {
  _mm256_maskstore_pd(target, first_of_4(count), value);
}

#include "kernels/bodies.inl.hpp"

}  // namespace convpool::avx2

namespace convpool {
extern const KernelTable table_avx2 = avx2::make_table("avx2");
}  // namespace convpool
