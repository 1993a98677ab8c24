// Dense convolution from few channels, output channels as lanes: a weight vector meets the source elements one by one.
//
// Layout:    source elements by offset, so that any layout and stride is the caller's; weights, targets and gradients
// are
//            [..][vectors * lanes].
// Semantics: plain sums of products.
// Numerics:  each accumulator sums the products of its call in order, then is added once.
// Cost:      `Vectors` loads and as many broadcasts as pixels (or entries) for the product of both in multiply-adds.

// Step: distance of neighbouring pixels in the source where it is known, else 0.
template <class T, int Pixels, int Vectors, int Step>
static void output_lanes(const OutputLanes<T>& tile) {
  constexpr Index kWidth = Vectors * kLanes<T>;
  const Index step = Step > 0 ? Step : tile.step;
  const T* weights = tile.weights;
  Vector<T> sum[Pixels][Vectors];
#pragma GCC unroll 16
  for (int pixel = 0; pixel < Pixels; ++pixel)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      sum[pixel][v] = Vector<T>{};
      __builtin_prefetch(tile.target + pixel * tile.target_pitch + v * kLanes<T>, 1);
    }
  for (Index entry = 0; entry < tile.depth; ++entry, weights += kWidth) {
    const T* source = tile.source + tile.offsets[entry];
    Vector<T> factor[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) factor[v] = load(weights + v * kLanes<T>);
#pragma GCC unroll 16
    for (int pixel = 0; pixel < Pixels; ++pixel) {
      const Vector<T> value = broadcast(source[pixel * step]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[pixel][v] = multiply_add(factor[v], value, sum[pixel][v]);
    }
  }
  T* target = tile.target;
#pragma GCC unroll 16
  for (int pixel = 0; pixel < Pixels; ++pixel, target += tile.target_pitch)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* place = target + v * kLanes<T>;
      store(place, load(tile.is_added ? place : tile.bias + v * kLanes<T>) + sum[pixel][v]);
    }
}

template <class T, int Entries, int Vectors>
static void output_products(const OutputProducts<T>& tile) {
  constexpr Index kWidth = Vectors * kLanes<T>;
  const T* sources[Entries];
#pragma GCC unroll 8
  for (int entry = 0; entry < Entries; ++entry) sources[entry] = tile.source + tile.offsets[entry];
  Vector<T> sum[Entries][Vectors];
#pragma GCC unroll 8
  for (int entry = 0; entry < Entries; ++entry)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[entry][v] = Vector<T>{};
  for (Index row = 0; row < tile.rows; ++row) {
    const T* gradients = tile.gradients + row * tile.gradient_row_pitch;
    Index place = row * tile.source_row_pitch;
    for (Index pixel = 0; pixel < tile.pixels; ++pixel, gradients += tile.gradient_pitch, place += tile.step) {
      Vector<T> gradient[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) gradient[v] = load(gradients + v * kLanes<T>);
#pragma GCC unroll 8
      for (int entry = 0; entry < Entries; ++entry) {
        const Vector<T> value = broadcast(sources[entry][place]);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[entry][v] = multiply_add(gradient[v], value, sum[entry][v]);
      }
    }
  }
  T* target = tile.sums;
#pragma GCC unroll 8
  for (int entry = 0; entry < Entries; ++entry, target += kWidth)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* place = target + v * kLanes<T>;
      store(place, load(place) + sum[entry][v]);
    }
}

// Accumulators, the vectors they share and a broadcast stay in registers.
constexpr bool fits_output_tile(int count, int vectors) { return (count + 1) * vectors + 1 <= kRegisters; }

template <class T, int Vectors, int Pixels>
constexpr void fill_output_pixels(OutputLaneKernels<T>& kernels) {
  if constexpr (fits_output_tile(Pixels, Vectors)) {
    kernels.taps[Vectors - 1][Pixels - 1][0] = output_lanes<T, Pixels, Vectors, 0>;
    kernels.taps[Vectors - 1][Pixels - 1][1] = output_lanes<T, Pixels, Vectors, 1>;
  }
}

template <class T, int Vectors, int Entries>
constexpr void fill_output_entries(OutputLaneKernels<T>& kernels) {
  if constexpr (fits_output_tile(Entries, Vectors))
    kernels.products[Vectors - 1][Entries - 1] = output_products<T, Entries, Vectors>;
}

template <class T, int Vectors>
constexpr void fill_output_vectors(OutputLaneKernels<T>& kernels) {
  fill_output_pixels<T, Vectors, 1>(kernels);
  fill_output_pixels<T, Vectors, 4>(kernels);
  fill_output_pixels<T, Vectors, 5>(kernels);
  fill_output_pixels<T, Vectors, 6>(kernels);
  fill_output_pixels<T, Vectors, 7>(kernels);
  fill_output_pixels<T, Vectors, 10>(kernels);
  fill_output_pixels<T, Vectors, 14>(kernels);
  fill_output_entries<T, Vectors, 1>(kernels);
  fill_output_entries<T, Vectors, 2>(kernels);
  fill_output_entries<T, Vectors, 4>(kernels);
  fill_output_entries<T, Vectors, 6>(kernels);
  fill_output_entries<T, Vectors, 8>(kernels);
}

template <class T>
constexpr OutputLaneKernels<T> make_output_lane_kernels() {
  OutputLaneKernels<T> kernels{};
  // A tile of fewer than five pixels would wait for its multiply-adds.
  kernels.most_vectors = fits_output_tile(6, 4) ? 4 : 2;
  fill_output_vectors<T, 1>(kernels);
  fill_output_vectors<T, 2>(kernels);
  if constexpr (fits_output_tile(6, 4)) {
    fill_output_vectors<T, 3>(kernels);
    fill_output_vectors<T, 4>(kernels);
  }
  return kernels;
}
