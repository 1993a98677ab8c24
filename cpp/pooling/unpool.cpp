// Max unpooling, its adjoint, and the check of index arrays that callers bring.

#include <algorithm>
#include <cstring>
#include <vector>

#include "geometry/error.hpp"
#include "pooling/index_runs.hpp"
#include "pooling/plane_scatter.hpp"
#include "pooling/pooling.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

// One bit for every (position, lane) of a plane: whether it has been given away.
class Bitmap {
 public:
  static std::size_t bytes(Index bits) {
    return static_cast<std::size_t>(ceil_divide(bits, 64)) * sizeof(std::uint64_t);
  }
  Bitmap(std::byte* memory, Index bits) noexcept : words_(reinterpret_cast<std::uint64_t*>(memory)) {
    std::memset(memory, 0, bytes(bits));
  }
  // Sets a bit; true if it was clear.
  bool claim(Index bit) noexcept {
    std::uint64_t& word = words_[bit / 64];
    const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
    const bool is_new = (word & mask) == 0;
    word |= mask;
    return is_new;
  }

 private:
  std::uint64_t* words_;
};

// Of several elements with one index the last wins, so they are asked in reverse order. An index is looked at once more
// here, and in scatter_run: another thread may write to the caller's array after it was checked.
template <class T, class I>
void gather_winners(const ScatterTask& part, Index pooled_plane, const T* full, const I* indices, Bitmap claimed,
                    T* pooled) noexcept {
  for (Index i = pooled_plane - 1; i >= 0; --i)
    for (Index lane = 0; lane < part.lanes; ++lane) {
      const Index at = i * part.pitch + lane, position = indices[at];
      const bool is_inside = static_cast<std::size_t>(position) < static_cast<std::size_t>(part.band_stop);
      const bool is_won = is_inside && claimed.claim(position * part.lanes + lane);
      pooled[at] = is_won ? full[position * part.pitch + lane] : T{0};
    }
}

}  // namespace

template <class T, class I>
void max_unpool_forward(const UnpoolGeometry& geometry, const T* input, const I* indices, T* output, int num_threads) {
  const Index work = geometry.output.elements() / 4 + geometry.pooled.elements();
  const ScatterTasks tasks(geometry.output, geometry.pooled, num_threads, work);
  const IndexRuns<I> runs(geometry.pooled, indices, tasks, num_threads);
  parallel_for(tasks.count(), tasks.workers(), [&](Index task, int) {
    tasks.run(task, [&](const ScatterTask& part) {
      zero_band(part, output);
      runs.each(part, [&](const Range& run) {
        scatter_run(part, run, output, input, indices, [](T& target, const T& value, Index) { target = value; });
      });
    });
  });
}

template <class T, class I>
void max_unpool_backward(const UnpoolGeometry& geometry, const T* grad_output, const I* indices, T* grad_input,
                         int num_threads) {
  constexpr Index kMostBits = 4 << 20, kFewestLanes = 16;
  const Index plane = geometry.output.plane();
  // A band could not tell which of its elements a later band has won.
  ScatterLimits limits;
  limits.lanes = std::max(kMostBits / plane, kFewestLanes);
  limits.has_bands = false;
  const ScatterTasks tasks(geometry.output, geometry.pooled, num_threads, 2 * geometry.pooled.elements(), limits);
  const Index bits = plane * tasks.most_lanes();
  const Workspace memory(tasks.workers(), Bitmap::bytes(bits));
  parallel_for(tasks.count(), tasks.workers(), [&](Index task, int worker) {
    tasks.run(task, [&](const ScatterTask& part) {
      gather_winners(part, geometry.pooled.plane(), grad_output + part.full_offset, indices + part.pooled_offset,
                     Bitmap(memory.of(worker), bits), grad_input + part.pooled_offset);
    });
  });
}

namespace {

constexpr std::int64_t kPiece = 1 << 16;

// Least and largest index, 0 included.
template <class From>
Bounds<From> all_bounds(const From* indices, std::int64_t count, int num_threads) {
  const std::int64_t pieces = ceil_divide(count, kPiece);
  std::vector<Bounds<From>> found(static_cast<std::size_t>(pieces));
  parallel_for(pieces, worker_count(num_threads, pieces, count), [&](std::int64_t piece, int) {
    found[static_cast<std::size_t>(piece)] =
        bounds_of(indices + piece * kPiece, std::min(kPiece, count - piece * kPiece));
  });
  Bounds<From> all{0, 0};
  for (const Bounds<From>& each : found) all = {std::min(all.least, each.least), std::max(all.largest, each.largest)};
  return all;
}

}  // namespace

template <class From, class I>
void import_indices(const std::string& function, const From* indices, std::int64_t count, std::int64_t plane, I* target,
                    int num_threads) {
  const auto [least, largest] = all_bounds(indices, count, num_threads);
  for (const From index : {least, largest}) {
    // A negative index is a huge unsigned one.
    if (static_cast<std::uint64_t>(index) < static_cast<std::uint64_t>(plane)) continue;
    reject(function, "indices", "inside the spatial plane [0, " + std::to_string(plane) + ")", std::to_string(index));
  }
  for (std::int64_t i = 0; i < count && target != nullptr; ++i) target[i] = static_cast<I>(indices[i]);
}

#define CONVPOOL_UNPOOL(T, I)                                                           \
  template void max_unpool_forward(const UnpoolGeometry&, const T*, const I*, T*, int); \
  template void max_unpool_backward(const UnpoolGeometry&, const T*, const I*, T*, int);
CONVPOOL_UNPOOL(float, std::int32_t)
CONVPOOL_UNPOOL(float, std::int64_t)
CONVPOOL_UNPOOL(double, std::int32_t)
CONVPOOL_UNPOOL(double, std::int64_t)

#define CONVPOOL_IMPORT(From)                                                                                    \
  template void import_indices(const std::string&, const From*, std::int64_t, std::int64_t, std::int32_t*, int); \
  template void import_indices(const std::string&, const From*, std::int64_t, std::int64_t, std::int64_t*, int);
CONVPOOL_IMPORT(std::int8_t)
CONVPOOL_IMPORT(std::int16_t)
CONVPOOL_IMPORT(std::int32_t)
CONVPOOL_IMPORT(std::int64_t)
CONVPOOL_IMPORT(std::uint8_t)
CONVPOOL_IMPORT(std::uint16_t)
CONVPOOL_IMPORT(std::uint32_t)
CONVPOOL_IMPORT(std::uint64_t)

}  // namespace convpool
