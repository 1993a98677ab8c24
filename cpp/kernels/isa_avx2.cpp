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
#include "kernels/lanes.inl.hpp"

static inline __attribute__((always_inline)) __m256 multiply_add(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}
static inline __attribute__((always_inline)) __m256d multiply_add(__m256d a, __m256d b, __m256d c) {
  return _mm256_fmadd_pd(a, b, c);
}

#include "kernels/first_lanes.inl.hpp"

// All bits of a lane of the span are set.
template <class T>
class LaneSpan<T, true> {
 public:
  static constexpr bool kHasMasks = true;
  LaneSpan() = default;
  inline __attribute__((always_inline)) LaneSpan(Index from, Index to) {
    const Vector<P> lane = lane_numbers<P>(typename LaneList<kLanes<T>>::type{});
    lanes_ = (__m256i)((lane >= static_cast<P>(lane_within(from, kLanes<T>))) &
                       (lane < static_cast<P>(lane_within(to, kLanes<T>))));
  }
  template <class U>
  inline __attribute__((always_inline)) Vector<U> load(const U* source) const {
    if constexpr (sizeof(U) == 4) return (Vector<U>)_mm256_maskload_epi32(reinterpret_cast<const int*>(source), lanes_);
    else return (Vector<U>)_mm256_maskload_epi64(reinterpret_cast<const long long*>(source), lanes_);
  }
  template <class U>
  inline __attribute__((always_inline)) Vector<U> load(const U* source, Vector<U> others) const {
    return (Vector<U>)_mm256_blendv_epi8((__m256i)others, (__m256i)load(source), lanes_);
  }
  inline __attribute__((always_inline)) void store(T* target, Vector<T> value) const {
    if constexpr (sizeof(T) == 4) _mm256_maskstore_epi32(reinterpret_cast<int*>(target), lanes_, (__m256i)value);
    else _mm256_maskstore_epi64(reinterpret_cast<long long*>(target), lanes_, (__m256i)value);
  }

 private:
  using P = LanePosition<T>;
  __m256i lanes_;
};

#include "kernels/bodies.inl.hpp"

}  // namespace convpool::avx2

namespace convpool {
extern const KernelTable table_avx2 = avx2::make_table("avx2");
}  // namespace convpool
