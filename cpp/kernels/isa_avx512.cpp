// The kernel set for AVX-512 F, BW, DQ and VL (x86-64-v4).
#include "kernels/table.hpp"

#include <immintrin.h>

#define CONVPOOL_VECTOR_BYTES 64

namespace convpool::avx512 {

constexpr bool kHasFusedMultiplyAdd = true;
constexpr int kRegisters = 32;
// Largest accumulator tiles that leave registers for the operands.
constexpr int kWeightRows = 8, kPixelVectors = 3, kGradientRows = 6, kChannelVectors = 4;

#include "kernels/vector.inl.hpp"
#include "kernels/lanes.inl.hpp"

static inline __attribute__((always_inline)) __m512 multiply_add(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}
static inline __attribute__((always_inline)) __m512d multiply_add(__m512d a, __m512d b, __m512d c) {
  return _mm512_fmadd_pd(a, b, c);
}
static inline __attribute__((always_inline)) __m256 multiply_add(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}

// The first `count` lanes of a vector: nothing else is read or written, the other lanes are 0.
template <class T>
static inline __attribute__((always_inline)) Vector<T> load_first(const T* source, Index count) {
  const unsigned long long lanes = _bzhi_u64(~0ull, static_cast<unsigned>(count));
  if constexpr (sizeof(T) == 1) return (Vector<T>)_mm512_maskz_loadu_epi8(lanes, source);
  else if constexpr (sizeof(T) == 2) return (Vector<T>)_mm512_maskz_loadu_epi16(static_cast<__mmask32>(lanes), source);
  else if constexpr (sizeof(T) == 4) return (Vector<T>)_mm512_maskz_loadu_epi32(static_cast<__mmask16>(lanes), source);
  else return (Vector<T>)_mm512_maskz_loadu_epi64(static_cast<__mmask8>(lanes), source);
}

template <class T>
static inline __attribute__((always_inline)) void store_first(T* target, Vector<T> value, Index count) {
  const unsigned long long lanes = _bzhi_u64(~0ull, static_cast<unsigned>(count));
  const __m512i bits = (__m512i)value;
  if constexpr (sizeof(T) == 1) _mm512_mask_storeu_epi8(target, lanes, bits);
  else if constexpr (sizeof(T) == 2) _mm512_mask_storeu_epi16(target, static_cast<__mmask32>(lanes), bits);
  else if constexpr (sizeof(T) == 4) _mm512_mask_storeu_epi32(target, static_cast<__mmask16>(lanes), bits);
  else _mm512_mask_storeu_epi64(target, static_cast<__mmask8>(lanes), bits);
}

// The same from elements that lie `stride` apart.
template <class T>
static inline __attribute__((always_inline)) Vector<T> load_first_apart(const T* source, Index count, Index stride) {
  if (stride == 1) return load_first(source, count);
  Vector<T> value{};
  const unsigned lanes = _bzhi_u32(~0u, static_cast<unsigned>(count));
  const __m512i steps = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0) * _mm512_set1_epi64(stride);
  if constexpr (sizeof(T) == 8) {
    value = _mm512_mask_i64gather_pd(value, static_cast<__mmask8>(lanes), steps, source, 8);
  } else {
    const __m256 low = _mm512_mask_i64gather_ps(__m256{}, static_cast<__mmask8>(lanes), steps, source, 4);
    const __m256 high =
        _mm512_mask_i64gather_ps(__m256{}, static_cast<__mmask8>(lanes >> 8), steps, source + 8 * stride, 4);
    value = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  return value;
}

// The lanes [from, to) of a vector, those that exist: only these are read, the others are `others`. Sources are as wide
// as T.
template <class T>
class LaneSpan {
 public:
  static constexpr bool kHasMasks = true;
  LaneSpan() = default;
  LaneSpan(Index from, Index to) : lanes_(first_lanes(to) & ~first_lanes(from)) {}

  template <class U>
  inline __attribute__((always_inline)) Vector<U> load(const U* source, Vector<U> others) const {
    static_assert(sizeof(U) == sizeof(T));
    const __m512i rest = (__m512i)others;
    if constexpr (sizeof(U) == 1) return (Vector<U>)_mm512_mask_loadu_epi8(rest, lanes_, source);
    else if constexpr (sizeof(U) == 2)
      return (Vector<U>)_mm512_mask_loadu_epi16(rest, static_cast<__mmask32>(lanes_), source);
    else if constexpr (sizeof(U) == 4)
      return (Vector<U>)_mm512_mask_loadu_epi32(rest, static_cast<__mmask16>(lanes_), source);
    else return (Vector<U>)_mm512_mask_loadu_epi64(rest, static_cast<__mmask8>(lanes_), source);
  }

 private:
  static unsigned long long first_lanes(Index count) {
    return count <= 0 ? 0 : _bzhi_u64(~0ull, static_cast<unsigned>(count < 64 ? count : 64));
  }
  unsigned long long lanes_;
};

#include "kernels/bodies.inl.hpp"

}  // namespace convpool::avx512

namespace convpool {
extern const KernelTable table_avx512 = avx512::make_table("avx512");
}  // namespace convpool
