#include "pooling/tie_gather.hpp"

#include <algorithm>

#include "pooling/half.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kBandBytes = 256 * 1024;

// Planes [first, first + count) of a block, and where their elements lie in an array of `plane` elements a plane.
struct PlaneBlock {
  Index outer, lane, count;
};

// One task: a block of planes and a band of rows of one z.
struct Band {
  PlaneBlock planes;
  Index z;
  Range rows;
  Range source_z, source_y;
};

class TieCut {
 public:
  TieCut(const PoolView& view, Index lanes, Index element_bytes) : view_(view), lanes_(lanes) {
    rows_ = view.axes[1].targets;
    while (rows_ > 1 && scratch_elements(rows_) * element_bytes > kBandBytes) rows_ = ceil_divide(rows_, 2);
    bands_ = ceil_divide(view.axes[1].targets, rows_);
    // Channels first, planes of one block are neighbours among all (n, c); channels last, among one entry's channels.
    blocks_ = view.inner == 1 ? ceil_divide(view.outers, lanes) : view.outers * ceil_divide(view.inner, lanes);
  }

  Index tasks() const noexcept { return blocks_ * view_.axes[0].targets * bands_; }
  Index source_elements() const noexcept { return source_rows(rows_) * view_.axes[2].sources * lanes_; }
  Index target_elements() const noexcept { return rows_ * view_.axes[2].targets * lanes_; }
  Index most_rows() const noexcept { return view_.most_rows(); }

  Band band(Index task) const noexcept {
    Band band{};
    band.rows.first = task % bands_ * rows_;
    band.rows.count = std::min(rows_, view_.axes[1].targets - band.rows.first);
    band.z = task / bands_ % view_.axes[0].targets;
    const Index block = task / bands_ / view_.axes[0].targets;
    if (view_.inner == 1) {
      band.planes = {block * lanes_, 0, std::min(lanes_, view_.outers - block * lanes_)};
    } else {
      const Index per_entry = ceil_divide(view_.inner, lanes_), lane = block % per_entry * lanes_;
      band.planes = {block / per_entry, lane, std::min(lanes_, view_.inner - lane)};
    }
    band.source_z = view_.axes[0].span({band.z, 1});
    band.source_y = view_.axes[1].span(band.rows);
    return band;
  }

 private:
  Index source_rows(Index rows) const { return view_.axes[0].longest_span(1) * view_.axes[1].longest_span(rows); }
  Index scratch_elements(Index rows) const {
    return (2 * source_rows(rows) * view_.axes[2].sources + 2 * rows * view_.axes[2].targets) * lanes_;
  }

  const PoolView& view_;
  Index lanes_, rows_, bands_, blocks_;
};

template <class T>
struct Scratch {
  T *keys, *values, *own, *out;
  Index* row_offsets;
  static std::size_t carve(Carver carver, const TieCut& cut, Scratch& scratch) {
    scratch.keys = carver.take<T>(cut.source_elements());
    scratch.values = carver.take<T>(cut.source_elements());
    scratch.own = carver.take<T>(cut.target_elements());
    scratch.out = carver.take<T>(cut.target_elements());
    scratch.row_offsets = carver.take<Index>(cut.most_rows());
    return carver.used();
  }
};

template <class Arrays, class T>
class TieTask {
 public:
  TieTask(const PoolView& view, const PoolKernels<T>& kernels, const ConvKernels<T>& moves, const Arrays& arrays)
      : view_(view), kernels_(kernels), moves_(moves), arrays_(arrays) {}

  void run(const Band& band, const Scratch<T>& scratch) const noexcept {
    for (Index z = 0; z < band.source_z.count; ++z) {
      const Index offset = z * band.source_y.count * source_pitch();
      load_source(arrays_.keys, band, band.source_z.first + z, scratch.keys + offset);
      if (arrays_.values != nullptr)
        load_source(arrays_.values, band, band.source_z.first + z, scratch.values + offset);
    }
    if (arrays_.values == nullptr)
      std::fill_n(scratch.values, band.source_z.count * band.source_y.count * source_pitch(), T{1});
    load_target(arrays_.own, band, scratch.own);
    for (Index row = 0; row < band.rows.count; ++row) sum_row(band, row, scratch);
    if (arrays_.dividend != nullptr) divide(band, scratch);
    move_planes(
        band, view_.target_plane(), target_row(band), band.rows.count * view_.axes[2].targets,
        [&](Index rows, Index columns, T* wide, Index offset, Index row_stride, Index column_stride) {
          move_block(rows, columns, wide, kernels_.lanes, 1, arrays_.out + offset, row_stride, column_stride);
        },
        scratch.out);
  }

 private:
  Index source_pitch() const noexcept { return view_.axes[2].sources * kernels_.lanes; }
  Index target_pitch() const noexcept { return view_.axes[2].targets * kernels_.lanes; }
  Index target_row(const Band& band) const noexcept {
    return (band.z * view_.axes[1].targets + band.rows.first) * view_.axes[2].targets;
  }

  // move(positions, planes, wide, offset in the array, stride of a position, stride of a plane) for `count` positions
  // of every plane from position `first`.
  template <class Move>
  void move_planes(const Band& band, Index plane, Index first, Index count, Move&& move, T* wide) const noexcept {
    const PlaneBlock& planes = band.planes;
    if (view_.inner == 1) move(count, planes.count, wide, planes.outer * plane + first, 1, plane);
    else move(count, planes.count, wide, planes.outer * plane + first * view_.inner + planes.lane, view_.inner, 1);
  }

  // 16-bit elements become floats on the way in, and are rounded on the way out.
  template <class From, class To>
  void move_block(Index rows, Index columns, const From* source, Index source_row, Index source_column, To* target,
                  Index target_row, Index target_column) const noexcept {
    if constexpr (std::is_same_v<From, To>) {
      moves_.move_block(rows, columns, source, source_row, source_column, target, target_row, target_column);
    } else {
      for (Index row = 0; row < rows; ++row)
        for (Index column = 0; column < columns; ++column)
          target[row * target_row + column * target_column] =
              static_cast<To>(source[row * source_row + column * source_column]);
    }
  }

  template <class Stored>
  void load(const Stored* array, const Band& band, Index plane, Index first, Index count, T* wide) const noexcept {
    if (band.planes.count < kernels_.lanes) std::fill_n(wide, count * kernels_.lanes, T{0});
    move_planes(
        band, plane, first, count,
        [&](Index rows, Index columns, T* target, Index offset, Index row_stride, Index column_stride) {
          move_block(rows, columns, array + offset, row_stride, column_stride, target, kernels_.lanes, 1);
        },
        wide);
  }
  template <class Stored>
  void load_source(const Stored* array, const Band& band, Index z, T* wide) const noexcept {
    const Index first = (z * view_.axes[1].sources + band.source_y.first) * view_.axes[2].sources;
    load(array, band, view_.source_plane(), first, band.source_y.count * view_.axes[2].sources, wide);
  }
  template <class Stored>
  void load_target(const Stored* array, const Band& band, T* wide) const noexcept {
    load(array, band, view_.target_plane(), target_row(band), band.rows.count * view_.axes[2].targets, wide);
  }

  void sum_row(const Band& band, Index row, const Scratch<T>& scratch) const noexcept {
    const Range& deep = view_.axes[0].of(band.z);
    const Range& high = view_.axes[1].of(band.rows.first + row);
    TieTaps<T> ties{};
    ties.keys = scratch.keys;
    ties.values = scratch.values;
    ties.row_offsets = scratch.row_offsets;
    for (Index z = 0; z < deep.count; ++z)
      for (Index y = 0; y < high.count; ++y) {
        const Index source_z = deep.first + z * view_.axes[0].step - band.source_z.first;
        const Index source_y = high.first + y * view_.axes[1].step - band.source_y.first;
        scratch.row_offsets[ties.rows++] = (source_z * band.source_y.count + source_y) * source_pitch();
      }
    ties.column_step = view_.axes[2].step * kernels_.lanes;
    for (Index x = 0; x < view_.axes[2].targets; ++x) {
      const Range& wide = view_.axes[2].of(x);
      const Index target = row * target_pitch() + x * kernels_.lanes;
      ties.own = scratch.own + target;
      ties.column_offset = wide.first * kernels_.lanes;
      ties.columns = wide.count;
      ties.out = scratch.out + target;
      kernels_.sum_of_ties(ties);
    }
  }

  void divide(const Band& band, const Scratch<T>& scratch) const noexcept {
    load_target(arrays_.dividend, band, scratch.own);
    for (Index i = 0; i < band.rows.count * target_pitch(); ++i) scratch.out[i] = scratch.own[i] / scratch.out[i];
  }

  const PoolView& view_;
  const PoolKernels<T>& kernels_;
  const ConvKernels<T>& moves_;
  const Arrays& arrays_;
};

}  // namespace

template <class Key, class Value, class Out>
void gather_ties(const KernelTable& table, const PoolView& view, const TieArrays<Key, Value, Out>& arrays,
                 int num_threads) {
  using T = Computed<Key>;
  if (view.outers == 0) return;
  const PoolKernels<T>& kernels = pool_kernels<T>(table);
  const TieCut cut(view, kernels.lanes, static_cast<Index>(sizeof(T)));
  const TieTask<TieArrays<Key, Value, Out>, T> pass(view, kernels, conv_kernels<T>(table), arrays);
  Scratch<T> measure;
  const int workers = worker_count(num_threads, cut.tasks(), view.elements());
  const Workspace memory(workers, Scratch<T>::carve(Carver(), cut, measure));
  parallel_for(cut.tasks(), workers, [&](Index task, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), cut, scratch);
    pass.run(cut.band(task), scratch);
  });
}

#define CONVPOOL_TIES(Key, Value, Out) \
  template void gather_ties(const KernelTable&, const PoolView&, const TieArrays<Key, Value, Out>&, int);
#define CONVPOOL_HALF_TIES(T)                                       \
  CONVPOOL_TIES(T, T, T)     /* "all" */                            \
  CONVPOOL_TIES(T, T, float) /* "split": the share of every tie, */ \
  CONVPOOL_TIES(T, float, T) /* and the sum of shares */
CONVPOOL_TIES(float, float, float)
CONVPOOL_TIES(double, double, double)
CONVPOOL_HALF_TIES(Float16)
CONVPOOL_HALF_TIES(BFloat16)

}  // namespace convpool
