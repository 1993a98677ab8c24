#include "pooling/window_reduction.hpp"

namespace convpool {

namespace {

constexpr Index kMostRowElements = 4096;
constexpr Index kLeastRowElements = 256;
constexpr Index kTaskElements = 16 * 1024;  // small planes share a task until it has this many
constexpr Index kTasksPerThread = 4;

Index blocks(Index extent, Index block) { return ceil_divide(extent, block); }
Index half(Index extent) { return ceil_divide(extent, 2); }

void measure_spans(const PoolView& view, Tiling& tiling) {
  tiling.z_span = view.axes[0].longest_span(tiling.z);
  tiling.y_span = view.axes[1].longest_span(tiling.y);
}

// Short enough that a tile can hold a few windows' rows, long enough for vectors.
void choose_row(const PoolView& view, Index element_bytes, Tiling& tiling) {
  const Index wanted = kTileBytes / (element_bytes * 4 * std::max<Index>(view.most_rows(), 1));
  const Index elements = std::clamp(wanted, kLeastRowElements, kMostRowElements);
  tiling.lanes = std::min(view.inner, elements);
  tiling.columns = std::clamp<Index>(elements / tiling.lanes, 1, view.axes[2].targets);
}

// Reduced rows that fit the budget.
Index affordable_slots(const Tiling& tiling, const SlotElement& element) {
  const Index pitch = ceil_divide(tiling.columns * tiling.lanes, element.vector_lanes) * element.vector_lanes;
  return std::max<Index>(kTileBytes / (pitch * element.bytes), 4);
}

void shrink_to_budget(const PoolView& view, const SlotElement& element, Tiling& tiling) {
  const Index most_slots = affordable_slots(tiling, element);
  measure_spans(view, tiling);
  while (tiling.z_span > most_slots / tiling.y_span && (tiling.z > 1 || tiling.y > 1)) {
    const bool cut_z = tiling.z > 1 && (tiling.z_span >= tiling.y_span || tiling.y == 1);
    (cut_z ? tiling.z : tiling.y) = half(cut_z ? tiling.z : tiling.y);
    measure_spans(view, tiling);
  }
  tiling.is_chunked = tiling.z_span > most_slots / tiling.y_span;
}

// Cuts tiles until there is work for every thread; small pieces read rows at their edges twice.
void shrink_to_share(const PoolView& view, int threads, Tiling& tiling) {
  while (tiling.tasks(view) < kTasksPerThread * threads) {
    if (tiling.outers > 1) tiling.outers = half(tiling.outers);
    else if (tiling.z > 2) tiling.z = half(tiling.z);
    else if (tiling.y > 4) tiling.y = half(tiling.y);
    else if (tiling.lanes > kLeastRowElements) tiling.lanes = half(tiling.lanes);
    else if (tiling.columns * tiling.lanes > 2 * kLeastRowElements && tiling.columns > 1)
      tiling.columns = half(tiling.columns);
    else break;
  }
  measure_spans(view, tiling);
}

}  // namespace

Index Tiling::tasks(const PoolView& view) const {
  return blocks(view.outers, outers) * blocks(view.axes[0].targets, z) * blocks(view.axes[1].targets, y) *
         blocks(view.axes[2].targets, columns) * blocks(view.inner, lanes);
}

Tiling make_tiling(const PoolView& view, const SlotElement& element, int threads) {
  Tiling tiling{};
  tiling.outers =
      std::clamp<Index>(kTaskElements / std::max<Index>(view.source_plane(), 1), 1, std::max<Index>(view.outers, 1));
  tiling.z = view.axes[0].targets;
  tiling.y = view.axes[1].targets;
  choose_row(view, element.bytes, tiling);
  shrink_to_budget(view, element, tiling);
  if (threads > 1 && view.elements() > kTaskElements) shrink_to_share(view, threads, tiling);
  tiling.slots = tiling.is_chunked ? affordable_slots(tiling, element) : tiling.z_span * tiling.y_span;
  return tiling;
}

Tile tile_at(const PoolView& view, const Tiling& tiling, Index task) noexcept {
  const auto take = [&task](Index extent, Index block) {
    const Index count = blocks(extent, block);
    const Index first = task % count * block;
    task /= count;
    return Range{first, std::min(block, extent - first)};
  };
  Tile tile;
  const Range lanes = take(view.inner, tiling.lanes);
  const Range columns = take(view.axes[2].targets, tiling.columns);
  tile.y = take(view.axes[1].targets, tiling.y);
  tile.z = take(view.axes[0].targets, tiling.z);
  tile.outers = take(view.outers, tiling.outers);
  tile.row = {columns.first, columns.count, lanes.first, lanes.count};
  return tile;
}

}  // namespace convpool
