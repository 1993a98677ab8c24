#include "pooling/blockwise_backward.hpp"

#include "pooling/half.hpp"
#include "pooling/max_magnitude.hpp"
#include "pooling/plane_scatter.hpp"
#include "pooling/recomputation.hpp"
#include "pooling/tie_gather.hpp"
#include "pooling/window_blocks.hpp"
#include "runtime/isa.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kSumsBytes = 256 * 1024;  // of a thread, for gradients of 16 bits

// One block of windows, where it lies in whole arrays, and scratch memory for what is found of its windows.
template <class T, class Extra>
struct Block {
  const WindowBlocks& blocks;
  Index from, to;  // elements: the outer in the input, the block in the output
  T* values;
  Extra* extras;
};

// Where a task adds up: a band of positions of one outer. Its sums lie in an array of `frame`: in the outer's gradient
// or, 16-bit floats, in scratch memory that has the band alone. Both are runs of positions.
template <class V>
struct Band {
  Range positions;
  Ranges frame;
  Index first;  // position of the frame
  V* sums;      // of the frame
};

template <class T, class Extra>
class BlockwisePass {
 public:
  using V = Computed<T>;

  BlockwisePass(const PoolGeometry& geometry, int num_threads)
      : geometry_(geometry), outers_(geometry), threads_(num_threads > 0 ? num_threads : default_threads()),
        inner_(outers_.inputs / geometry.input.plane()),
        most_windows_(
            std::clamp<Index>(most_results<T, Extra>(1) / (kIsHalf<T> ? 2 : 1) / inner_, 1, geometry.output.plane())),
        bands_(cut_bands()) {}

  // body(block, band) for all bands and, in order, all blocks of windows that read a position of the band.
  template <class Body>
  void run(T* grad_input, Body&& body) const {
    const Index tasks = outers_.count * bands_.count();
    const int workers = worker_count(threads_, tasks, outers_.count * (outers_.inputs + outers_.outputs));
    Scratch scratch;
    const Workspace memory(workers, carve(Carver(), scratch));
    // The passes over a block take scratch memory of their own.
    parallel_for_each_or_throw(tasks, workers,
                               [&](Index task, int worker) { run_band(task, memory.of(worker), grad_input, body); });
  }

 private:
  struct Scratch {
    T* values;
    Extra* extras;
    V* sums;
  };

  std::size_t carve(Carver carver, Scratch& scratch) const noexcept {
    scratch.values = carver.take<T>(most_windows_ * inner_);
    scratch.extras = carver.take<Extra>(most_windows_ * inner_);
    scratch.sums = carver.take<V>(kIsHalf<T> ? bands_.most() * inner_ : 0);
    return carver.used();
  }

  // As few as serve all threads: windows across a border are found by both sides.
  Runs cut_bands() const {
    const Index wanted = threads_ > 1 && outers_.count > 0 ? ceil_divide(2 * threads_, outers_.count) : 1;
    Index most = ceil_divide(geometry_.input.plane(), wanted);
    if (kIsHalf<T>) most = std::clamp<Index>(kSumsBytes / static_cast<Index>(sizeof(V)) / inner_, 1, most);
    return Runs(sizes(), most, most);
  }
  Sizes sizes() const noexcept { return {geometry_.axes[0].input, geometry_.axes[1].input, geometry_.axes[2].input}; }

  template <class Body>
  void run_band(Index task, std::byte* memory, T* grad_input, Body& body) const {
    Scratch scratch;
    carve(Carver(memory), scratch);
    const Index outer = task / bands_.count(), from = outer * outers_.inputs;
    const Ranges box = bands_[task % bands_.count()];
    Band<V> band{bands_.positions(box), box, bands_.positions(box).first, scratch.sums};
    if constexpr (!kIsHalf<T>) {
      const auto [deep, high, wide] = sizes();
      band = {band.positions, {Range{0, deep}, Range{0, high}, Range{0, wide}}, 0, grad_input + from};
    }
    // Sums start at 0 where the first block comes near them, which brings them into the cache.
    Index zeroed = band.positions.first;
    const auto zero_up_to = [&](Index stop) {
      if (stop <= zeroed) return;
      std::fill_n(band.sums + (zeroed - band.first) * inner_, (stop - zeroed) * inner_, V{0});
      zeroed = stop;
    };
    WindowBlocks blocks(geometry_, most_windows_, box);
    for (Index block = 0; block < blocks.count(); ++block) {
      if (!blocks.move_to(block)) continue;
      zero_up_to(bands_.positions(blocks.reached()).stop());
      const Index to = outer * outers_.outputs + blocks.windows().first * inner_;
      body(Block<T, Extra>{blocks, from, to, scratch.values, scratch.extras}, band);
    }
    zero_up_to(band.positions.stop());
    if constexpr (kIsHalf<T>)
      convert(band.sums, band.positions.count * inner_, grad_input + from + band.positions.first * inner_);
  }

  const PoolGeometry& geometry_;
  Outers outers_;
  int threads_;
  Index inner_, most_windows_;
  Runs bands_;
};

// add(sum, gradient, element of the input) for every element of a block that names a position of the band.
template <class T, class V, class Add>
void scatter_block(const Block<T, std::int32_t>& block, const T* grad_output, const Band<V>& band, Add add) noexcept {
  const Index inner = block.blocks.forward().inner, elements = block.blocks.windows().count * inner;
  const T* gradients = grad_output + block.to;
  for (Index i = 0, lane = 0; i < elements; ++i, lane = lane + 1 == inner ? 0 : lane + 1) {
    const Index position = block.extras[i];
    if (static_cast<std::size_t>(position - band.positions.first) < static_cast<std::size_t>(band.positions.count))
      add(band.sums[(position - band.first) * inner + lane], gradients[i], block.from + position * inner + lane);
  }
}

// The same of plain sums without NaN, by a kernel.
template <class T>
void add_block(const Block<T, std::int32_t>& block, const T* grad_output, const Band<T>& band) noexcept {
  const Index inner = block.blocks.forward().inner;
  pool_kernels<T>(*selected_kernels())
      .scatter({block.blocks.windows().count * inner, inner, grad_output + block.to, block.extras, band.positions.first,
                band.positions.stop(), band.sums - band.first * inner});
}

template <class T>
bool has_nan(const T* values, Index count) noexcept {
  bool is_found = false;
  for (Index i = 0; i < count; ++i) is_found |= values[i] != values[i];
  return is_found;
}

}  // namespace

template <class T>
void first_in_blocks(const PoolGeometry& geometry, Order order, const T* grad_output, const T* input, T* grad_input,
                     int num_threads) {
  using V = Computed<T>;
  using Found = Block<T, std::int32_t>;
  BlockwisePass<T, std::int32_t>(geometry, num_threads).run(grad_input, [&](const Found& block, const Band<V>& band) {
    find_extremes(block.blocks.forward(), order, input + block.from, block.values, block.extras, 1);
    if constexpr (!kIsHalf<T>) {
      if (order == Order::magnitude) return scatter_block(block, grad_output, band, AddSigned<T>{input});
      const Index elements = block.blocks.windows().count * block.blocks.forward().inner;
      if (has_kernel_offsets(geometry.input) && !has_nan(grad_output + block.to, elements))
        return add_block(block, grad_output, band);
    }
    scatter_block(block, grad_output, band, AddGradient{});
  });
}

template <class T>
void ties_in_blocks(const PoolGeometry& geometry, Order order, bool is_split, const T* grad_output, const T* input,
                    T* grad_input, int num_threads) {
  using V = Computed<T>;
  const KernelTable& table = *selected_kernels();
  BlockwisePass<T, V>(geometry, num_threads).run(grad_input, [&](const Block<T, V>& block, const Band<V>& band) {
    const T *source = input + block.from, *gradients = grad_output + block.to;
    find_extremes(block.blocks.forward(), order, source, block.values, nullptr, 1);
    const PoolView targets = block.blocks.backward(band.frame);
    const T* own = source + band.first * targets.inner;
    if (!is_split)
      return gather_ties(table, targets, TieArrays<T, T, V>{own, block.values, gradients, nullptr, band.sums, true}, 1);
    gather_ties(table, block.blocks.forward(),
                TieArrays<T, T, V>{block.values, source, nullptr, gradients, block.extras}, 1);
    gather_ties(table, targets, TieArrays<T, V, V>{own, block.values, block.extras, nullptr, band.sums, true}, 1);
  });
}

#define CONVPOOL_BLOCKWISE(T)                                                             \
  template void first_in_blocks(const PoolGeometry&, Order, const T*, const T*, T*, int); \
  template void ties_in_blocks(const PoolGeometry&, Order, bool, const T*, const T*, T*, int);
CONVPOOL_BLOCKWISE(float)
CONVPOOL_BLOCKWISE(double)
CONVPOOL_BLOCKWISE(Float16)
CONVPOOL_BLOCKWISE(BFloat16)

}  // namespace convpool
