// Moves between strided matrices: plain and every-second-element rows, and transposes in registers.
//
// Layout:    any element strides; the fast paths have a unit stride on one side of each matrix.
// Semantics: bits are moved, never computed with. Nothing is read or written outside the named elements: the last,
//            partial vector of a row overlaps the one before it.
// Cost:      one load and one store a vector; a transposed square of w vectors adds w * log2(w) shuffles.

// Copies `count` < 2 * Bytes / sizeof(T) elements as two overlapping pieces of `Bytes`, or fewer as smaller ones.
template <class T, int Bytes>
static inline __attribute__((always_inline)) void copy_short(const T* source, Index count, T* target) {
  constexpr Index kPiece = Bytes / static_cast<int>(sizeof(T));
  if (count >= kPiece) {
    __builtin_memcpy(target, source, Bytes);
    __builtin_memcpy(target + count - kPiece, source + count - kPiece, Bytes);
  } else if constexpr (kPiece > 1) {
    copy_short<T, Bytes / 2>(source, count, target);
  }
}

// The last, partial vector of a row is one that overlaps the vector before it: no scalar tail.
template <class T>
static inline __attribute__((always_inline)) void copy_row(const T* source, Index count, T* target) {
  constexpr int kWidth = kLanes<T>;
  if (count < kWidth) return copy_short<T, CONVPOOL_VECTOR_BYTES / 2>(source, count, target);
  for (Index i = 0; i < count - kWidth; i += kWidth) store(target + i, load(source + i));
  store(target + count - kWidth, load(source + count - kWidth));
}

// A square of which only rows x columns exist on either side. What is missing is made in registers: a part that is put
// into a buffer first could not be read from there as a whole vector before it is written.
template <class T>
static void transpose_partial(Index rows, Index columns, const T* source, Index source_pitch, T* target,
                              Index target_pitch) {
  constexpr int kWidth = kLanes<T>;
  Vector<T> square[kWidth];
#pragma GCC unroll 16
  for (int column = 0; column < kWidth; ++column)
    square[column] = column < columns ? load_first(source + column * source_pitch, rows) : Vector<T>{};
  transpose_steps<T, 1>(square);
  if (columns == kWidth) {
#pragma GCC unroll 16
    for (int row = 0; row < kWidth; ++row)
      if (row < rows) store(target + row * target_pitch, square[row]);
  } else {
    T transposed[kWidth * kWidth];
#pragma GCC unroll 16
    for (int row = 0; row < kWidth; ++row) store(transposed + row * kWidth, square[row]);
    for (Index row = 0; row < rows; ++row) copy_row(transposed + row * kWidth, columns, target + row * target_pitch);
  }
}

// Start of the next square: squares overlap at the end rather than leave a tail.
template <class T>
static inline __attribute__((always_inline)) Index next_square(Index start, Index count) {
  constexpr Index kWidth = kLanes<T>;
  return start + kWidth < count && start + 2 * kWidth > count ? count - kWidth : start + kWidth;
}

// source runs along rows (unit row stride), target along columns. The side whose runs lie farther apart, mostly planes
// of an image, is walked along its runs.
template <class T>
static void move_transposed(Index rows, Index columns, const T* source, Index source_column, T* target,
                            Index target_row) {
  constexpr Index kWidth = kLanes<T>;
  const bool is_partial = rows < kWidth || columns < kWidth;
  const auto move_square = [=](Index row, Index column) __attribute__((always_inline)) {
    const T* from = source + column * source_column + row;
    T* to = target + row * target_row + column;
    if (!is_partial) return transpose_square(from, source_column, to, target_row);
    const Index partial_rows = rows - row < kWidth ? rows - row : kWidth;
    const Index partial_columns = columns - column < kWidth ? columns - column : kWidth;
    transpose_partial(partial_rows, partial_columns, from, source_column, to, target_row);
  };
  if (target_row > source_column) {
    for (Index row = 0; row < rows; row = next_square<T>(row, rows))
      for (Index column = 0; column < columns; column = next_square<T>(column, columns)) move_square(row, column);
  } else {
    for (Index column = 0; column < columns; column = next_square<T>(column, columns))
      for (Index row = 0; row < rows; row = next_square<T>(row, rows)) move_square(row, column);
  }
}

// Elements 0, 2, 4, ... of 2 * width - 1 consecutive ones: the second load starts one early so as not to read past
// them.
template <class T, int... Lane>
static inline __attribute__((always_inline)) Vector<T> load_even(const T* source, Lanes<Lane...>) {
  constexpr int kWidth = kLanes<T>;
  return __builtin_shufflevector(load(source), load(source + kWidth - 1),
                                 (2 * Lane < kWidth ? 2 * Lane : 2 * Lane + 1)...);
}

// One row, every `step`-th element of the source to consecutive elements of the target.
template <class T>
static inline __attribute__((always_inline)) void gather_row(Index columns, const T* source, Index step, T* target) {
  constexpr int kWidth = kLanes<T>;
  using All = typename LaneList<kWidth>::type;
  if (step == 1) return copy_row(source, columns, target);
  if (step == 2 && columns >= kWidth) {
    for (Index column = 0; column < columns - kWidth; column += kWidth)
      store(target + column, load_even<T>(source + 2 * column, All{}));
    store(target + columns - kWidth, load_even<T>(source + 2 * (columns - kWidth), All{}));
    return;
  }
  for (Index column = 0; column < columns; ++column) target[column] = source[column * step];
}

template <class T>
static void move_block(Index rows, Index columns, const T* source, Index source_row, Index source_column, T* target,
                       Index target_row, Index target_column) {
  if (target_column == 1 && source_row == 1 && source_column != 1) {
    move_transposed(rows, columns, source, source_column, target, target_row);
  } else if (target_row == 1 && source_column == 1 && target_column != 1) {
    move_transposed(columns, rows, source, source_row, target, target_column);
  } else if (target_column == 1) {
    for (Index row = 0; row < rows; ++row)
      gather_row(columns, source + row * source_row, source_column, target + row * target_row);
  } else {
    for (Index row = 0; row < rows; ++row)
      for (Index column = 0; column < columns; ++column)
        target[row * target_row + column * target_column] = source[row * source_row + column * source_column];
  }
}
