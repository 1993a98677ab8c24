// Gradients of average and LP pooling: output gradients are scaled once, then summed over the windows that cover an
// input. LP: grad = sign(x) |x|^(p-1) * sum over windows of g * norm^(1-p), in double.

#include <cmath>

#include "pooling/average_divisor.hpp"
#include "pooling/channel_spread.hpp"
#include "pooling/direct.hpp"
#include "pooling/half.hpp"
#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/row_spreader.hpp"
#include "pooling/small_spread.hpp"
#include "pooling/side_by_side.hpp"
#include "pooling/whole_planes.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kMostUneven = 32;  // elements of a row of uneven windows that is worth a transpose

// scaled = gradients / divisor. T: stored, V: computed.
template <class T, class V>
class AverageScale {
 public:
  explicit AverageScale(const AverageDivisor<V>& divisor) : divisor_(divisor) {}
  void operator()(const T* gradients, Index z, Index y, Index column, Index columns, Index lanes,
                  V* scaled) const noexcept {
    if constexpr (std::is_same_v<T, V>) {
      divisor_.divide(z, y, column, columns, lanes, gradients, scaled);
    } else {
      convert(gradients, columns * lanes, scaled);
      divisor_.divide(z, y, column, columns, lanes, scaled, scaled);
    }
  }

 private:
  const AverageDivisor<V>& divisor_;
};

// scaled[i] = gradient * norm^(1 - p), 0 where the norm is 0.
template <class T>
class NormScale {
 public:
  NormScale(const NormKernels<T>& kernels, const T* grad_output, const T* output, double norm_type)
      : kernels_(kernels), grad_output_(grad_output), output_(output), norm_type_(norm_type) {}

  void operator()(const T* gradients, Index, Index, Index, Index columns, Index lanes, double* scaled) const noexcept {
    const Index count = columns * lanes;
    const T* norms = output_ + (gradients - grad_output_);
    if (norm_type_ == 2) return kernels_.over_norms(count, gradients, norms, scaled);
    for (Index i = 0; i < count; ++i) {
      const double gradient = gradients[i], norm = norms[i];
      if (norm == 0) scaled[i] = 0;
      else if (norm_type_ == 1) scaled[i] = gradient;
      else scaled[i] = gradient * std::pow(norm, 1 - norm_type_);
    }
  }

 private:
  const NormKernels<T>& kernels_;
  const T* grad_output_;
  const T* output_;
  double norm_type_;
};

// Sums are written where they belong, or rounded to the type they are stored in.
template <class T, class V>
class PlainSink {
 public:
  explicit PlainSink(T* grad_input) : grad_input_(grad_input) {}

  V* place(Index offset) const noexcept {
    if constexpr (std::is_same_v<T, V>) return grad_input_ + offset;
    else return nullptr;
  }
  LanePosition<V>* place_positions(Index) const noexcept { return nullptr; }
  void finish(const FinishedRows<V>& rows) const noexcept {
    for (Index y = 0; y < rows.y.count && !std::is_same_v<T, V>; ++y)
      convert(rows.values + y * rows.pitch, rows.block.elements(), grad_input_ + rows.offset + y * rows.output_pitch);
  }

 private:
  T* grad_input_;
};

// grad_input = sign(x) |x|^(p-1) * sum, 0 where x is 0 or lies in no window (there it may be infinite or NaN).
template <class T>
class NormSink {
 public:
  NormSink(const PoolView& view, const NormKernels<T>& kernels, const T* input, double norm_type, T* grad_input)
      : view_(view), kernels_(kernels), input_(input), norm_type_(norm_type), grad_input_(grad_input) {
    for (const ViewAxis& axis : view.axes)
      for (const Range& windows : axis.reads) are_all_covered_ = are_all_covered_ && windows.count > 0;
  }

  double* place(Index) const noexcept { return nullptr; }
  LanePosition<double>* place_positions(Index) const noexcept { return nullptr; }
  void finish(const FinishedRows<double>& rows) const noexcept {
    for (Index y = 0; y < rows.y.count; ++y) {
      const Index offset = rows.offset + y * rows.output_pitch;
      scale(rows.block.elements(), rows.values + y * rows.pitch, input_ + offset, grad_input_ + offset);
      if (!are_all_covered_) leave_uncovered(rows.z, rows.y.first + y, rows.block, grad_input_ + offset);
    }
  }

 private:
  void scale(Index count, const double* sums, const T* values, T* target) const noexcept {
    if (norm_type_ == 2) return kernels_.times_values(count, sums, values, target);
    for (Index i = 0; i < count; ++i) {
      const double value = values[i];
      target[i] = value == 0 ? T{0} : static_cast<T>(slope(value) * sums[i]);
    }
  }
  void leave_uncovered(Index z, Index y, const RowBlock& block, T* row) const noexcept {
    const auto& [deep, high, wide] = view_.axes;
    const bool is_row_covered = deep.of(z).count > 0 && high.of(y).count > 0;
    for (Index x = 0; x < block.columns; ++x)
      if (!is_row_covered || wide.of(block.column + x).count == 0)
        std::fill_n(row + x * block.lanes, block.lanes, T{0});
  }
  double slope(double value) const noexcept {
    if (norm_type_ == 1) return value > 0 ? 1 : value < 0 ? -1 : value;
    return std::copysign(std::pow(std::fabs(value), norm_type_ - 1), value);
  }
  const PoolView& view_;
  const NormKernels<T>& kernels_;
  const T* input_;
  double norm_type_;
  T* grad_input_;
  bool are_all_covered_ = true;
};

}  // namespace

template <class T>
void avg_pool_backward(const PoolGeometry& geometry, const T* grad_output, T* grad_input, int num_threads) {
  const PoolAlgorithm algorithm = choose_pool_algorithm(geometry, PoolPass::avg_backward);
  if (algorithm == PoolAlgorithm::reference)
    return reference::avg_pool_backward(geometry, grad_output, grad_input, num_threads);
  if (algorithm == PoolAlgorithm::direct) return direct_average_gradients(geometry, grad_output, grad_input);
  if constexpr (!kIsHalf<T>) {
    if (pays_side_by_side(geometry, kMostUneven)) {
      const PlaneBlocks<T> blocks(geometry, num_threads);
      return blocks.each([&](const PoolGeometry& block, Index first, Carver& carver) {
        const T* source = blocks.bring(block.output, first, grad_output, carver);
        T* target = carver.take<T>(block.input.elements());
        avg_pool_backward(block, source, target, num_threads);
        blocks.take_apart(block.input, first, target, grad_input);
      });
    }
  }
  using V = Computed<T>;
  const PoolView forward = forward_view(geometry);
  if (is_one_window(forward)) {
    const V divisor = static_cast<V>(geometry.divisor_of(0, 0, 0));
    return fill_planes(
        forward.outers, forward.source_plane(), grad_input,
        [&](Index plane) { return static_cast<T>(grad_output[plane] / divisor); }, num_threads);
  }
  const PoolView view = backward_view(geometry);
  const PoolKernels<V>& kernels = pool_kernels<V>(*selected_kernels());
  const AverageDivisor<V> divisor(view, kernels);
  if constexpr (std::is_same_v<T, V>) {
    const auto& [deep, high, wide] = view.axes;
    const auto kernel = window_spread_kernel(deep.window, high.window, wide.window, kernels.average_spreads);
    if (kernel != nullptr && view.inner == 1 && divisor.is_small())
      return run_window_spread(view, kernel, divisor, grad_output, grad_input, num_threads);
    if (pays_channel_spread(view, sizeof(T)) && divisor.is_small())
      return run_channel_spread(view, kernels, divisor, grad_output, grad_input, num_threads);
  }
  const AverageScale<T, V> scale(divisor);
  const RowSpreader<T, V, AverageScale<T, V>> rows(view, kernels, scale);
  run_windows<V>(view, rows, kernels.sum, kernels.lanes, false, PlainSink<T, V>(grad_input), grad_output, num_threads);
}

template <class T>
void lp_pool_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, const T* output,
                      double norm_type, T* grad_input, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::lp_backward) == PoolAlgorithm::reference)
    return reference::lp_pool_backward(geometry, grad_output, input, output, norm_type, grad_input, num_threads);
  if (std::isinf(norm_type)) return max_magnitude_backward(geometry, grad_output, input, grad_input, num_threads);
  const PoolView view = backward_view(geometry);
  const PoolKernels<double>& kernels = pool_kernels<double>(*selected_kernels());
  const NormKernels<T>& norms = pool_kernels<T>(*selected_kernels()).norms;
  const NormScale<T> scale(norms, grad_output, output, norm_type);
  const RowSpreader<T, double, NormScale<T>> rows(view, kernels, scale);
  run_windows<double>(view, rows, kernels.sum, kernels.lanes, false,
                      NormSink<T>(view, norms, input, norm_type, grad_input), grad_output, num_threads);
}

template void avg_pool_backward(const PoolGeometry&, const float*, float*, int);
template void avg_pool_backward(const PoolGeometry&, const double*, double*, int);
template void avg_pool_backward(const PoolGeometry&, const Float16*, Float16*, int);
template void avg_pool_backward(const PoolGeometry&, const BFloat16*, BFloat16*, int);

template void lp_pool_backward(const PoolGeometry&, const float*, const float*, const float*, double, float*, int);
template void lp_pool_backward(const PoolGeometry&, const double*, const double*, const double*, double, double*, int);

}  // namespace convpool
