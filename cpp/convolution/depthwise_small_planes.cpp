#include "convolution/depthwise_small_planes.hpp"

#include <algorithm>
#include <cstdlib>

#include "convolution/plane_blocks.hpp"

namespace convpool {

namespace {

// Planes follow each other, rows follow each other.
bool is_dense(const Grid& grid) {
  const Index plane = grid.extent[1] * grid.extent[2];
  return grid.extent[0] == 1 && grid.axis_stride[2] == 1 && grid.axis_stride[1] == grid.extent[2] &&
         grid.channel_stride == plane;
}

bool is_small(const Grid& grid) {
  const Index rows = grid.extent[1], columns = grid.extent[2];
  return rows >= kSmallPlane.least_rows && rows <= kSmallPlane.most_rows && columns >= kSmallPlane.least_columns &&
         columns <= kSmallPlane.most_columns;
}

// Extent of the kernel, 0 if it is not an odd square in the middle of its window.
Index centred_kernel(const Correlation& part) {
  const Index taps = static_cast<Index>(part.taps.size());
  for (Index kernel = 3; kernel <= kSmallPlane.most_kernel; kernel += 2) {
    const auto is_inside = [&](const Tap& tap) {
      return tap.offset[0] == 0 && std::abs(tap.offset[1]) <= kernel / 2 && std::abs(tap.offset[2]) <= kernel / 2;
    };
    if (taps == kernel * kernel && std::all_of(part.taps.begin(), part.taps.end(), is_inside)) return kernel;
  }
  return 0;
}

// [i][j], from the first tap of a window on.
std::vector<Index> weight_offsets(const Correlation& part, Index kernel) {
  std::vector<Index> offsets(part.taps.size());
  for (const Tap& tap : part.taps)
    offsets[(tap.offset[1] + kernel / 2) * kernel + tap.offset[2] + kernel / 2] = tap.weight_offset;
  return offsets;
}

// What the weights of some channels are to the kernels.
template <class T>
class BlockWeights {
 public:
  static std::size_t bytes(const Correlation& part) {
    return static_cast<std::size_t>(kMostBlockChannels) * (part.taps.size() + kSmallPlane.most_rows) * sizeof(T);
  }

  BlockWeights(const Correlation& part, const std::vector<Index>& offsets, Index kernel, const PlaneBlock& block,
               const T* weight, const T* bias, T* memory) noexcept
      : weights(memory), ends(memory + block.channels * kernel * kernel) {
    const Index rows = part.target.extent[1];
    for (Index channel = 0; channel < block.channels; ++channel) {
      T *taps = weights + channel * kernel * kernel, *end = ends + channel * rows;
      const T* own = weight + (block.first + channel) * part.weight_group_stride;
      T none{0};
      for (std::size_t i = 0; i < offsets.size(); ++i) {
        taps[i] = own[offsets[i]];
        none += taps[i] * T{0};
      }
      for (Index y = 0; y < rows; ++y)
        end[y] = (none == 0 ? T{0} : on_padding(taps, kernel, y, rows)) +
                 (bias == nullptr ? T{0} : bias[block.first + channel]);
    }
  }

  T *weights, *ends;

 private:
  // What the rows of the kernel that lie on padding give: 0, but not by infinite weights.
  static T on_padding(const T* taps, Index kernel, Index y, Index rows) noexcept {
    T sum{0};
    for (Index i = 0; i < kernel; ++i) {
      const Index row = y + i - kernel / 2;
      for (Index j = 0; j < kernel && (row < 0 || row >= rows); ++j) sum += taps[i * kernel + j] * T{0};
    }
    return sum;
  }
};

template <class T>
void run_part(const ConvKernels<T>& kernels, const Correlation& part, const T* source, const T* weight, const T* bias,
              T* target, int num_threads) {
  const Index kernel = centred_kernel(part), rows = part.target.extent[1], columns = part.target.extent[2];
  const auto run = kernels.small_plane.rows[kernel / 2 - 1][rows - kSmallPlane.least_rows];
  const std::vector<Index> offsets = weight_offsets(part, kernel);
  const PlaneBlocks blocks(part, num_threads);
  const Workspace memory(blocks.workers(), BlockWeights<T>::bytes(part));
  blocks.each([&](const PlaneBlock& block, int worker) {
    const BlockWeights<T> own(part, offsets, kernel, block, weight, bias, reinterpret_cast<T*>(memory.of(worker)));
    for (Index image = block.first_image; image < block.stop_image && !is_interrupted(); ++image) {
      const Index first = image * part.source.batch_stride + block.first * rows * columns;
      run({block.channels, columns, source + first, own.weights, own.ends, target + first});
    }
  });
}

}  // namespace

bool small_planes_accept(Index lanes, const Correlation& part, ConvPass pass) {
  const Index kernel = centred_kernel(part);
  const bool is_same = std::equal(part.source.extent, part.source.extent + kAxes, part.target.extent);
  if (lanes < kSmallPlane.most_columns || part.rows != 1 || part.channels != 1 || kernel == 0 || !is_same) return false;
  if (part.is_phase() || part.step[1] != 1 || part.step[2] != 1) return false;
  if (!is_small(part.source) || !is_dense(part.source) || !is_dense(part.target)) return false;
  // The products of a kernel much wider than the plane are mostly with zeros.
  return pass != ConvPass::grad_weight || kernel <= part.source.extent[2] + 2;
}

template <class T>
void run_small_planes(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads) {
  for (const Correlation& part : parts)
    run_part(conv_kernels<T>(*table), part, source, weight, bias, target + part.target_offset, num_threads);
}

template <class T>
void small_planes_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                              T* grad_weight, int num_threads) {
  const SmallPlaneKernels<T>& kernels = conv_kernels<T>(*table).small_plane;
  const Index kernel = centred_kernel(part), rows = part.target.extent[1], columns = part.target.extent[2];
  const auto multiply = kernels.products[kernel / 2 - 1][rows - kSmallPlane.least_rows];
  const auto add = [&](const PlaneBlock& block, Index image, int, T* sums) {
    const Index first = image * part.source.batch_stride + block.first * rows * columns;
    multiply({block.channels, columns, source + first, grad_output + first, sums});
  };
  sum_planes(PlaneBlocks(part, num_threads), part, weight_offsets(part, kernel), kSmallPlane.most_columns,
             kernels.totals, add, grad_weight);
}

#define CONVPOOL_SMALL_PLANES(T)                                                                                    \
  template void run_small_planes(const KernelTable*, const std::vector<Correlation>&, const T*, const T*, const T*, \
                                 T*, int);                                                                          \
  template void small_planes_grad_weight(const KernelTable*, const Correlation&, const T*, const T*, T*, int)
CONVPOOL_SMALL_PLANES(float);
CONVPOOL_SMALL_PLANES(double);
#undef CONVPOOL_SMALL_PLANES

}  // namespace convpool
