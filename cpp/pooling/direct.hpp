// Small problems, window by window without any preparation: what the other algorithms set up takes longer than the
// work. Sums are added as theirs are, along x and then along y and z, so that an image has the same bits in any batch.
#pragma once

#include <algorithm>

#include "pooling/half.hpp"
#include "pooling/pool_view.hpp"
#include "pooling/pooling.hpp"

namespace convpool {

constexpr Index kMostDirectElements = 1024, kMostDirectWindows = 32, kMostDirectTaps = 6;

inline bool pays_direct(const PoolGeometry& geometry) noexcept {
  if (geometry.input.elements() > kMostDirectElements) return false;
  for (const Axis& axis : geometry.axes)
    if (axis.is_adaptive || std::max(axis.input, axis.output) > kMostDirectWindows || axis.kernel > kMostDirectTaps)
      return false;
  // A window over whole planes is summed in another order (pool_view.cpp merges its axes).
  return geometry.output.spatial[1] > 1 || geometry.output.spatial[2] > 1;
}

// What every target reads: an output its window's inputs, or, backwards, an input the outputs whose windows cover it.
class DirectReads {
 public:
  static DirectReads forward(const PoolGeometry& geometry) noexcept {
    DirectReads reads(geometry.input, geometry.output);
    for (int axis = 0; axis < kAxes; ++axis)
      for (Index window = 0; window < geometry.axes[axis].output; ++window) {
        const WindowTaps taps = geometry.axes[axis].taps(window);
        reads.places_[axis][window] = {taps.first, taps.count, geometry.axes[axis].dilation};
      }
    return reads;
  }
  static DirectReads backward(const PoolGeometry& geometry) noexcept {
    DirectReads reads(geometry.output, geometry.input);
    for (int axis = 0; axis < kAxes; ++axis)
      for (Index position = 0; position < geometry.axes[axis].input; ++position) {
        const CoveringWindows windows = geometry.axes[axis].covering(position);
        reads.places_[axis][position] = {windows.first, windows.count, windows.step};
      }
    return reads;
  }

  // body(z, y, x, offset of the plane among the sources, offset of the target) for all targets.
  template <class Body>
  void each(Body&& body) const noexcept {
    for (Index n = 0; n < targets_.batch; ++n)
      for (Index c = 0; c < targets_.channels; ++c) {
        const Index plane = n * sources_.batch_stride() + c * sources_.channel_stride();
        Index target = n * targets_.batch_stride() + c * targets_.channel_stride();
        for (Index z = 0; z < targets_.spatial[0]; ++z)
          for (Index y = 0; y < targets_.spatial[1]; ++y)
            for (Index x = 0; x < targets_.spatial[2]; ++x, target += targets_.axis_stride(2))
              body(z, y, x, plane, target);
      }
  }

  // body(z, y, x, position in the plane) for the sources of a target in row-major order; end_row(whether it ends a
  // slice).
  template <class Body, class EndRow>
  void taps(Index z, Index y, Index x, Body&& body, EndRow&& end_row) const noexcept {
    const Places &zs = places_[0][z], &ys = places_[1][y], &xs = places_[2][x];
    for (Index tz = 0, iz = zs.first; tz < zs.count; ++tz, iz += zs.step)
      for (Index ty = 0, iy = ys.first; ty < ys.count; ++ty, iy += ys.step) {
        const Index row = (iz * sources_.spatial[1] + iy) * sources_.spatial[2];
        for (Index tx = 0, ix = xs.first; tx < xs.count; ++tx, ix += xs.step) body(iz, iy, ix, row + ix);
        end_row(ty + 1 == ys.count);
      }
  }

  // The sum of value(z, y, x, position) in the order of the separable passes.
  template <class V, class Value>
  V sum(Index z, Index y, Index x, Value&& value) const noexcept {
    V total{}, slice{}, row{};
    bool is_first_slice = true, is_first_row = true, is_first_tap = true;
    const auto add = [](V& sum, V next, bool& is_first) {
      sum = is_first ? next : static_cast<V>(sum + next);
      is_first = false;
    };
    taps(
        z, y, x, [&](auto... place) { add(row, value(place...), is_first_tap); },
        [&](bool is_last_of_slice) {
          if (is_first_tap) return;
          add(slice, row, is_first_row);
          is_first_tap = true;
          if (!is_last_of_slice) return;
          add(total, slice, is_first_slice);
          is_first_row = true;
        });
    return total;
  }

 private:
  struct Places {
    Index first, count, step;
  };
  DirectReads(const Extents& sources, const Extents& targets) noexcept : sources_(sources), targets_(targets) {}

  const Extents &sources_, &targets_;
  Places places_[kAxes][kMostDirectWindows];  // those beyond the targets stay as they are
};

template <class T, class I>
void direct_extremes(const PoolGeometry& geometry, Extreme extreme, const T* input, T* output, I* indices) noexcept {
  const DirectReads windows = DirectReads::forward(geometry);
  const Index step = geometry.input.axis_stride(2);
  windows.each([&](Index z, Index y, Index x, Index plane, Index target) {
    Index best_position = -1;
    T best{};
    windows.taps(
        z, y, x,
        [&](Index, Index, Index, Index position) {
          const T value = input[plane + position * step];
          const bool is_better = extreme == Extreme::max ? !(value <= best) : !(value >= best);
          if (best_position >= 0 && (!is_better || best != best)) return;
          best = value;
          best_position = position;
        },
        [](bool) {});
    output[target] = best;
    if (indices != nullptr) indices[target] = static_cast<I>(best_position);
  });
}

template <class T>
void direct_averages(const PoolGeometry& geometry, const T* input, T* output) noexcept {
  using V = Computed<T>;
  const DirectReads windows = DirectReads::forward(geometry);
  const Index step = geometry.input.axis_stride(2);
  windows.each([&](Index z, Index y, Index x, Index plane, Index target) {
    const V sum = windows.sum<V>(
        z, y, x, [&](Index, Index, Index, Index position) { return static_cast<V>(input[plane + position * step]); });
    output[target] = static_cast<T>(static_cast<V>(sum / static_cast<V>(geometry.divisor_of(z, y, x))));
  });
}

template <class T>
void direct_average_gradients(const PoolGeometry& geometry, const T* grad_output, T* grad_input) noexcept {
  using V = Computed<T>;
  const DirectReads windows = DirectReads::backward(geometry);
  const Index step = geometry.output.axis_stride(2);
  windows.each([&](Index z, Index y, Index x, Index plane, Index target) {
    grad_input[target] = static_cast<T>(windows.sum<V>(z, y, x, [&](Index oz, Index oy, Index ox, Index position) {
      return grad_output[plane + position * step] / static_cast<V>(geometry.divisor_of(oz, oy, ox));
    }));
  });
}

}  // namespace convpool
