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

// One task: a block of planes, and rows and columns of targets of one z.
struct Band {
  PlaneBlock planes;
  Index z;
  Range rows, columns;
  Range source_z, source_y, source_x;  // between the first and the last that it reads
  Index source_rows() const noexcept { return source_z.count * source_y.count; }
};

// Sources that are brought together: rows of a band, numbered over z and y, and columns; row by row if not all columns.
struct Chunk {
  Range rows, columns;
};

// Some positions of an array of planes: rows that lie `pitch` positions apart.
struct Box {
  Index plane, first, pitch, rows, columns;
};

class TieCut {
 public:
  TieCut(const PoolView& view, Index lanes, Index element_bytes)
      : view_(view), lanes_(lanes), most_positions_(kBandBytes / (2 * lanes * element_bytes)) {
    const ViewAxis &high = view.axes[1], &wide = view.axes[2];
    rows_ = high.targets;
    columns_ = wide.targets;
    while (rows_ > 1 && !fits(band_rows(rows_))) rows_ = ceil_divide(rows_, 2);
    while (columns_ > 1 && !fits(1)) columns_ = ceil_divide(columns_, 2);
    const Index left = most_positions_ - rows_ * columns_, span = wide.longest_span(columns_);
    chunk_columns_ = std::clamp<Index>(left, 1, span);
    chunk_rows_ = std::clamp<Index>(left / chunk_columns_, 1, band_rows(rows_));
    // Channels first, planes of one block are neighbours among all (n, c); channels last, among one entry's channels.
    blocks_ = view.inner == 1 ? ceil_divide(view.outers, lanes) : view.outers * ceil_divide(view.inner, lanes);
  }

  Index tasks() const noexcept { return blocks_ * view_.axes[0].targets * row_bands() * column_bands(); }
  Index source_elements() const noexcept { return chunk_rows_ * chunk_columns_ * lanes_; }
  Index target_elements() const noexcept { return rows_ * columns_ * lanes_; }
  Index most_rows() const noexcept { return std::min(view_.most_rows(), chunk_rows_); }

  Band band(Index task) const noexcept {
    Band band{};
    band.columns = piece(task % column_bands(), columns_, view_.axes[2].targets);
    task /= column_bands();
    band.rows = piece(task % row_bands(), rows_, view_.axes[1].targets);
    band.z = task / row_bands() % view_.axes[0].targets;
    const Index block = task / row_bands() / view_.axes[0].targets;
    if (view_.inner == 1) {
      band.planes = {block * lanes_, 0, std::min(lanes_, view_.outers - block * lanes_)};
    } else {
      const Index per_entry = ceil_divide(view_.inner, lanes_), lane = block % per_entry * lanes_;
      band.planes = {block / per_entry, lane, std::min(lanes_, view_.inner - lane)};
    }
    band.source_z = view_.axes[0].span({band.z, 1});
    band.source_y = view_.axes[1].span(band.rows);
    band.source_x = view_.axes[2].span(band.columns);
    return band;
  }

  // Calls body(chunk) for all sources of a band, in row-major order.
  template <class Body>
  void for_each_chunk(const Band& band, Body&& body) const noexcept {
    const Index rows = band.source_x.count <= chunk_columns_ ? chunk_rows_ : 1;
    for (Index row = 0; row < band.source_rows(); row += rows)
      for (Index column = 0; column < band.source_x.count; column += chunk_columns_)
        body(Chunk{{row, std::min(rows, band.source_rows() - row)},
                   {band.source_x.first + column, std::min(chunk_columns_, band.source_x.count - column)}});
  }

 private:
  static Range piece(Index number, Index size, Index all) noexcept {
    return {number * size, std::min(size, all - number * size)};
  }
  Index row_bands() const noexcept { return ceil_divide(view_.axes[1].targets, rows_); }
  Index column_bands() const noexcept { return ceil_divide(view_.axes[2].targets, columns_); }
  Index band_rows(Index rows) const {
    return std::max<Index>(view_.axes[0].longest_span(1) * view_.axes[1].longest_span(rows), 1);
  }
  bool fits(Index source_rows) const {
    return source_rows * view_.axes[2].longest_span(columns_) + rows_ * columns_ <= most_positions_;
  }

  const PoolView& view_;
  Index lanes_, most_positions_;  // of sources and targets, two arrays each
  Index rows_, columns_, chunk_rows_, chunk_columns_, blocks_;
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
  TieTask(const PoolView& view, const TieCut& cut, const PoolKernels<T>& kernels, const ConvKernels<T>& moves,
          const Arrays& arrays)
      : view_(view), cut_(cut), kernels_(kernels), moves_(moves), arrays_(arrays) {}

  void run(const Band& band, const Scratch<T>& scratch) const noexcept {
    const Box targets = target_box(band);
    load(arrays_.own, band, targets, scratch.own);
    bool is_added = arrays_.is_added;
    if (is_added) load(arrays_.out, band, targets, scratch.out);
    cut_.for_each_chunk(band, [&](const Chunk& chunk) {
      load_chunk(arrays_.keys, band, chunk, scratch.keys);
      if (arrays_.values != nullptr) load_chunk(arrays_.values, band, chunk, scratch.values);
      else std::fill_n(scratch.values, chunk.rows.count * chunk.columns.count * kernels_.lanes, T{1});
      for (Index row = 0; row < band.rows.count; ++row) sum_row(band, chunk, row, is_added, scratch);
      is_added = true;
    });
    if (!is_added) std::fill_n(scratch.out, targets.rows * targets.columns * kernels_.lanes, T{0});  // no sources
    if (arrays_.dividend != nullptr) divide(band, targets, scratch);
    move(band, targets, scratch.out, [&](const auto& part) {
      move_block(part.count, band.planes.count, part.wide, kernels_.lanes, 1, arrays_.out + part.offset,
                 part.position_stride, part.plane_stride);
    });
  }

 private:
  // Positions that follow each other in an array, and in the scratch memory.
  struct Part {
    Index count;
    T* wide;
    Index offset, position_stride, plane_stride;  // in the array
  };

  Box target_box(const Band& band) const noexcept {
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1], &wide = view_.axes[2];
    const Index row = (deep.origin + band.z) * high.extent + high.origin + band.rows.first;
    return {deep.extent * high.extent * wide.extent, row * wide.extent + wide.origin + band.columns.first, wide.extent,
            band.rows.count, band.columns.count};
  }
  // Source rows [y, y + rows) of one z.
  Box source_box(Index z, Index y, Index rows, Range columns) const noexcept {
    const ViewAxis &high = view_.axes[1], &wide = view_.axes[2];
    return {view_.axes[0].sources * high.sources * wide.sources, (z * high.sources + y) * wide.sources + columns.first,
            wide.sources, rows, columns.count};
  }

  template <class Body>
  void move(const Band& band, Box box, T* wide, Body&& body) const noexcept {
    if (box.columns == box.pitch) box = {box.plane, box.first, 0, 1, box.rows * box.columns};
    const PlaneBlock& planes = band.planes;
    for (Index row = 0; row < box.rows; ++row) {
      const Index first = planes.outer * box.plane + box.first + row * box.pitch;
      T* target = wide + row * box.columns * kernels_.lanes;
      if (view_.inner == 1) body(Part{box.columns, target, first, 1, box.plane});
      else body(Part{box.columns, target, first * view_.inner + planes.lane, view_.inner, 1});
    }
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
  void load(const Stored* array, const Band& band, const Box& box, T* wide) const noexcept {
    if (band.planes.count < kernels_.lanes) std::fill_n(wide, box.rows * box.columns * kernels_.lanes, T{0});
    move(band, box, wide, [&](const auto& part) {
      move_block(part.count, band.planes.count, array + part.offset, part.position_stride, part.plane_stride, part.wide,
                 kernels_.lanes, 1);
    });
  }

  template <class Stored>
  void load_chunk(const Stored* array, const Band& band, const Chunk& chunk, T* wide) const noexcept {
    const Index high = band.source_y.count;
    for (Index row = chunk.rows.first; row < chunk.rows.stop();) {
      const Index y = row % high, rows = std::min(high - y, chunk.rows.stop() - row);
      load(array, band, source_box(band.source_z.first + row / high, band.source_y.first + y, rows, chunk.columns),
           wide + (row - chunk.rows.first) * chunk.columns.count * kernels_.lanes);
      row += rows;
    }
  }

  // Where the rows of a chunk that a target row reads begin; returns how many there are.
  Index find_rows(const Band& band, const Chunk& chunk, Index row, Index* offsets) const noexcept {
    const ViewAxis &deep = view_.axes[0], &high = view_.axes[1];
    const Index height = band.source_y.count, pitch = chunk.columns.count * kernels_.lanes;
    const Range planes{band.source_z.first + chunk.rows.first / height,
                       (chunk.rows.stop() - 1) / height - chunk.rows.first / height + 1};
    const Range z = reads_within(deep.of(band.z), deep.step, planes);
    Index count = 0;
    for (Index tz = 0; tz < z.count; ++tz) {
      // The chunk's first row, numbered from the top of this z.
      const Index first = chunk.rows.first - (z.first + tz * deep.step - band.source_z.first) * height;
      const Range kept{band.source_y.first + first, chunk.rows.count};
      const Range y = reads_within(high.of(band.rows.first + row), high.step, kept);
      for (Index ty = 0; ty < y.count; ++ty) offsets[count++] = (y.first + ty * high.step - kept.first) * pitch;
    }
    return count;
  }

  void sum_row(const Band& band, const Chunk& chunk, Index row, bool is_added,
               const Scratch<T>& scratch) const noexcept {
    const ViewAxis& wide = view_.axes[2];
    TieTaps<T> ties{};
    ties.keys = scratch.keys;
    ties.values = scratch.values;
    ties.row_offsets = scratch.row_offsets;
    ties.rows = find_rows(band, chunk, row, scratch.row_offsets);
    ties.column_step = wide.step * kernels_.lanes;
    ties.is_added = is_added;
    if (is_added && ties.rows == 0) return;
    const bool is_whole = chunk.columns.count == band.source_x.count;
    for (Index x = 0; x < band.columns.count; ++x) {
      Range reads = wide.of(band.columns.first + x);
      if (!is_whole) reads = reads_within(reads, wide.step, chunk.columns);
      const Index target = (row * band.columns.count + x) * kernels_.lanes;
      ties.own = scratch.own + target;
      ties.column_offset = (reads.first - chunk.columns.first) * kernels_.lanes;
      ties.columns = reads.count;
      ties.out = scratch.out + target;
      kernels_.sum_of_ties(ties);
    }
  }

  void divide(const Band& band, const Box& targets, const Scratch<T>& scratch) const noexcept {
    load(arrays_.dividend, band, targets, scratch.own);
    for (Index i = 0; i < targets.rows * targets.columns * kernels_.lanes; ++i)
      scratch.out[i] = scratch.own[i] / scratch.out[i];
  }

  const PoolView& view_;
  const TieCut& cut_;
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
  const TieTask<TieArrays<Key, Value, Out>, T> pass(view, cut, kernels, conv_kernels<T>(table), arrays);
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
#define CONVPOOL_HALF_TIES(T)                                           \
  CONVPOOL_TIES(T, T, T)         /* "all" */                            \
  CONVPOOL_TIES(T, T, float)     /* "split": the share of every tie, */ \
  CONVPOOL_TIES(T, float, T)     /* and the sum of shares; */           \
  CONVPOOL_TIES(T, float, float) /* in blocks */
CONVPOOL_TIES(float, float, float)
CONVPOOL_TIES(double, double, double)
CONVPOOL_HALF_TIES(Float16)
CONVPOOL_HALF_TIES(BFloat16)

}  // namespace convpool
