// Depthwise convolution of planes that registers hold, a row in each: 3 to 8 rows of 4 to 8 elements, with the padding
// that keeps their extents.
//
// Layout:    planes follow each other in memory; rows are read and written as eight elements. What a store writes past
//            its row is written again by the next one; nothing past the last row of the last plane is touched.
// Method:    the columns of the kernel one after the other: a row is shifted in registers, so that zeros come in from
//            the side, and meets all the rows that it adds to (sums), or the gradients that have read it (products).
// Semantics: plain sums of products. Zeros of the padding take part: 0 * infinity is NaN. Rows of the kernel that lie
//            on padding are not multiplied: `ends` brings what they would give a sum, gradients times zero are added
//            to products.
// Numerics:  one or two accumulators per output; what `ends` holds, the bias above all, is added to their sum once.
//            Products of one plane are added to `sums` lane by lane, one row after the other.
// Cost:      for each row and column of the kernel a shift; a multiply-add of eight lanes for each row that is met.

constexpr int kRowLanes = static_cast<int>(kSmallPlane.most_columns);

// Whether one register holds a row.
template <class T>
constexpr bool kHoldsRows = kRowLanes * sizeof(T) <= CONVPOOL_VECTOR_BYTES;

template <class T>
struct PlaneRowOf {
  typedef T type __attribute__((vector_size(kRowLanes * sizeof(T))));
  typedef T unaligned __attribute__((vector_size(kRowLanes * sizeof(T)), aligned(alignof(T)), may_alias));
};

template <class T>
using PlaneRow = typename PlaneRowOf<T>::type;

template <class T, int... Lane>
static inline __attribute__((always_inline)) PlaneRow<T> first_columns(PlaneRow<T> row, Index columns, Lanes<Lane...>) {
  const PlaneRow<T> lanes = {static_cast<T>(Lane)...};
  return lanes < static_cast<T>(columns) ? row : PlaneRow<T>{};
}

// row[x + Shift], 0 outside.
template <class T, int Shift, int... Lane>
static inline __attribute__((always_inline)) PlaneRow<T> shifted(PlaneRow<T> row, Lanes<Lane...>) {
  return __builtin_shufflevector(row, PlaneRow<T>{},
                                 (Lane + Shift >= 0 && Lane + Shift < kRowLanes ? Lane + Shift : kRowLanes)...);
}

// The rows of a plane, zeros after their columns.
template <class T, int Rows>
static inline __attribute__((always_inline)) void load_plane(const T* source, Index columns, bool is_last,
                                                             PlaneRow<T>* rows) {
  using Row = typename PlaneRowOf<T>::unaligned;
  constexpr typename LaneList<kRowLanes>::type kAll{};
#pragma GCC unroll 8
  for (int y = 0; y < Rows - 1; ++y)
    rows[y] = first_columns<T>(*reinterpret_cast<const Row*>(source + y * columns), columns, kAll);
  const T* last = source + (Rows - 1) * columns;
  if (is_last) {
    rows[Rows - 1] = PlaneRow<T>{};
    __builtin_memcpy(&rows[Rows - 1], last, static_cast<unsigned long>(columns) * sizeof(T));
  } else {
    rows[Rows - 1] = first_columns<T>(*reinterpret_cast<const Row*>(last), columns, kAll);
  }
}

template <class T, int Rows>
static inline __attribute__((always_inline)) void store_plane(T* target, Index columns, bool is_last,
                                                              const PlaneRow<T>* rows) {
  using Row = typename PlaneRowOf<T>::unaligned;
#pragma GCC unroll 8
  for (int y = 0; y < Rows - 1; ++y) *reinterpret_cast<Row*>(target + y * columns) = rows[y];
  T* last = target + (Rows - 1) * columns;
  if (is_last) __builtin_memcpy(last, &rows[Rows - 1], static_cast<unsigned long>(columns) * sizeof(T));
  else *reinterpret_cast<Row*>(last) = rows[Rows - 1];
}

// Every `Step`-th column of the kernel from `Column` on.
template <class T, int Kernel, int Rows, int Step, int Column>
static inline __attribute__((always_inline)) void sum_columns(const PlaneRow<T>* rows, const T* weights,
                                                              PlaneRow<T>* sums) {
  if constexpr (Column < Kernel) {
    constexpr int kBefore = Kernel / 2;
    PlaneRow<T> factors[Kernel];
#pragma GCC unroll 8
    for (int i = 0; i < Kernel; ++i) factors[i] = weights[i * Kernel + Column] - PlaneRow<T>{};
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      const PlaneRow<T> taps = shifted<T, Column - kBefore>(rows[row], typename LaneList<kRowLanes>::type{});
#pragma GCC unroll 8
      for (int i = 0; i < Kernel; ++i) {
        const int y = row + kBefore - i;
        if (y >= 0 && y < Rows) sums[y] = multiply_add(factors[i], taps, sums[y]);
      }
    }
    sum_columns<T, Kernel, Rows, Step, Column + Step>(rows, weights, sums);
  }
}

template <class T, int Kernel, int Rows>
static void small_plane_rows(const SmallPlanes<T>& s) {
  constexpr int kChains = kRegisters >= 32 && Kernel >= 5 ? 2 : 1;
  for (Index plane = 0; plane < s.planes; ++plane) {
    const Index at = plane * Rows * s.columns;
    const bool is_last = plane + 1 == s.planes;
    PlaneRow<T> rows[Rows], sums[Rows];
    load_plane<T, Rows>(s.source + at, s.columns, is_last, rows);
#pragma GCC unroll 8
    for (int y = 0; y < Rows; ++y) sums[y] = PlaneRow<T>{};
    const T* weights = s.weights + plane * Kernel * Kernel;
    sum_columns<T, Kernel, Rows, kChains, 0>(rows, weights, sums);
    if constexpr (kChains == 2) {
      PlaneRow<T> others[Rows] = {};
      sum_columns<T, Kernel, Rows, kChains, 1>(rows, weights, others);
#pragma GCC unroll 8
      for (int y = 0; y < Rows; ++y) sums[y] += others[y];
    }
#pragma GCC unroll 8
    for (int y = 0; y < Rows; ++y) sums[y] += s.ends[plane * Rows + y];
    store_plane<T, Rows>(s.target + at, s.columns, is_last, sums);
  }
}

// zeros[i]: what the gradients give row i of the kernel where it lies on padding.
template <class T, int Kernel, int Rows>
static inline __attribute__((always_inline)) void multiply_padding(const PlaneRow<T>* gradients, PlaneRow<T>* zeros) {
  constexpr int kBefore = Kernel / 2;
#pragma GCC unroll 8
  for (int i = 0; i < Kernel; ++i) zeros[i] = PlaneRow<T>{};
#pragma GCC unroll 8
  for (int i = kBefore - 1; i >= 0; --i) {
    const int above = kBefore - 1 - i, below = Rows - 1 - above;  // the last rows of gradients that it lies outside of
    zeros[i] = zeros[i + 1];
    zeros[Kernel - 1 - i] = zeros[Kernel - 2 - i];
    zeros[i] += gradients[above] * T{0};
    zeros[Kernel - 1 - i] += gradients[below] * T{0};
  }
}

template <class T, int Kernel, int Rows, int Column = 0>
static inline __attribute__((always_inline)) void multiply_columns(const PlaneRow<T>* rows,
                                                                   const PlaneRow<T>* gradients,
                                                                   const PlaneRow<T>* zeros, Index columns, T* sums) {
  if constexpr (Column < Kernel) {
    using Row = typename PlaneRowOf<T>::unaligned;
    constexpr int kBefore = Kernel / 2;
    constexpr typename LaneList<kRowLanes>::type kAll{};
    PlaneRow<T> products[Kernel];
#pragma GCC unroll 8
    for (int i = 0; i < Kernel; ++i) products[i] = zeros[i];
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
      PlaneRow<T> taps = shifted<T, Column - kBefore>(rows[row], kAll);
      if (Column < kBefore) taps = first_columns<T>(taps, columns, kAll);  // elements moved there would meet zeros
#pragma GCC unroll 8
      for (int i = 0; i < Kernel; ++i) {
        const int y = row + kBefore - i;
        if (y >= 0 && y < Rows) products[i] = multiply_add(gradients[y], taps, products[i]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Kernel; ++i) *reinterpret_cast<Row*>(sums + (i * Kernel + Column) * kRowLanes) += products[i];
    multiply_columns<T, Kernel, Rows, Column + 1>(rows, gradients, zeros, columns, sums);
  }
}

template <class T, int Kernel, int Rows>
static void small_plane_products(const SmallPlaneProducts<T>& s) {
  for (Index plane = 0; plane < s.planes; ++plane) {
    const Index at = plane * Rows * s.columns;
    const bool is_last = plane + 1 == s.planes;
    PlaneRow<T> rows[Rows], gradients[Rows], zeros[Kernel];
    load_plane<T, Rows>(s.source + at, s.columns, is_last, rows);
    load_plane<T, Rows>(s.gradients + at, s.columns, is_last, gradients);
    multiply_padding<T, Kernel, Rows>(gradients, zeros);
    multiply_columns<T, Kernel, Rows>(rows, gradients, zeros, s.columns, s.sums + plane * Kernel * Kernel * kRowLanes);
  }
}

template <class T, int... Lane>
static inline __attribute__((always_inline)) Vector<T> whole_vector(PlaneRow<T> row, Lanes<Lane...>) {
  return __builtin_shufflevector(row, PlaneRow<T>{}, Lane...);
}

// As lane_totals.
template <class T>
static void row_totals(const T* sums, Index slices, Index count, T* totals) {
  using Row = typename PlaneRowOf<T>::unaligned;
  for (Index i = 0; i < count; ++i) {
    PlaneRow<T> total{};
    for (Index slice = 0; slice < slices; ++slice)
      total += *reinterpret_cast<const Row*>(sums + (slice * count + i) * kRowLanes);
    totals[i] = sum_lanes<T>(whole_vector<T>(total, typename LaneList<kLanes<T>>::type{}));
  }
}

template <class T, int Kernel, int Rows>
constexpr void add_small_planes(SmallPlaneKernels<T>& kernels) {
  constexpr int kFirst = static_cast<int>(kSmallPlane.least_rows);
  kernels.rows[Kernel / 2 - 1][Rows - kFirst] = small_plane_rows<T, Kernel, Rows>;
  kernels.products[Kernel / 2 - 1][Rows - kFirst] = small_plane_products<T, Kernel, Rows>;
  if constexpr (Rows < kSmallPlane.most_rows) add_small_planes<T, Kernel, Rows + 1>(kernels);
}

template <class T>
constexpr SmallPlaneKernels<T> make_small_plane_kernels() {
  SmallPlaneKernels<T> kernels{};
  if constexpr (kHoldsRows<T>) {
    constexpr int kFirst = static_cast<int>(kSmallPlane.least_rows);
    add_small_planes<T, 3, kFirst>(kernels);
    add_small_planes<T, 5, kFirst>(kernels);
    add_small_planes<T, 7, kFirst>(kernels);
    kernels.totals = row_totals<T>;
  }
  return kernels;
}
