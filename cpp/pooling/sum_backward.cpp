// Gradients of average and LP pooling: output gradients are scaled once, then summed over the windows that cover an
// input. LP: grad = sign(x) |x|^(p-1) * sum over windows of g * norm^(1-p), in double.

#include <cmath>

#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/row_spreader.hpp"
#include "pooling/side_by_side.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kMostUneven = 10;  // elements of a row of uneven windows that is worth a transpose

// scaled[i] = gradients[i] / divisor of window (z, y, column + i * column_step).
template <class T>
class AverageScale {
 public:
  explicit AverageScale(const PoolView& view) : view_(view) {
    for (const double share : view.shares[2]) column_shares_.push_back(static_cast<T>(share));
  }
  void operator()(const T* gradients, Index z, Index y, Index column, Index column_step, Index count,
                  T* scaled) const noexcept {
    const T row_share =
        static_cast<T>(view_.shares[0][static_cast<std::size_t>(z)] * view_.shares[1][static_cast<std::size_t>(y)]);
    const T* shares = column_shares_.data() + column;
    if (column_step == 0) {
      for (Index i = 0; i < count; ++i) scaled[i] = gradients[i] / (shares[0] * row_share);
    } else {
      for (Index i = 0; i < count; ++i) scaled[i] = gradients[i] / (shares[i] * row_share);
    }
  }

 private:
  const PoolView& view_;
  std::vector<T> column_shares_;
};

// scaled[i] = gradient * norm^(1 - p), 0 where the norm is 0.
template <class T>
class NormScale {
 public:
  NormScale(const T* grad_output, const T* output, double norm_type)
      : grad_output_(grad_output), output_(output), norm_type_(norm_type) {}

  void operator()(const T* gradients, Index, Index, Index, Index, Index count, double* scaled) const noexcept {
    const T* norms = output_ + (gradients - grad_output_);
    for (Index i = 0; i < count; ++i) {
      const double gradient = gradients[i], norm = norms[i];
      if (norm == 0) scaled[i] = 0;
      else if (norm_type_ == 1) scaled[i] = gradient;
      else if (norm_type_ == 2) scaled[i] = gradient / norm;
      else scaled[i] = gradient * std::pow(norm, 1 - norm_type_);
    }
  }

 private:
  const T* grad_output_;
  const T* output_;
  double norm_type_;
};

template <class T>
class PlainSink {
 public:
  PlainSink(const PoolView& view, T* grad_input) : inner_(view.inner), grad_input_(grad_input) {}

  T* place(Index offset, const RowBlock& block) const noexcept {
    return block.lanes == inner_ ? grad_input_ + offset : nullptr;
  }
  LanePosition<T>* place_positions(Index, const RowBlock&) const noexcept { return nullptr; }
  void finish(Index, Index, Index offset, const RowBlock& block, const T* sums, LanePosition<T>*) const noexcept {
    if (sums == grad_input_ + offset) return;
    for_each_stretch(block, inner_, [&](Index from, Index to, Index count) {
      std::copy_n(sums + from, count, grad_input_ + offset + to);
    });
  }

 private:
  Index inner_;
  T* grad_input_;
};

// grad_input = sign(x) |x|^(p-1) * sum, 0 where x is 0.
template <class T>
class NormSink {
 public:
  NormSink(const PoolView& view, const T* input, double norm_type, T* grad_input)
      : inner_(view.inner), input_(input), norm_type_(norm_type), grad_input_(grad_input) {}

  double* place(Index, const RowBlock&) const noexcept { return nullptr; }
  LanePosition<double>* place_positions(Index, const RowBlock&) const noexcept { return nullptr; }
  void finish(Index, Index, Index offset, const RowBlock& block, const double* sums,
              LanePosition<double>*) const noexcept {
    for_each_stretch(block, inner_, [&](Index from, Index to, Index count) {
      for (Index i = 0; i < count; ++i) {
        const double value = input_[offset + to + i];
        grad_input_[offset + to + i] = value == 0 ? T{0} : static_cast<T>(slope(value) * sums[from + i]);
      }
    });
  }

 private:
  double slope(double value) const noexcept {
    if (norm_type_ == 2) return value;
    if (norm_type_ == 1) return value > 0 ? 1 : value < 0 ? -1 : value;
    return std::copysign(std::pow(std::fabs(value), norm_type_ - 1), value);
  }
  Index inner_;
  const T* input_;
  double norm_type_;
  T* grad_input_;
};

}  // namespace

template <class T>
void avg_pool_backward(const PoolGeometry& geometry, const T* grad_output, T* grad_input, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::avg_backward) == PoolAlgorithm::reference)
    return reference::avg_pool_backward(geometry, grad_output, grad_input, num_threads);
  if (pays_side_by_side(geometry, kMostUneven)) {
    const PlaneBlocks<T> blocks(geometry, num_threads);
    return blocks.each([&](const PoolGeometry& block, Index first, Carver& carver) {
      const T* source = blocks.bring(block.output, first, grad_output, carver);
      T* target = carver.take<T>(block.input.elements());
      avg_pool_backward(block, source, target, num_threads);
      blocks.take_apart(block.input, first, target, grad_input);
    });
  }
  const PoolView view = backward_view(geometry);
  const PoolKernels<T>& kernels = pool_kernels<T>(*selected_kernels());
  const AverageScale<T> scale(view);
  const RowSpreader<T, T, AverageScale<T>> rows(view, kernels, scale);
  run_windows<T>(view, rows, kernels.sum, kernels.lanes, false, PlainSink<T>(view, grad_input), grad_output,
                 num_threads);
}

template <class T>
void lp_pool_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, const T* output,
                      double norm_type, T* grad_input, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::lp_backward) == PoolAlgorithm::reference)
    return reference::lp_pool_backward(geometry, grad_output, input, output, norm_type, grad_input, num_threads);
  if (std::isinf(norm_type)) return max_magnitude_backward(geometry, grad_output, input, grad_input, num_threads);
  const PoolView view = backward_view(geometry);
  const PoolKernels<double>& kernels = pool_kernels<double>(*selected_kernels());
  const NormScale<T> scale(grad_output, output, norm_type);
  const RowSpreader<T, double, NormScale<T>> rows(view, kernels, scale);
  run_windows<double>(view, rows, kernels.sum, kernels.lanes, false, NormSink<T>(view, input, norm_type, grad_input),
                      grad_output, num_threads);
}

#define CONVPOOL_SUM_BACKWARD(T)                                           \
  template void avg_pool_backward(const PoolGeometry&, const T*, T*, int); \
  template void lp_pool_backward(const PoolGeometry&, const T*, const T*, const T*, double, T*, int);
CONVPOOL_SUM_BACKWARD(float)
CONVPOOL_SUM_BACKWARD(double)

}  // namespace convpool
