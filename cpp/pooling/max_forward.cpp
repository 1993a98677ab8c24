// Max and min pooling.

#include <limits>

#include "pooling/direct.hpp"
#include "pooling/extremes.hpp"
#include "pooling/half.hpp"
#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/power.hpp"
#include "pooling/side_by_side.hpp"
#include "pooling/small_windows.hpp"
#include "pooling/window_reduction.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kMostUneven = 64;  // elements of a row of uneven windows that is worth a transpose

// Integers of 8 and 16 bits are compared as 32-bit ones where positions travel beside them, 16-bit floats as float, and
// others as they are.
template <class T, bool HasPositions>
struct Comparable {
  using type = std::conditional_t<HasPositions && sizeof(T) < 4 && !kIsHalf<T>, std::int32_t, Computed<T>>;
  static constexpr bool kIsCopy = std::is_same_v<T, type>;
  type operator()(T value) const noexcept { return value; }
};

template <class V>
constexpr V worst_value(Extreme extreme) noexcept {
  using Limits = std::numeric_limits<V>;
  if (extreme == Extreme::max) return Limits::has_infinity ? -Limits::infinity() : Limits::min();
  return Limits::has_infinity ? Limits::infinity() : Limits::max();
}

template <class T, class V, class I>
class ExtremeSink {
 public:
  using P = LanePosition<V>;

  ExtremeSink(T* output, I* indices) : output_(output), indices_(indices) {}

  V* place(Index offset) const noexcept {
    if constexpr (std::is_same_v<T, V>) return output_ + offset;
    else return nullptr;
  }
  P* place_positions(Index offset) const noexcept {
    if constexpr (std::is_same_v<P, I>) return indices_ + offset;
    else return nullptr;
  }
  void prepare(SmallWindows<V>&, Index, Index) const noexcept {}
  void finish(const FinishedRows<V>& rows) const noexcept {
    for (Index y = 0; y < rows.y.count; ++y) {
      const Index offset = rows.offset + y * rows.output_pitch;
      for (Index i = 0; i < rows.block.elements() && !std::is_same_v<T, V>; ++i)
        output_[offset + i] = static_cast<T>(rows.values[y * rows.pitch + i]);
      for (Index i = 0; i < rows.block.elements() && indices_ != nullptr && !std::is_same_v<P, I>; ++i)
        indices_[offset + i] = static_cast<I>(rows.positions[y * rows.positions_pitch + i]);
    }
  }

 private:
  T* output_;
  I* indices_;
};

// Extremes of the elements as Convert sees them.
template <class T, class V, class I, class Convert>
void reduce_extremes(const PoolView& view, Extreme extreme, const T* input, T* output, I* indices, int num_threads) {
  const PoolKernels<V>& kernels = pool_kernels<V>(*selected_kernels());
  const bool has_positions = indices != nullptr, is_max = extreme == Extreme::max;
  const ReductionKernels<V>& reduction = has_positions
                                             ? (is_max ? kernels.max_with_positions : kernels.min_with_positions)
                                             : (is_max ? kernels.max : kernels.min);
  const ExtremeSink<T, V, I> sink(output, indices);
  if constexpr (Convert::kIsCopy) {
    const auto kernel = small_windows_kernel(view, reduction.windows, kernels.lanes);
    if (kernel != nullptr && fits_scratch(view, sink, has_positions))
      return run_small_windows(view, kernel, worst_value<V>(extreme), has_positions, sink, input, num_threads);
  }
  const RowReducer<T, V, Convert> rows(view, kernels, reduction, has_positions, true, {}, worst_value<V>(extreme));
  run_windows<V>(view, rows, reduction, kernels.lanes, has_positions, sink, input, num_threads);
}

// Where rows are copied to convert them, they may not be whole planes, as merged axes are, but of small ones.
PoolView view_of_copies(const PoolGeometry& geometry) {
  constexpr Index kMostMerged = 4096;  // positions
  const bool is_merged = geometry.input.plane() <= kMostMerged;
  return is_merged ? forward_view_of_maxima(geometry) : plain_forward_view(with_even_windows(geometry));
}

template <class T, class I>
void compare_elements(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices,
                      int num_threads) {
  using Plain = Comparable<T, false>;
  using Placed = Comparable<T, true>;
  const bool is_copy = indices == nullptr ? Plain::kIsCopy : Placed::kIsCopy;
  const PoolView view = is_copy ? forward_view_of_maxima(geometry) : view_of_copies(geometry);
  if (indices == nullptr)
    reduce_extremes<T, typename Plain::type, I, Plain>(view, extreme, input, output, indices, num_threads);
  else reduce_extremes<T, typename Placed::type, I, Placed>(view, extreme, input, output, indices, num_threads);
}

template <class T, class I>
void compare_side_by_side(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices,
                          int num_threads) {
  const PlaneBlocks<T> blocks(geometry, num_threads);
  blocks.each([&](const PoolGeometry& block, Index first, Carver& carver) {
    const T* source = blocks.bring(block.input, first, input, carver);
    T* target = carver.template take<T>(block.output.elements());
    I* places = indices == nullptr ? nullptr : carver.template take<I>(block.output.elements());
    compare_elements<T, I>(block, extreme, source, target, places, num_threads);
    blocks.take_apart(block.output, first, target, output);
    if (indices != nullptr) blocks.take_apart(block.output, first, places, indices);
  });
}

}  // namespace

template <class T, class I>
void extreme_pool_forward(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices,
                          int num_threads) {
  const PoolAlgorithm algorithm = choose_pool_algorithm(geometry, PoolPass::max_forward);
  if (algorithm == PoolAlgorithm::reference)
    return reference::extreme_pool_forward(geometry, extreme, input, output, indices, num_threads);
  if (algorithm == PoolAlgorithm::direct) return direct_extremes(geometry, extreme, input, output, indices);
  if constexpr (std::is_floating_point_v<T> && std::is_same_v<I, std::int32_t>)  // wider ones are for large planes
    if (pays_side_by_side(geometry, kMostUneven))
      return compare_side_by_side(geometry, extreme, input, output, indices, num_threads);
  compare_elements(geometry, extreme, input, output, indices, num_threads);
}

template <class T>
void max_magnitude(const PoolGeometry& geometry, const T* input, T* output, std::int32_t* indices, int num_threads) {
  find_extremes(view_of_copies(geometry), Order::magnitude, input, output, indices, num_threads);
}

template <class T>
void find_extremes(const PoolView& view, Order order, const T* input, T* output, std::int32_t* indices,
                   int num_threads) {
  using I = std::int32_t;
  if constexpr (!kIsHalf<T>)
    if (order == Order::magnitude)
      return reduce_extremes<T, T, I, Magnitude<T>>(view, Extreme::max, input, output, indices, num_threads);
  const Extreme extreme = order == Order::max ? Extreme::max : Extreme::min;
  reduce_extremes<T, Computed<T>, I, Comparable<T, true>>(view, extreme, input, output, indices, num_threads);
}

template void find_extremes(const PoolView&, Order, const float*, float*, std::int32_t*, int);
template void find_extremes(const PoolView&, Order, const double*, double*, std::int32_t*, int);
template void find_extremes(const PoolView&, Order, const Float16*, Float16*, std::int32_t*, int);
template void find_extremes(const PoolView&, Order, const BFloat16*, BFloat16*, std::int32_t*, int);

template void max_magnitude(const PoolGeometry&, const float*, float*, std::int32_t*, int);
template void max_magnitude(const PoolGeometry&, const double*, double*, std::int32_t*, int);

#define CONVPOOL_MAX_FORWARD(T)                                                                       \
  template void extreme_pool_forward(const PoolGeometry&, Extreme, const T*, T*, std::int32_t*, int); \
  template void extreme_pool_forward(const PoolGeometry&, Extreme, const T*, T*, std::int64_t*, int);
CONVPOOL_MAX_FORWARD(float)
CONVPOOL_MAX_FORWARD(double)
CONVPOOL_MAX_FORWARD(Float16)
CONVPOOL_MAX_FORWARD(BFloat16)
CONVPOOL_MAX_FORWARD(std::int8_t)
CONVPOOL_MAX_FORWARD(std::int16_t)
CONVPOOL_MAX_FORWARD(std::int32_t)
CONVPOOL_MAX_FORWARD(std::int64_t)
CONVPOOL_MAX_FORWARD(std::uint8_t)
CONVPOOL_MAX_FORWARD(std::uint16_t)
CONVPOOL_MAX_FORWARD(std::uint32_t)
CONVPOOL_MAX_FORWARD(std::uint64_t)

}  // namespace convpool
