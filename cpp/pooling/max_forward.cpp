#include <limits>

#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/whole_planes.hpp"
#include "pooling/power.hpp"
#include "pooling/side_by_side.hpp"
#include "pooling/window_reduction.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kMostUneven = 64;  // elements of a row of uneven windows that is worth a transpose

// The type in which elements of type T are compared: order and equality survive the conversion and back.
template <class T>
struct Comparable {
  using type = std::conditional_t<
      std::is_floating_point_v<T>, T,
      std::conditional_t<(sizeof(T) == 8 || (sizeof(T) == 4 && std::is_unsigned_v<T>)), std::int64_t, std::int32_t>>;
  static constexpr bool kIsCopy = std::is_same_v<T, type>;

  // Flipping the top bit maps the order of uint64 to that of int64.
  static constexpr std::uint64_t kFlip = std::is_same_v<T, std::uint64_t> ? std::uint64_t{1} << 63 : 0;

  type operator()(T value) const noexcept {
    if constexpr (kFlip != 0) return static_cast<type>(value ^ kFlip);
    else return static_cast<type>(value);
  }
  static T back(type value) noexcept {
    if constexpr (kFlip != 0) return static_cast<T>(value) ^ kFlip;
    else return static_cast<T>(value);
  }
  static constexpr type lowest() noexcept {
    return std::is_floating_point_v<type> ? -std::numeric_limits<type>::infinity() : std::numeric_limits<type>::min();
  }
};

template <class T, class I>
class MaxSink {
 public:
  using V = typename Comparable<T>::type;
  using P = LanePosition<V>;

  MaxSink(const PoolView& view, T* output, I* indices) : inner_(view.inner), output_(output), indices_(indices) {}

  V* place(Index offset, const RowBlock& block) const noexcept {
    return Comparable<T>::kIsCopy && block.lanes == inner_ ? reinterpret_cast<V*>(output_ + offset) : nullptr;
  }
  P* place_positions(Index offset, const RowBlock& block) const noexcept {
    return std::is_same_v<P, I> && block.lanes == inner_ ? reinterpret_cast<P*>(indices_ + offset) : nullptr;
  }
  void finish(Index, Index, Index offset, const RowBlock& block, const V* values, const P* positions) const noexcept {
    const bool has_values = place(offset, block) != nullptr;
    const bool has_positions = indices_ == nullptr || place_positions(offset, block) != nullptr;
    for_each_stretch(block, inner_, [&](Index from, Index to, Index count) {
      for (Index i = 0; i < count && !has_values; ++i) output_[offset + to + i] = Comparable<T>::back(values[from + i]);
      for (Index i = 0; i < count && !has_positions; ++i)
        indices_[offset + to + i] = static_cast<I>(positions[from + i]);
    });
  }

 private:
  Index inner_;
  T* output_;
  I* indices_;
};

// Maxima of the elements as Convert sees them.
template <class T, class I, class Convert>
void reduce_maxima(const PoolGeometry& geometry, const T* input, T* output, I* indices, int num_threads) {
  using V = typename Comparable<T>::type;
  const PoolView view = forward_view_of_maxima(geometry);
  const PoolKernels<V>& kernels = pool_kernels<V>(*selected_kernels());
  const ReductionKernels<V>& maximum = indices == nullptr ? kernels.max : kernels.max_with_positions;
  const RowReducer<T, V, Convert> rows(view, kernels, maximum, {}, Comparable<T>::lowest());
  run_windows<V>(view, rows, maximum, kernels.lanes, indices != nullptr, MaxSink<T, I>(view, output, indices), input,
                 num_threads);
}

template <class T, class I, class Convert>
void reduce_maxima_side_by_side(const PoolGeometry& geometry, const T* input, T* output, I* indices, int num_threads) {
  const PlaneBlocks<T> blocks(geometry, num_threads);
  blocks.each([&](const PoolGeometry& block, Index first, Carver& carver) {
    const T* source = blocks.bring(block.input, first, input, carver);
    T* target = carver.template take<T>(block.output.elements());
    I* places = indices == nullptr ? nullptr : carver.template take<I>(block.output.elements());
    reduce_maxima<T, I, Convert>(block, source, target, places, num_threads);
    blocks.take_apart(block.output, first, target, output);
    if (indices != nullptr) blocks.take_apart(block.output, first, places, indices);
  });
}

}  // namespace

template <class T, class I>
void max_pool_forward(const PoolGeometry& geometry, const T* input, T* output, I* indices, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::max_forward) == PoolAlgorithm::reference)
    return reference::max_pool_forward(geometry, input, output, indices, num_threads);
  if constexpr (std::is_floating_point_v<T>)
    if (pays_side_by_side(geometry, kMostUneven))
      return reduce_maxima_side_by_side<T, I, Comparable<T>>(geometry, input, output, indices, num_threads);
  reduce_maxima<T, I, Comparable<T>>(geometry, input, output, indices, num_threads);
}

template <class T>
void max_magnitude(const PoolGeometry& geometry, const T* input, T* output, std::int32_t* indices, int num_threads) {
  reduce_maxima<T, std::int32_t, Magnitude<T>>(geometry, input, output, indices, num_threads);
}

template void max_magnitude(const PoolGeometry&, const float*, float*, std::int32_t*, int);
template void max_magnitude(const PoolGeometry&, const double*, double*, std::int32_t*, int);

#define CONVPOOL_MAX_FORWARD(T)                                                          \
  template void max_pool_forward(const PoolGeometry&, const T*, T*, std::int32_t*, int); \
  template void max_pool_forward(const PoolGeometry&, const T*, T*, std::int64_t*, int);
CONVPOOL_MAX_FORWARD(float)
CONVPOOL_MAX_FORWARD(double)
CONVPOOL_MAX_FORWARD(std::int8_t)
CONVPOOL_MAX_FORWARD(std::int16_t)
CONVPOOL_MAX_FORWARD(std::int32_t)
CONVPOOL_MAX_FORWARD(std::int64_t)
CONVPOOL_MAX_FORWARD(std::uint8_t)
CONVPOOL_MAX_FORWARD(std::uint16_t)
CONVPOOL_MAX_FORWARD(std::uint32_t)
CONVPOOL_MAX_FORWARD(std::uint64_t)

}  // namespace convpool
