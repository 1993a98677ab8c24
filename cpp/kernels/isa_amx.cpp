// Products of matrices with AMX-BF16, beside the kernels of AVX-512.
//
// Layout:    blocks of 32 rows and vectors of 16 output channels, 32 entries of the depth a step, each value in two or
//            three parts (kernels/matrix_table.hpp).
// Numerics:  three parts of 8 bits are the value, two are the value rounded to 16 bits. Of the nine products of three
//            parts the three smallest are left out (2^-24 of the product), of the four of two the smallest (2^-18).
//            Sums are of float32, in order. The unit takes subnormal numbers for zero and gives zero for them; values
//            whose products could be such are refused, as NaN and infinity are.
// Cost:      16 cycles for 16 x 16 x 32 products: with six of them 85 multiply-adds of float32 a cycle, where AVX-512
//            has 32. A block and two vectors are four sums; each part that is loaded serves two. Sums are added to
//            their targets while the unit multiplies the next ones.
#include "kernels/table.hpp"

#include <immintrin.h>

#define CONVPOOL_INLINE static inline __attribute__((always_inline))

#define CONVPOOL_VECTOR_BYTES 64

namespace convpool::amx {

#include "kernels/vector.inl.hpp"
#include "kernels/lanes.inl.hpp"
#include "kernels/transposes.inl.hpp"

namespace {

#include "kernels/matrix_parts.inl.hpp"

// Tile registers: 0 to 3 sums, 4 and 5 the halves of a block, 6 and 7 columns. A single vector has sums 0 and 1.

constexpr Index kRow = 64;  // bytes of a tile's row
constexpr Index kSumPitch = 2 * kMatrixLanes;
constexpr Index kHalf = kMatrixRows / 2 * kMatrixDepth;  // elements

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {kRow, kRow, kRow, kRow, kRow, kRow, kRow, kRow};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

CONVPOOL_INLINE void load_block(const MatrixElement* part) {
  _tile_loadd(4, part, kRow);
  _tile_loadd(5, part + kHalf, kRow);
}

// Sums of one block and one or two vectors that wait to be added to their targets, row by row, while the matrix unit
// multiplies the next ones.
struct Waiting {
  const float* sums = nullptr;
  float* const* targets = nullptr;
  Index rows = 0, done = 0;
  Index column = 0, last_column = 0;
  __mmask16 last_lanes = 0;  // of the last vector, what does not overlap the one before
  bool is_pair = false;
  const float *start = nullptr, *last_start = nullptr;  // what sums begin with, or null

  CONVPOOL_INLINE __m512 before(const float* target, const float* begin, __mmask16 lanes) {
    return begin == nullptr ? _mm512_maskz_loadu_ps(lanes, target) : _mm512_loadu_ps(begin);
  }
  inline __attribute__((always_inline)) void add(Index count) {
    for (const Index stop = lesser(done + count, rows); done < stop; ++done) {
      const float* sum = sums + done * kSumPitch;
      float* target = targets[done];
      __m512 low = _mm512_load_ps(sum), high = _mm512_load_ps(sum + kMatrixLanes);
      if (is_pair) {
        low = _mm512_add_ps(before(target + column, start, 0xffff), low);
        _mm512_storeu_ps(target + column, low);
      } else {
        high = low;
      }
      high = _mm512_add_ps(before(target + last_column, last_start, last_lanes), high);
      _mm512_mask_storeu_ps(target + last_column, last_lanes, high);
    }
  }
};

// Rows of a block and one or two vectors; each product of parts shares one side with the one before. The smallest come
// first. The order of a vector's sums is the same alone and beside another.
template <int Parts, int Vectors>
CONVPOOL_INLINE void multiply_block(const MatrixElement* panel, const MatrixElement* columns, Index steps,
                                    Waiting& waiting) {
  const Index second = steps * Parts * kColumnStep;
  const auto load_columns = [&](Index part) {
    _tile_loadd(6, columns + part * kColumnStep, kRow);
    if constexpr (Vectors == 2) _tile_loadd(7, columns + second + part * kColumnStep, kRow);
  };
  const auto add_products = [] {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    if constexpr (Vectors == 2) {
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  };
  const Index share = steps == 0 ? 0 : (kMatrixRows + steps - 1) / steps;
  for (Index step = 0; step < steps; ++step) {
    load_columns(0);
    if constexpr (Parts == 3) {
      load_block(panel + 2 * kPanelStep);
      add_products();
    }
    load_block(panel + kPanelStep);
    add_products();
    load_columns(1);
    if constexpr (Parts == 3) add_products();
    load_block(panel);
    add_products();
    if constexpr (Parts == 3) {
      load_columns(2);
      add_products();
    }
    load_columns(0);
    add_products();
    panel += Parts * kPanelStep;
    columns += Parts * kColumnStep;
    waiting.add(share);
  }
}

// The compiler does not know that tile registers are loaded from memory.
CONVPOOL_INLINE void finish_stores() { asm volatile("" : : : "memory"); }

CONVPOOL_INLINE void store_sums(float* sums) {
  constexpr Index kPitch = kSumPitch * sizeof(float);
  float* half = sums + kMatrixRows / 2 * kSumPitch;
  _tile_stored(0, sums, kPitch);
  _tile_stored(1, half, kPitch);
  _tile_stored(2, sums + kMatrixLanes, kPitch);
  _tile_stored(3, half + kMatrixLanes, kPitch);
  finish_stores();
}

// One vector of a product, or two.
struct VectorPair {
  Index first, last;
  Index overlap;  // columns of the last one that the one before has, too

  VectorPair(const MatrixProduct& product, Index vector)
      : first(vector), last(lesser(vector + 1, product.vectors - 1)),
        overlap(last > 0 && last + 1 == product.vectors ? product.column + last * kMatrixLanes - product.last_column
                                                        : 0) {}
  bool is_pair() const { return last > first; }
};

Waiting wait_for(const MatrixProduct& product, Index first_row, const VectorPair& pair, const float* sums) {
  Waiting waiting;
  waiting.sums = sums;
  waiting.targets = product.targets + first_row;
  waiting.rows = lesser(product.count - first_row, kMatrixRows);
  waiting.column = product.column + pair.first * kMatrixLanes;
  waiting.last_column = product.column + pair.last * kMatrixLanes - pair.overlap;
  waiting.last_lanes = static_cast<__mmask16>(0xffff << pair.overlap);
  waiting.is_pair = pair.is_pair();
  waiting.start = product.start == nullptr ? nullptr : product.start + pair.first * kMatrixLanes;
  waiting.last_start = product.start == nullptr ? nullptr : product.start + pair.last * kMatrixLanes;
  return waiting;
}

template <int Parts, class Product>
bool multiply(const Product& product) {
  const TileConfig config;
  asm volatile("" : : "r"(&config) : "memory");  // all of it is stored: the next line names 8 bytes
  _tile_loadconfig(&config);
  alignas(64) float sums[2][kMatrixRows * kSumPitch];
  const Index steps = steps_of(product);
  Waiting waiting;
  bool turn = false, were_split = true;
  for (Index first = 0; first < product.count && were_split; first += kMatrixRows) {
    were_split = split_block<Parts>(product, first) >= product.least;
    finish_stores();
    for (Index vector = 0; vector < product.vectors; vector += 2, turn = !turn) {
      const VectorPair pair(product, vector);
      const MatrixElement* columns = product.columns + vector * steps * Parts * kColumnStep;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      if (pair.is_pair()) multiply_block<Parts, 2>(product.panel, columns, steps, waiting);
      else multiply_block<Parts, 1>(product.panel, columns, steps, waiting);
      waiting.add(kMatrixRows);
      store_sums(sums[turn]);
      waiting = wait_for(product, first, pair, sums[turn]);
    }
  }
  waiting.add(kMatrixRows);
  _tile_release();
  return were_split;
}

template <int Parts>
constexpr MatrixKernels make_kernels() {
  return {Parts, split_column<Parts>, multiply<Parts, MatrixPiece>, multiply<Parts, MatrixGradient>};
}

}  // namespace

}  // namespace convpool::amx

namespace convpool {
extern const MatrixSets matrices_amx = {amx::make_kernels<2>(), amx::make_kernels<3>()};
}  // namespace convpool
