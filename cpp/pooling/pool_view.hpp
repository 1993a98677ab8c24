// A pooling problem as the drivers see it: [outer][z][y][x][inner] on both sides, whatever the layout.
//
// Channels first: outer = N * C, inner = 1. Channels last: outer = N, inner = C. Neighbouring axes that one window
// covers completely are merged (the plane stays contiguous), so that global pooling reduces one long row.
//
// Each target along an axis reads some sources: forward, an output its window's inputs; backward, an input the outputs
// whose windows cover it. So one driver serves both directions.
#pragma once

#include <vector>

#include "geometry/pool_geometry.hpp"
#include "kernels/table.hpp"

namespace convpool {

// A range of positions along one axis.
struct Range {
  Index first = 0, count = 0;
  Index stop() const noexcept { return first + count; }
};

struct ViewAxis {
  Index sources, targets;
  Index step;  // between the sources a target reads
  Index most_reads;
  std::vector<Range> reads;  // of every target: first source, and how many
  Axis window;               // the geometry, whatever the direction
  // Targets [origin, origin + targets) of an array that has `extent` of them: all of it, unless the view is a block.
  Index origin = 0, extent = targets;
  // Targets of one length: target t reads [begin + t * stride, + length) of the sources that exist. 0: they are not.
  Index length = 0, begin = 0, stride = 1;

  const Range& of(Index target) const noexcept { return reads[static_cast<std::size_t>(target)]; }
  // Whether windows leave sources out between them.
  bool has_gaps() const noexcept { return length > 0 && stride > length; }
  // Sources between the first and the last one that some consecutive targets read.
  Range span(Range targets) const noexcept;
  // The longest such span when the targets are cut into blocks.
  Index longest_span(Index block) const noexcept;
};

struct PoolView {
  Index outers, inner;
  std::array<ViewAxis, kAxes> axes;
  std::array<std::vector<double>, kAxes> shares;  // of every window: the factors of the average's divisor

  Index source_plane() const noexcept { return axes[0].sources * axes[1].sources * axes[2].sources * inner; }
  Index target_plane() const noexcept { return axes[0].targets * axes[1].targets * axes[2].targets * inner; }
  Index elements() const noexcept { return outers * (source_plane() + target_plane()); }
  Index most_rows() const noexcept { return axes[0].most_reads * axes[1].most_reads; }  // that a target row reads
};

PoolView forward_view(const PoolGeometry& geometry);
// The same with adaptive windows of one length as ordinary ones: lanes share the comparisons, which are a chain of slow
// steps for one short window (its sum is not).
PoolView forward_view_of_maxima(const PoolGeometry& geometry);
PoolView backward_view(const PoolGeometry& geometry);

// The same without merged axes, whose tables and rows grow with the plane, and without shares.
PoolView plain_forward_view(const PoolGeometry& geometry);
PoolView plain_backward_view(const PoolGeometry& geometry);

// ---- parts of views (pooling/window_blocks.hpp) ----

PoolGeometry with_even_windows(const PoolGeometry& geometry);  // the axes of forward_view_of_maxima(), not merged

// Some windows: they are an array of their own, their sources stay where they are.
ViewAxis forward_axis(const Axis& window, Range windows);
// Some targets, which stay where they are, and of the windows that read them some, which are an array of their own.
ViewAxis backward_axis(const Axis& window, Range windows, Range targets);

// Those of reads.first, reads.first + step, ... (reads.count of them) that lie in `kept`.
Range reads_within(Range reads, Index step, Range kept) noexcept;

}  // namespace convpool
