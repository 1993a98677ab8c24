// Average and LP pooling: sums over windows, then a division or a root.

#include <cmath>
#include <limits>

#include "pooling/average_divisor.hpp"
#include "pooling/direct.hpp"
#include "pooling/half.hpp"
#include "pooling/max_magnitude.hpp"
#include "pooling/plan.hpp"
#include "pooling/power.hpp"
#include "pooling/side_by_side.hpp"
#include "pooling/small_windows.hpp"
#include "pooling/whole_planes.hpp"
#include "pooling/window_reduction.hpp"
#include "reference/pooling.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr Index kMostUneven = 32;  // elements of a row of uneven windows that is worth a transpose

// Averages of small windows, which the kernel divides. Output is written directly.
template <class T>
class SmallAverageSink {
 public:
  SmallAverageSink(const AverageDivisor<T>& divisor, T* output) : divisor_(divisor), output_(output) {}

  T* place(Index offset) const noexcept { return output_ + offset; }
  LanePosition<T>* place_positions(Index) const noexcept { return nullptr; }
  void prepare(SmallWindows<T>& windows, Index z, Index y) const noexcept {
    if (!divisor_.is_small()) return;
    windows.column_shares = divisor_.column_shares();
    windows.row_shares = divisor_.row_shares(z, y);
    windows.has_exact_inverses = divisor_.has_exact_inverses();
  }
  void finish(const FinishedRows<T>& rows) const noexcept {
    if constexpr (std::is_floating_point_v<T>)
      if (!divisor_.is_small()) divisor_.divide_rows(rows.z, rows.y, rows.block, rows.values, rows.pitch);
  }

 private:
  const AverageDivisor<T>& divisor_;
  T* output_;
};

// Norms of small windows: the kernel has done everything.
template <class T>
class SmallNormSink {
 public:
  explicit SmallNormSink(T* output) : output_(output) {}

  T* place(Index offset) const noexcept { return output_ + offset; }
  LanePosition<T>* place_positions(Index) const noexcept { return nullptr; }
  void prepare(SmallWindows<T>&, Index, Index) const noexcept {}
  void finish(const FinishedRows<T>&) const noexcept {}

 private:
  T* output_;
};

// T: stored, V: summed. Whole numbers are not divided: their divisor is 1.
template <class T, class V>
class AverageSink {
 public:
  AverageSink(const AverageDivisor<V>& divisor, T* output) : divisor_(divisor), output_(output) {}

  V* place(Index offset) const noexcept {
    if constexpr (std::is_same_v<T, V>) return output_ + offset;
    else return nullptr;
  }
  LanePosition<V>* place_positions(Index) const noexcept { return nullptr; }
  void finish(const FinishedRows<V>& rows) const noexcept {
    if constexpr (std::is_floating_point_v<V>)
      divisor_.divide_rows(rows.z, rows.y, rows.block, rows.values, rows.pitch);
    for (Index y = 0; y < rows.y.count && !std::is_same_v<T, V>; ++y) {
      T* target = output_ + rows.offset + y * rows.output_pitch;
      for (Index i = 0; i < rows.block.elements(); ++i) target[i] = static_cast<T>(rows.values[y * rows.pitch + i]);
    }
  }

 private:
  const AverageDivisor<V>& divisor_;
  T* output_;
};

// finish_run(count, sums, target) for runs of sums.
template <class T, class FinishRun>
class NormSink {
 public:
  NormSink(FinishRun finish_run, T* output) : finish_run_(finish_run), output_(output) {}

  double* place(Index) const noexcept { return nullptr; }
  LanePosition<double>* place_positions(Index) const noexcept { return nullptr; }
  void finish(const FinishedRows<double>& rows) const noexcept {
    for (Index y = 0; y < rows.y.count; ++y)
      finish_run_(rows.block.elements(), rows.values + y * rows.pitch, output_ + rows.offset + y * rows.output_pitch);
  }

 private:
  FinishRun finish_run_;
  T* output_;
};

// Sums of `term` of each element, in double, and `finish_run` of the sums.
template <class T, class Term, class FinishRun>
void sum_powers(const PoolView& view, const T* input, Term term, FinishRun finish_run, T* output, int num_threads) {
  const PoolKernels<double>& kernels = pool_kernels<double>(*selected_kernels());
  const RowReducer<T, double, Term> rows(view, kernels, kernels.sum, false, false, term, 0.0);
  run_windows<double>(view, rows, kernels.sum, kernels.lanes, false, NormSink<T, FinishRun>(finish_run, output), input,
                      num_threads);
}

// A run of finish(sum).
template <class T, class Finish>
auto each_of_run(Finish finish) {
  return [finish](Index count, const double* sums, T* target) {
    for (Index i = 0; i < count; ++i) target[i] = static_cast<T>(finish(sums[i]));
  };
}

// forward(block, source, target, num_threads) for all planes.
template <class T, class Forward>
void forward_side_by_side(const PoolGeometry& geometry, const T* input, T* output, int num_threads, Forward forward) {
  const PlaneBlocks<T> blocks(geometry, num_threads);
  blocks.each([&](const PoolGeometry& block, Index first, Carver& carver) {
    const T* source = blocks.bring(block.input, first, input, carver);
    T* target = carver.take<T>(block.output.elements());
    forward(block, source, target, num_threads);
    blocks.take_apart(block.output, first, target, output);
  });
}

}  // namespace

template <class T>
void avg_pool_forward(const PoolGeometry& geometry, const T* input, T* output, int num_threads) {
  const PoolAlgorithm algorithm = choose_pool_algorithm(geometry, PoolPass::avg_forward);
  if (algorithm == PoolAlgorithm::reference) return reference::avg_pool_forward(geometry, input, output, num_threads);
  if (algorithm == PoolAlgorithm::direct) return direct_averages(geometry, input, output);
  using V = Computed<T>;
  const PoolView view = forward_view(geometry);
  const PoolKernels<V>& kernels = pool_kernels<V>(*selected_kernels());
  if constexpr (std::is_floating_point_v<T>) {
    if (pays_side_by_side(geometry, kMostUneven)) {
      return forward_side_by_side(geometry, input, output, num_threads,
                                  [](auto&&... arguments) { avg_pool_forward<T>(arguments...); });
    }
    if (is_one_window(view)) {
      const T divisor = static_cast<T>(geometry.divisor_of(0, 0, 0));
      const auto divide = [&](T* sums, Index count) { kernels.divide(count, sums, divisor, sums); };
      return reduce_planes<T>(view, kernels.sum, input, output, nullptr, divide, num_threads);
    }
  }
  const AverageDivisor<V> divisor(view, kernels);
  if constexpr (std::is_same_v<T, V>) {
    if (const auto kernel = small_windows_kernel(view, kernels.sum.windows, kernels.lanes))
      return run_small_windows(view, kernel, V{0}, false, SmallAverageSink<T>(divisor, output), input, num_threads);
  }
  const RowReducer<T, V, Widen<T>> rows(view, kernels, kernels.sum, false, false, {}, V{0});
  run_windows<V>(view, rows, kernels.sum, kernels.lanes, false, AverageSink<T, V>(divisor, output), input, num_threads);
}

template <class T>
void lp_pool_forward(const PoolGeometry& geometry, const T* input, double norm_type, T* output, int num_threads) {
  if (choose_pool_algorithm(geometry, PoolPass::lp_forward) == PoolAlgorithm::reference)
    return reference::lp_pool_forward(geometry, input, norm_type, output, num_threads);
  if (pays_side_by_side(geometry, kMostUneven)) {
    return forward_side_by_side(geometry, input, output, num_threads,
                                [norm_type](const PoolGeometry& block, const T* source, T* target, int threads) {
                                  lp_pool_forward<T>(block, source, norm_type, target, threads);
                                });
  }
  if (std::isinf(norm_type)) return max_magnitude<T>(geometry, input, output, nullptr, num_threads);
  const PoolView view = forward_view(geometry);
  const PoolKernels<T>& kernels = pool_kernels<T>(*selected_kernels());
  const NormKernels<T>& norms = kernels.norms;
  if (norm_type == 1) {
    const auto keep = each_of_run<T>([](double sum) { return sum; });
    return sum_powers(view, input, WideMagnitude<T>{}, keep, output, num_threads);
  }
  if (norm_type == 2) {
    const auto kernel = small_windows_kernel(view, norms.windows, kernels.lanes);
    if (kernel != nullptr && view.axes[0].most_reads == 1)  // else too many squares are found again
      return run_small_windows(view, kernel, T{0}, false, SmallNormSink<T>(output), input, num_threads);
    return sum_powers(view, input, Square<T>{norms}, norms.roots, output, num_threads);
  }
  const auto root = each_of_run<T>([norm_type](double sum) { return std::pow(sum, 1 / norm_type); });
  sum_powers(view, input, AnyPower<T>{norm_type}, root, output, num_threads);
}

#define CONVPOOL_AVERAGE(T) template void avg_pool_forward(const PoolGeometry&, const T*, T*, int);
CONVPOOL_AVERAGE(float)
CONVPOOL_AVERAGE(double)
CONVPOOL_AVERAGE(Float16)
CONVPOOL_AVERAGE(BFloat16)
CONVPOOL_AVERAGE(std::uint8_t)
CONVPOOL_AVERAGE(std::uint16_t)
CONVPOOL_AVERAGE(std::uint32_t)
CONVPOOL_AVERAGE(std::uint64_t)

template void lp_pool_forward(const PoolGeometry&, const float*, double, float*, int);
template void lp_pool_forward(const PoolGeometry&, const double*, double, double*, int);

}  // namespace convpool
