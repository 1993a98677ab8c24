#include "convolution/lane_cut.hpp"

#include <algorithm>

#include "runtime/caches.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

LaneTarget::LaneTarget(const std::vector<Correlation>& parts)
    : grid(parts.front().target), offset(parts.front().target_offset), is_whole(true) {
  const Correlation& first = parts.front();
  Index phases = 1;
  for (int axis = 0; axis < kAxes; ++axis) {
    grid.axis_stride[axis] /= first.target_step[axis];
    phases *= first.target_step[axis];
    grid.extent[axis] = first.whole_extent[axis];
    offset -= first.target_phase[axis] * grid.axis_stride[axis];
    for (const Correlation& part : parts) is_whole &= part.target.axis_stride[axis] == first.target.axis_stride[axis];
  }
  is_whole &= static_cast<Index>(parts.size()) == phases;
  if (is_whole) return;
  grid = first.target;
  offset = first.target_offset;
}

LaneCut::LaneCut(const Correlation& part, const LaneWindow& window, Index target_pixels, Index lanes,
                 std::size_t element_bytes)
    : is_side_by_side(!part.is_channels_last()),
      is_far(!is_side_by_side && are_far(part.elements() * static_cast<Index>(element_bytes))) {
  constexpr Index kMostTableBytes = 256 << 10, kMostRowBytes = 256 << 10, kMostBlockBytes = 512 << 10;
  constexpr Index kMostRows = 8, kMostFarRows = 28, kMostColumns = 512;
  const Index element = static_cast<Index>(element_bytes);
  std::copy(part.target.extent, part.target.extent + kAxes, count);
  const auto reads = [&] { return window.reads({{0, 0, 0}, {count[0], count[1], count[2]}}).pixels(); };
  const auto is_large = [&] {
    const Index target = count[0] * count[1] * count[2] * target_pixels;
    return reads() * static_cast<Index>(sizeof(void*)) > kMostTableBytes ||
           (is_side_by_side && (reads() + target) * lanes * element > kMostBlockBytes);
  };
  count[2] = std::min(count[2], kMostColumns);
  if (!is_side_by_side) {
    count[0] = 1;
    // The first rows of a box are not fetched, so there are as many as leave enough boxes for the threads.
    const Index image_boxes = ceil_divide(kWantedTasks, std::max<Index>(part.batch, 1));
    const Index far_rows = std::clamp(ceil_divide(count[1], image_boxes), kMostRows, kMostFarRows);
    count[1] = is_far ? ceil_divide(count[1], ceil_divide(count[1], far_rows)) : std::min(count[1], kMostRows);
  }
  for (const auto [axis, least] : {std::array<Index, 2>{0, 1}, {1, 4}, {2, 64}, {1, 1}})
    while (count[axis] > least && is_large()) count[axis] = ceil_divide(count[axis], 2);
  const Index all = part.groups * part.rows;
  channels = lanes;
  if (!is_side_by_side) {
    const Index row_pixels = window.reads({{0, 0, 0}, {1, 1, count[2]}}).pixels();
    const Index wanted = std::max(kMostRowBytes / (row_pixels * element), 4 * lanes);
    channels = ceil_divide(ceil_divide(all, ceil_divide(all, wanted)), lanes) * lanes;
  }
  channels = std::min(all, channels);
  channel_blocks = ceil_divide(all, channels);
  for (int axis = 0; axis < kAxes; ++axis) boxes[axis] = ceil_divide(part.target.extent[axis], count[axis]);
}

LaneBox LaneCut::box(const Correlation& part, Index index) const noexcept {
  const Index place[kAxes] = {index / boxes[2] / boxes[1], index / boxes[2] % boxes[1], index % boxes[2]};
  LaneBox box;
  for (int axis = 0; axis < kAxes; ++axis) {
    box.first[axis] = place[axis] * count[axis];
    box.count[axis] = std::clamp<Index>(part.target.extent[axis] - box.first[axis], 0, count[axis]);
  }
  return box;
}

LaneBox clipped(const LaneBox& box, const Index (&extent)[kAxes]) noexcept {
  LaneBox inside;
  for (int axis = 0; axis < kAxes; ++axis) {
    inside.first[axis] = std::clamp<Index>(box.first[axis], 0, extent[axis]);
    const Index stop = std::clamp<Index>(box.first[axis] + box.count[axis], inside.first[axis], extent[axis]);
    inside.count[axis] = stop - inside.first[axis];
  }
  return inside;
}

LaneBox united(const LaneBox& a, const LaneBox& b) noexcept {
  if (a.pixels() == 0) return b;
  if (b.pixels() == 0) return a;
  LaneBox both;
  for (int axis = 0; axis < kAxes; ++axis) {
    both.first[axis] = std::min(a.first[axis], b.first[axis]);
    both.count[axis] = std::max(a.first[axis] + a.count[axis], b.first[axis] + b.count[axis]) - both.first[axis];
  }
  return both;
}

namespace {

// body(offset in the array, pixels in front of them in the box, how many) for the runs of a box that lie together.
template <class Body>
void each_run(const Grid& grid, const LaneBox& box, Body&& body) noexcept {
  const bool has_whole_rows =
      box.count[2] == grid.extent[2] && grid.axis_stride[1] == grid.extent[2] * grid.axis_stride[2];
  const Index rows = has_whole_rows ? 1 : box.count[1], run = box.count[2] * (box.count[1] / std::max<Index>(rows, 1));
  for (Index z = 0; z < box.count[0]; ++z)
    for (Index y = 0; y < rows; ++y)
      body((box.first[0] + z) * grid.axis_stride[0] + (box.first[1] + y) * grid.axis_stride[1] +
               box.first[2] * grid.axis_stride[2],
           (z * box.count[1] + y) * box.count[2], run);
}

}  // namespace

template <class T>
void bring_side_by_side(const ConvKernels<T>& kernels, const Grid& grid, const T* array, Index channels,
                        const LaneBox& box, T* pixels) noexcept {
  each_run(grid, box, [&](Index offset, Index before, Index run) {
    kernels.move_block(channels, run, array + offset, grid.channel_stride, grid.axis_stride[2],
                       pixels + before * kernels.lanes, 1, kernels.lanes);
  });
}

template <class T>
void take_to_planes(const ConvKernels<T>& kernels, const T* pixels, Index channels, const LaneBox& box,
                    const Grid& grid, T* array) noexcept {
  each_run(grid, box, [&](Index offset, Index before, Index run) {
    kernels.move_block(channels, run, pixels + before * kernels.lanes, 1, kernels.lanes, array + offset,
                       grid.channel_stride, grid.axis_stride[2]);
  });
}

#define CONVPOOL_LANE_MOVES(T)                                                                                        \
  template LanePixels<T> pixels_of(const LaneBox&, Index, T*) noexcept;                                               \
  template void bring_side_by_side(const ConvKernels<T>&, const Grid&, const T*, Index, const LaneBox&, T*) noexcept; \
  template void take_to_planes(const ConvKernels<T>&, const T*, Index, const LaneBox&, const Grid&, T*) noexcept
CONVPOOL_LANE_MOVES(float);
CONVPOOL_LANE_MOVES(double);
#undef CONVPOOL_LANE_MOVES

}  // namespace convpool
