// The tile registers of AMX in memory, put before cpp/kernels/isa_amx.cpp where a processor has none, and under
// sanitizers, which do not see what the instructions read and write. A register that is used without a configuration
// ends the process, as it does on the processor. The definition is Intel's of TDPBF16PS.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace emulated_tiles {

constexpr int kRows = 16;

struct Tiles {
  bool are_configured = false;
  alignas(64) std::int32_t rows[8][kRows][16];
};

inline Tiles& tiles() {
  static thread_local Tiles tiles;
  return tiles;
}

inline std::int32_t (*usable(int number))[16] {
  if (!tiles().are_configured) std::abort();
  return tiles().rows[number];
}

inline void configure(bool are_configured) { tiles().are_configured = are_configured; }

inline void load(int number, const void* base, std::ptrdiff_t pitch) {
  std::int32_t (*rows)[16] = usable(number);
  for (int row = 0; row < kRows; ++row)
    _mm512_store_si512(rows[row], _mm512_loadu_si512(static_cast<const char*>(base) + row * pitch));
}

inline void store(int number, void* base, std::ptrdiff_t pitch) {
  const std::int32_t (*rows)[16] = usable(number);
  for (int row = 0; row < kRows; ++row)
    _mm512_storeu_si512(static_cast<char*>(base) + row * pitch, _mm512_load_si512(rows[row]));
}

inline void clear(int number) {
  std::int32_t (*rows)[16] = usable(number);
  for (int row = 0; row < kRows; ++row) _mm512_store_si512(rows[row], _mm512_setzero_si512());
}

// Subnormal numbers are zero, as operands and as results.
inline __m512 flush(__m512 values) {
  const __mmask16 is_normal = _mm512_cmp_ps_mask(_mm512_abs_ps(values), _mm512_set1_ps(0x1p-126F), _CMP_NLT_UQ);
  return _mm512_maskz_mov_ps(is_normal, values);
}

// One of two bfloat16 as a float32. With a mask of all: GCC 12 warns of what the plain shift reads.
template <int Number>
__m512 half(__m512i pairs) {
  return flush(_mm512_castsi512_ps(Number == 0 ? _mm512_maskz_slli_epi32(0xffff, pairs, 16)
                                               : _mm512_and_si512(pairs, _mm512_set1_epi32(-65536))));
}

inline void multiply_add(int sums, int left, int right) {
  std::int32_t (*target)[16] = usable(sums);
  for (int row = 0; row < kRows; ++row) {
    __m512 sum = _mm512_setzero_ps();
    for (int entry = 0; entry < kRows; ++entry) {
      const __m512i factor = _mm512_set1_epi32(usable(left)[row][entry]),
                    pairs = _mm512_load_si512(usable(right)[entry]);
      sum = flush(_mm512_fmadd_ps(half<0>(factor), half<0>(pairs), sum));
      sum = flush(_mm512_fmadd_ps(half<1>(factor), half<1>(pairs), sum));
    }
    const __m512 before = flush(_mm512_load_ps(target[row]));
    _mm512_store_ps(target[row], flush(_mm512_add_ps(before, sum)));
  }
}

}  // namespace emulated_tiles

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) emulated_tiles::configure((config) != nullptr)
#define _tile_release() emulated_tiles::configure(false)
#define _tile_loadd emulated_tiles::load
#define _tile_stored emulated_tiles::store
#define _tile_zero emulated_tiles::clear
#define _tile_dpbf16ps emulated_tiles::multiply_add
