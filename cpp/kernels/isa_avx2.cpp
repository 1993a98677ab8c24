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

// Elements of four and of eight bytes have masks here: all bits of a lane of the span are set.
template <class T>
class LaneSpan<T, 4> {
 public:
  static constexpr bool kHasMasks = true;
  LaneSpan() = default;
  inline __attribute__((always_inline)) LaneSpan(Index from, Index to) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    lanes_ = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lane_within(from, 8)), lanes),
                                 _mm256_cmpgt_epi32(_mm256_set1_epi32(lane_within(to, 8)), lanes));
  }
  inline __attribute__((always_inline)) Vector<T> load(const T* source) const {
    return (Vector<T>)_mm256_maskload_epi32(reinterpret_cast<const int*>(source), lanes_);
  }
  inline __attribute__((always_inline)) Vector<T> load(const T* source, Vector<T> others) const {
    return (Vector<T>)_mm256_blendv_epi8((__m256i)others, (__m256i)load(source), lanes_);
  }
  inline __attribute__((always_inline)) void store(T* target, Vector<T> value) const {
    _mm256_maskstore_epi32(reinterpret_cast<int*>(target), lanes_, (__m256i)value);
  }

 private:
  __m256i lanes_;
};

template <class T>
class LaneSpan<T, 8> {
 public:
  static constexpr bool kHasMasks = true;
  LaneSpan() = default;
  inline __attribute__((always_inline)) LaneSpan(Index from, Index to) {
    const __m256i lanes = _mm256_setr_epi64x(0, 1, 2, 3);
    lanes_ = _mm256_andnot_si256(_mm256_cmpgt_epi64(_mm256_set1_epi64x(lane_within(from, 4)), lanes),
                                 _mm256_cmpgt_epi64(_mm256_set1_epi64x(lane_within(to, 4)), lanes));
  }
  inline __attribute__((always_inline)) Vector<T> load(const T* source) const {
    return (Vector<T>)_mm256_maskload_epi64(reinterpret_cast<const long long*>(source), lanes_);
  }
  inline __attribute__((always_inline)) Vector<T> load(const T* source, Vector<T> others) const {
    return (Vector<T>)_mm256_blendv_epi8((__m256i)others, (__m256i)load(source), lanes_);
  }
  inline __attribute__((always_inline)) void store(T* target, Vector<T> value) const {
    _mm256_maskstore_epi64(reinterpret_cast<long long*>(target), lanes_, (__m256i)value);
  }

 private:
  __m256i lanes_;
};

#include "kernels/bodies.inl.hpp"

}  // namespace convpool::avx2

namespace convpool {
extern const KernelTable table_avx2 = avx2::make_table("avx2");
}  // namespace convpool
