#include "reference/pooling.hpp"

#include <cmath>

#include "pooling/half.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool::reference {

namespace {

using std::int64_t;

// Offset of (z, y, x) in one (n, c) plane, in elements of the array.
struct PlaneStrides {
  int64_t z, y, x;
  explicit PlaneStrides(const Extents& extents)
      : z(extents.axis_stride(0)), y(extents.axis_stride(1)), x(extents.axis_stride(2)) {}
  int64_t at(int64_t iz, int64_t iy, int64_t ix) const noexcept { return iz * z + iy * y + ix * x; }
};

int64_t plane_offset(const Extents& extents, int64_t plane) noexcept {
  return plane / extents.channels * extents.batch_stride() + plane % extents.channels * extents.channel_stride();
}

// One window of one plane: where its output lies and which elements it reads.
struct Window {
  int64_t output;  // offset in the output plane
  int64_t divisor;
  WindowTaps z, y, x;
};

int workers_of(const PoolGeometry& geometry, int num_threads) {
  const int64_t planes = geometry.input.batch * geometry.input.channels;
  int64_t taps = 1;
  for (const Axis& axis : geometry.axes) taps *= axis.largest_window();
  return worker_count(num_threads, planes, planes * geometry.output.plane() * taps);
}

// Calls body(plane offset in the input, plane offset in the output, worker) for every (n, c).
template <class Body>
void share_planes(const PoolGeometry& geometry, int workers, Body&& body) {
  parallel_for(geometry.input.batch * geometry.input.channels, workers, [&](int64_t plane, int worker) {
    body(plane_offset(geometry.input, plane), plane_offset(geometry.output, plane), worker);
  });
}

// The same without the worker.
template <class Body>
void for_each_plane(const PoolGeometry& geometry, int num_threads, Body&& body) {
  share_planes(geometry, workers_of(geometry, num_threads),
               [&](int64_t input_plane, int64_t output_plane, int) { body(input_plane, output_plane); });
}

template <class Body>
void for_each_window(const PoolGeometry& geometry, Body&& body) {
  const PlaneStrides output(geometry.output);
  const Triple& windows = geometry.output.spatial;
  for (int64_t z = 0; z < windows[0]; ++z)
    for (int64_t y = 0; y < windows[1] && !is_interrupted(); ++y)
      for (int64_t x = 0; x < windows[2]; ++x)
        body(Window{output.at(z, y, x), geometry.divisor_of(z, y, x), geometry.axes[0].taps(z),
                    geometry.axes[1].taps(y), geometry.axes[2].taps(x)});
}

// Calls body(offset in the input plane, flat position) for the real elements of a window in row-major order.
template <class Body>
void for_each_tap(const PoolGeometry& geometry, const Window& window, Body&& body) {
  const PlaneStrides input(geometry.input);
  const Triple& extent = geometry.input.spatial;
  for (int64_t tz = 0; tz < window.z.count; ++tz)
    for (int64_t ty = 0; ty < window.y.count; ++ty)
      for (int64_t tx = 0; tx < window.x.count; ++tx) {
        const int64_t z = window.z.first + tz * geometry.axes[0].dilation;
        const int64_t y = window.y.first + ty * geometry.axes[1].dilation;
        const int64_t x = window.x.first + tx * geometry.axes[2].dilation;
        body(input.at(z, y, x), (z * extent[1] + y) * extent[2] + x);
      }
}

template <class T>
struct Found {
  T value{};
  int64_t offset = -1;
  int64_t position = -1;
};

// Absolute values are compared where `by_magnitude`.
template <class T>
Found<T> first_extreme(const PoolGeometry& geometry, Extreme extreme, const Window& window, const T* plane,
                       bool by_magnitude = false) {
  Found<T> best;
  for_each_tap(geometry, window, [&](int64_t offset, int64_t position) {
    T value = plane[offset];
    if constexpr (std::is_floating_point_v<T>) value = by_magnitude ? std::fabs(value) : value;
    const bool is_first_nan = value != value && best.value == best.value;
    const bool is_better = extreme == Extreme::max ? value > best.value : value < best.value;
    if (best.position < 0 || is_better || is_first_nan) best = {value, offset, position};
  });
  return best;
}

// Calls body(plane offset in the input, plane offset in the output, sums, step) for every (n, c). The gradient of the
// element at position p of the plane is what was added to sums[p * step], which start at 0. Sums of 16-bit floats are
// kept as floats, beside the output, and rounded once.
template <class T, class Body>
void for_each_summed_plane(const PoolGeometry& geometry, T* grad_input, int num_threads, Body&& body) {
  const int64_t plane = geometry.input.plane(), stride = geometry.input.axis_stride(2);
  const auto add = [&](int64_t input_plane, int64_t output_plane, Computed<T>* sums, int64_t step) {
    for (int64_t i = 0; i < plane; ++i) sums[i * step] = 0;
    body(input_plane, output_plane, sums, step);
  };
  if constexpr (!kIsHalf<T>) {
    for_each_plane(geometry, num_threads, [&](int64_t input_plane, int64_t output_plane) {
      add(input_plane, output_plane, grad_input + input_plane, stride);
    });
  } else {
    const int workers = workers_of(geometry, num_threads);
    const Workspace memory(workers, static_cast<std::size_t>(plane) * sizeof(float));
    share_planes(geometry, workers, [&](int64_t input_plane, int64_t output_plane, int worker) {
      float* sums = reinterpret_cast<float*>(memory.of(worker));
      add(input_plane, output_plane, sums, 1);
      for (int64_t i = 0; i < plane; ++i) grad_input[input_plane + i * stride] = static_cast<T>(sums[i]);
    });
  }
}

// Adds a window's gradient to the sum of every element equal to its extreme (NaN equals NaN here).
template <class T, class Sum>
void spread_over_ties(const PoolGeometry& geometry, Extreme extreme, const Window& window, const T* plane, Sum gradient,
                      bool is_split, Sum* sums, int64_t step) {
  const T found = first_extreme(geometry, extreme, window, plane).value;
  const auto is_tie = [found](T value) { return value == found || (value != value && found != found); };
  int64_t ties = 0;
  for_each_tap(geometry, window, [&](int64_t offset, int64_t) { ties += is_tie(plane[offset]); });
  const Sum share = is_split ? gradient / static_cast<Sum>(ties) : gradient;
  for_each_tap(geometry, window, [&](int64_t offset, int64_t position) {
    if (is_tie(plane[offset])) sums[position * step] += share;
  });
}

// |x|^p for a finite p > 0.
double power(double value, double exponent) noexcept {
  const double magnitude = std::fabs(value);
  return exponent == 1 ? magnitude : exponent == 2 ? magnitude * magnitude : std::pow(magnitude, exponent);
}

double sign(double value) noexcept { return value > 0 ? 1 : value < 0 ? -1 : value; }

}  // namespace

template <class T, class I>
void extreme_pool_forward(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices,
                          int num_threads) {
  for_each_plane(geometry, num_threads, [&](int64_t input_plane, int64_t output_plane) {
    for_each_window(geometry, [&](const Window& window) {
      const Found<T> best = first_extreme(geometry, extreme, window, input + input_plane);
      output[output_plane + window.output] = best.value;
      if (indices != nullptr) indices[output_plane + window.output] = static_cast<I>(best.position);
    });
  });
}

template <class T, class I>
void extreme_pool_backward(const PoolGeometry& geometry, Extreme extreme, const T* grad_output, const T* input,
                           GivenIndices<I> indices, Ties ties, T* grad_input, int num_threads) {
  using Sum = Computed<T>;
  const auto add = [&](int64_t input_plane, int64_t output_plane, Sum* sums, int64_t step) {
    for_each_window(geometry, [&](const Window& window) {
      const int64_t output = output_plane + window.output;
      const Sum gradient = grad_output[output];
      if (ties != Ties::first) {
        spread_over_ties(geometry, extreme, window, input + input_plane, gradient, ties == Ties::split, sums, step);
      } else if (indices.data != nullptr) {
        sums[indices.data[output] * step] += gradient;
      } else {
        sums[first_extreme(geometry, extreme, window, input + input_plane).position * step] += gradient;
      }
    });
  };
  for_each_summed_plane(geometry, grad_input, num_threads, add);
}

template <class T>
void avg_pool_forward(const PoolGeometry& geometry, const T* input, T* output, int num_threads) {
  for_each_plane(geometry, num_threads, [&](int64_t input_plane, int64_t output_plane) {
    for_each_window(geometry, [&](const Window& window) {
      using V = Computed<T>;
      V sum{0};
      for_each_tap(geometry, window, [&](int64_t offset, int64_t) {
        sum = static_cast<V>(sum + static_cast<V>(input[input_plane + offset]));
      });
      output[output_plane + window.output] = static_cast<T>(static_cast<V>(sum / static_cast<V>(window.divisor)));
    });
  });
}

template <class T>
void avg_pool_backward(const PoolGeometry& geometry, const T* grad_output, T* grad_input, int num_threads) {
  using Sum = Computed<T>;
  const auto add = [&](int64_t, int64_t output_plane, Sum* sums, int64_t step) {
    for_each_window(geometry, [&](const Window& window) {
      const Sum share = grad_output[output_plane + window.output] / static_cast<Sum>(window.divisor);
      for_each_tap(geometry, window, [&](int64_t, int64_t position) { sums[position * step] += share; });
    });
  };
  for_each_summed_plane(geometry, grad_input, num_threads, add);
}

template <class T>
void lp_pool_forward(const PoolGeometry& geometry, const T* input, double norm_type, T* output, int num_threads) {
  for_each_plane(geometry, num_threads, [&](int64_t input_plane, int64_t output_plane) {
    for_each_window(geometry, [&](const Window& window) {
      const T* plane = input + input_plane;
      T& target = output[output_plane + window.output];
      if (std::isinf(norm_type)) {
        target = first_extreme(geometry, Extreme::max, window, plane, true).value;
        return;
      }
      double sum = 0;
      for_each_tap(geometry, window, [&](int64_t offset, int64_t) { sum += power(plane[offset], norm_type); });
      target = static_cast<T>(norm_type == 1 ? sum : norm_type == 2 ? std::sqrt(sum) : std::pow(sum, 1 / norm_type));
    });
  });
}

template <class T>
void lp_pool_backward(const PoolGeometry& geometry, const T* grad_output, const T* input, const T* output,
                      double norm_type, T* grad_input, int num_threads) {
  const auto add = [&](int64_t input_plane, int64_t output_plane, T* sums, int64_t step) {
    const T* plane = input + input_plane;
    for_each_window(geometry, [&](const Window& window) {
      const double gradient = grad_output[output_plane + window.output];
      if (std::isinf(norm_type)) {
        const Found<T> found = first_extreme(geometry, Extreme::max, window, plane, true);
        sums[found.position * step] += static_cast<T>(gradient * sign(plane[found.offset]));
        return;
      }
      const double norm = output[output_plane + window.output];
      if (norm == 0) return;
      const double scale = gradient * std::pow(norm, 1 - norm_type);
      for_each_tap(geometry, window, [&](int64_t offset, int64_t position) {
        const double value = plane[offset];
        if (value != 0) sums[position * step] += static_cast<T>(scale * sign(value) * power(value, norm_type - 1));
      });
    });
  };
  for_each_summed_plane(geometry, grad_input, num_threads, add);
}

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

#define CONVPOOL_GRADIENTS(T)                                                                                       \
  template void extreme_pool_backward(const PoolGeometry&, Extreme, const T*, const T*, GivenIndices<std::int32_t>, \
                                      Ties, T*, int);                                                               \
  template void extreme_pool_backward(const PoolGeometry&, Extreme, const T*, const T*, GivenIndices<std::int64_t>, \
                                      Ties, T*, int);                                                               \
  template void avg_pool_backward(const PoolGeometry&, const T*, T*, int);
CONVPOOL_GRADIENTS(float)
CONVPOOL_GRADIENTS(double)
CONVPOOL_GRADIENTS(Float16)
CONVPOOL_GRADIENTS(BFloat16)

#define CONVPOOL_NORMS(T)                                                        \
  template void lp_pool_forward(const PoolGeometry&, const T*, double, T*, int); \
  template void lp_pool_backward(const PoolGeometry&, const T*, const T*, const T*, double, T*, int);
CONVPOOL_NORMS(float)
CONVPOOL_NORMS(double)

#define CONVPOOL_SUMS(T) template void avg_pool_forward(const PoolGeometry&, const T*, T*, int);
CONVPOOL_SUMS(float)
CONVPOOL_SUMS(double)
CONVPOOL_SUMS(Float16)
CONVPOOL_SUMS(BFloat16)
CONVPOOL_SUMS(std::uint8_t)
CONVPOOL_SUMS(std::uint16_t)
CONVPOOL_SUMS(std::uint32_t)
CONVPOOL_SUMS(std::uint64_t)

}  // namespace convpool::reference
