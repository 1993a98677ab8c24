// Values split into parts for products of matrices: blocks of rows and columns in the order that tile registers hold.
//
// Numerics:  three parts are cut off, 8 bits each, and are the value; two are rounded. What cannot be split is noticed.
// Cost:      some 20 instructions for 32 values, and a transpose where rows are channels.

// Not the library's: a function that others compile, too, must not be compiled for this processor.
CONVPOOL_INLINE Index lesser(Index a, Index b) { return a < b ? a : b; }

constexpr int kUpperHalf = static_cast<int>(0xffff0000);

// Two parts are rounded, three are cut off: their remainders fit the last one.
template <int Parts>
CONVPOOL_INLINE __m512i bits_of_part(__m512 values) {
  const __m512i bits = _mm512_castps_si512(values);
  return Parts == 3 ? bits : _mm512_add_epi32(bits, _mm512_set1_epi32(0x8000));
}

// What all values that are split have in common.
struct Watch {
  __m512 poison = _mm512_setzero_ps();    // NaN once a value cannot be split
  __m512i least = _mm512_set1_epi32(-1);  // bits without the sign, times 2, less 1: zero comes last

  // The remainders of NaN and infinity are NaN. Two parts are rounded: their products could become infinite.
  template <int Parts>
  inline __attribute__((always_inline)) void look(__m512 values, __m512 remainder) {
    constexpr float kLargeBecomesInfinite = 0x1p68F;
    if constexpr (Parts == 2) remainder = _mm512_mul_ps(values, _mm512_set1_ps(kLargeBecomesInfinite));
    poison = _mm512_fmadd_ps(remainder, _mm512_setzero_ps(), poison);
    const __m512i bits = _mm512_castps_si512(values), magnitudes = _mm512_add_epi32(bits, bits);
    // With a mask of all: GCC 12 warns of what the other one reads.
    least = _mm512_maskz_min_epu32(0xffff, least, _mm512_sub_epi32(magnitudes, _mm512_set1_epi32(1)));
  }
  // Of all but zeros; 0 where a value cannot be split.
  float least_magnitude() const {
    if (_mm512_cmp_ps_mask(poison, poison, _CMP_UNORD_Q) != 0) return 0;
    alignas(64) std::uint32_t each[16];
    _mm512_store_si512(each, least);
    std::uint32_t smallest = each[0];
    for (const std::uint32_t one : each) smallest = one < smallest ? one : smallest;
    const std::uint32_t bits = smallest == 0xffffffff ? 0x7f7fffff : smallest / 2 + 1;
    float magnitude;
    __builtin_memcpy(&magnitude, &bits, sizeof(magnitude));
    return magnitude < kLeastValue ? 0 : magnitude;
  }
};

// Writes the parts of two vectors, the upper halves of their elements in the order of `places`.
template <int Parts>
CONVPOOL_INLINE void split(__m512 first, __m512 second, __m512i places, Index part_step, MatrixElement* target,
                           Watch& watch) {
  const __m512i upper_half = _mm512_set1_epi32(kUpperHalf);
  const __m512 values[] = {first, second};
#pragma GCC unroll 3
  for (int part = 0; part < Parts; ++part) {
    const __m512i a = bits_of_part<Parts>(first), b = bits_of_part<Parts>(second);
    _mm512_storeu_si512(target + part * part_step, _mm512_permutex2var_epi16(a, places, b));
    if (part + 1 == Parts) break;
    first = _mm512_sub_ps(first, _mm512_castsi512_ps(_mm512_and_si512(a, upper_half)));
    second = _mm512_sub_ps(second, _mm512_castsi512_ps(_mm512_and_si512(b, upper_half)));
  }
  watch.look<Parts>(values[0], first);
  watch.look<Parts>(values[1], second);
}

CONVPOOL_INLINE Vector<std::int16_t> half_numbers() {
  return lane_numbers<std::int16_t>(typename LaneList<kLanes<std::int16_t>>::type{});
}

// Upper halves one after the other: of the first vector, then of the second.
CONVPOOL_INLINE __m512i in_sequence() { return (__m512i)(half_numbers() * 2 + 1); }

// In turns: of one vector, of the other.
CONVPOOL_INLINE __m512i in_turns() {
  const Vector<std::int16_t> number = half_numbers(), is_second = number & 1;
  return (__m512i)(number - is_second + 1 + is_second * kLanes<std::int16_t>);
}

template <int Parts>
CONVPOOL_INLINE void split_run(const float* run, Watch& watch, __m512i places, MatrixElement* target) {
  const __m512 first = _mm512_loadu_ps(run), second = _mm512_loadu_ps(run + 16);
  split<Parts>(first, second, places, kPanelStep, target, watch);
}

// The pixels of one block, of which the last one fills up what is missing.
struct Block {
  const MatrixPiece& piece;
  Index first;

  const float* pixel(Index i) const { return piece.pixels[lesser(first + i, piece.count - 1)]; }
};

// Whole steps, read where they lie.
template <int Parts>
float split_whole_steps(const Block& block) {
  const MatrixPiece& piece = block.piece;
  const __m512i places = in_sequence();
  Watch watch;
  MatrixElement* target = piece.panel;
  for (Index segment = 0; segment < piece.segments; ++segment)
    for (Index first = 0; first < piece.length; first += kMatrixDepth, target += Parts * kPanelStep)
      for (Index pixel = 0; pixel < kMatrixRows; ++pixel)
        split_run<Parts>(block.pixel(pixel) + piece.offsets[segment] + first, watch, places,
                         target + pixel * kMatrixDepth);
  return watch.least_magnitude();
}

// Segments are brought together, pixel by pixel, and filled up with zeros.
template <int Parts>
float split_gathered(const Block& block) {
  const MatrixPiece& piece = block.piece;
  const __m512i places = in_sequence();
  Watch watch;
  const Index depth = piece.segments * piece.length;
  alignas(64) float run[kMostMatrixPiece + 2 * kMatrixDepth];
  for (Index pixel = 0; pixel < kMatrixRows; ++pixel) {
    float* end = run;
    for (Index segment = 0; segment < piece.segments; ++segment, end += piece.length) {
      const float* from = block.pixel(pixel) + piece.offsets[segment];
      for (Index i = 0; i < piece.length; i += kMatrixLanes) {
        const unsigned rest = static_cast<unsigned>(lesser(piece.length - i, kMatrixLanes));
        const __mmask16 lanes = static_cast<__mmask16>(_bzhi_u32(0xffff, rest));
        _mm512_storeu_ps(end + i, _mm512_maskz_loadu_ps(lanes, from + i));
      }
    }
    _mm512_storeu_ps(end, _mm512_setzero_ps());
    _mm512_storeu_ps(end + kMatrixLanes, _mm512_setzero_ps());
    MatrixElement* step = piece.panel + pixel * kMatrixDepth;
    for (Index first = 0; first < depth; first += kMatrixDepth, step += Parts * kPanelStep)
      split_run<Parts>(run + first, watch, places, step);
  }
  return watch.least_magnitude();
}

Index steps_of(const MatrixPiece& piece) { return matrix_steps(piece.segments * piece.length); }

template <int Parts>
float split_block(const MatrixPiece& piece, Index first) {
  const Block block{piece, first};
  return piece.length % kMatrixDepth == 0 ? split_whole_steps<Parts>(block) : split_gathered<Parts>(block);
}

// Sixteen channels of 32 pixels: the parts of two pixels in turns are one element of 32 bits, and those change places.
template <int Parts>
CONVPOOL_INLINE void split_channels(const MatrixGradient& gradient, Index first_pixel, Index offset, __mmask16 lanes,
                                    __m512i places, MatrixElement* target, Watch& watch) {
  alignas(64) MatrixElement turns[Parts * kColumnStep];
  for (Index i = 0; i < kMatrixDepth; i += 2) {
    const auto pixel = [&](Index j) {
      const Index index = first_pixel + i + j;
      return index < gradient.pixel_count ? _mm512_maskz_loadu_ps(lanes, gradient.pixels[index] + offset)
                                          : _mm512_setzero_ps();
    };
    split<Parts>(pixel(0), pixel(1), places, kColumnStep, turns + i * kMatrixLanes, watch);
  }
  for (int part = 0; part < Parts; ++part)
    transpose_square(reinterpret_cast<const std::int32_t*>(turns + part * kColumnStep), kMatrixLanes,
                     reinterpret_cast<std::int32_t*>(target + part * kPanelStep), kMatrixDepth / 2);
}

Index steps_of(const MatrixGradient& gradient) { return matrix_steps(gradient.pixel_count); }

template <int Parts>
float split_block(const MatrixGradient& gradient, Index first) {
  const __m512i places = in_turns();
  Watch watch;
  for (Index step = 0; step < steps_of(gradient); ++step)
    for (Index row = 0; row < kMatrixRows; row += kMatrixLanes) {
      const Index rest = gradient.count - first - row;
      const __mmask16 lanes = static_cast<__mmask16>(rest >= 16 ? 0xffff : rest <= 0 ? 0 : (1 << rest) - 1);
      split_channels<Parts>(gradient, step * kMatrixDepth, gradient.offset + (rest > 0 ? first + row : first), lanes,
                            places, gradient.panel + step * Parts * kPanelStep + row * kMatrixDepth, watch);
    }
  return watch.least_magnitude();
}

template <int Parts>
float split_column(const MatrixColumn& column) {
  const __m512i places = in_turns();
  Watch watch;
  for (Index entry = 0; entry < matrix_steps(column.depth) * kMatrixDepth; entry += 2) {
    const float* rows = column.rows + entry * column.pitch;
    const __m512 first = entry < column.depth ? _mm512_loadu_ps(rows) : _mm512_setzero_ps();
    const __m512 second = entry + 1 < column.depth ? _mm512_loadu_ps(rows + column.pitch) : _mm512_setzero_ps();
    MatrixElement* step = column.packed + entry / kMatrixDepth * Parts * kColumnStep;
    split<Parts>(first, second, places, kColumnStep, step + entry % kMatrixDepth * kMatrixLanes, watch);
  }
  return watch.least_magnitude();
}
