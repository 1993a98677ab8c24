#include "pooling/window_reduction.hpp"

namespace convpool {

namespace {

constexpr Index kTileBytes = 32 * 1024;          // reduced rows that a tile keeps, in the first-level cache,
constexpr Index kLargestTileBytes = 256 * 1024;  // or the second where windows are tall
constexpr Index kMostRowElements = 4096;
constexpr Index kLeastRowElements = 128;
constexpr Index kTaskElements = 16 * 1024;  // small planes share a task until it has this many
constexpr Index kTasksPerThread = 4;

Index blocks(Index extent, Index block) { return ceil_divide(extent, block); }
Index half(Index extent) { return ceil_divide(extent, 2); }

void measure_spans(const PoolView& view, Tiling& tiling) {
  tiling.z_span = std::max<Index>(view.axes[0].longest_span(tiling.z), 1);
  tiling.y_span = std::max<Index>(view.axes[1].longest_span(tiling.y), 1);
}

// What a tile may keep: rows of channels are long, and better whole than cut; tall windows share most of their rows.
Index tile_bytes(const PoolView& view) {
  constexpr Index kTall = 7;
  return view.inner > 1 || view.most_rows() >= kTall ? kLargestTileBytes : kTileBytes;
}

// Short enough that a tile can hold a few windows' rows, long enough for vectors.
void choose_row(const PoolView& view, Index element_bytes, Tiling& tiling) {
  const ViewAxis& row = view.axes[2];
  const Index wanted = tile_bytes(view) / (element_bytes * 4 * std::max<Index>(view.most_rows(), 1));
  const Index elements = std::clamp(wanted, kLeastRowElements, kMostRowElements);
  tiling.lanes = std::min(view.inner, elements);
  // Rows cut into channels have one column, so that what belongs together stays together in the output.
  const Index most = tiling.lanes < view.inner ? 1 : elements / tiling.lanes;
  tiling.columns = std::clamp<Index>(most, 1, row.targets);
}

Index row_bytes(const Tiling& tiling, Index element_bytes) { return tiling.columns * tiling.lanes * element_bytes; }

// Tall windows may keep more: a tile much lower than its windows reduces most of its rows anew.
void shrink_to_budget(const PoolView& view, Index element_bytes, Tiling& tiling) {
  const Index bytes = row_bytes(tiling, element_bytes);
  const Index budget = std::clamp(4 * view.most_rows() * bytes, tile_bytes(view), kLargestTileBytes);
  const Index most_rows = std::max<Index>(budget / bytes, 4);
  measure_spans(view, tiling);
  while (tiling.z_span > most_rows / tiling.y_span && (tiling.z > 1 || tiling.y > 1)) {
    const bool cut_z = tiling.z > 1 && (tiling.z_span >= tiling.y_span || tiling.y == 1);
    (cut_z ? tiling.z : tiling.y) = half(cut_z ? tiling.z : tiling.y);
    measure_spans(view, tiling);
  }
  tiling.is_chunked = tiling.z_span > most_rows / tiling.y_span;
}

// Cuts tiles until there is work for every thread; small pieces read rows at their edges twice.
void shrink_to_share(const PoolView& view, int threads, Tiling& tiling) {
  while (tiling.tasks(view) < kTasksPerThread * threads) {
    if (tiling.outers > 1) tiling.outers = half(tiling.outers);
    else if (tiling.z > 2) tiling.z = half(tiling.z);
    else if (tiling.y > 4) tiling.y = half(tiling.y);
    else if (tiling.columns * tiling.lanes > 2 * kLeastRowElements && tiling.columns > 1)
      tiling.columns = half(tiling.columns);
    else break;
  }
  measure_spans(view, tiling);
}

// Whole planes that fit the tile are reduced together.
void choose_planes(const PoolView& view, Index element_bytes, Tiling& tiling) {
  const bool is_whole = tiling.z_span == view.axes[0].sources && tiling.y_span == view.axes[1].sources &&
                        tiling.z == view.axes[0].targets && tiling.y == view.axes[1].targets;
  const Index plane = row_bytes(tiling, element_bytes) * tiling.z_span * tiling.y_span;
  tiling.planes = is_whole ? std::clamp<Index>(kTileBytes / plane, 1, tiling.outers) : 1;
}

}  // namespace

Index Tiling::tasks(const PoolView& view) const {
  return blocks(view.outers, outers) * blocks(view.axes[0].targets, z) * blocks(view.axes[1].targets, y) *
         blocks(view.axes[2].targets, columns) * blocks(view.inner, lanes);
}

Tiling make_tiling(const PoolView& view, Index element_bytes, int threads) {
  Tiling tiling{};
  tiling.outers =
      std::clamp<Index>(kTaskElements / std::max<Index>(view.source_plane(), 1), 1, std::max<Index>(view.outers, 1));
  tiling.z = view.axes[0].targets;
  tiling.y = view.axes[1].targets;
  choose_row(view, element_bytes, tiling);
  shrink_to_budget(view, element_bytes, tiling);
  if (threads > 1 && view.elements() > kTaskElements) shrink_to_share(view, threads, tiling);
  if (tiling.is_chunked) {
    tiling.z = tiling.y = tiling.z_span = 1;
    tiling.y_span = std::max<Index>(kLargestTileBytes / row_bytes(tiling, element_bytes), 4);
  }
  choose_planes(view, element_bytes, tiling);
  tiling.x_span = view.axes[2].longest_span(tiling.columns);
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
