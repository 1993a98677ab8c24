#include "pooling/window_offsets.hpp"

#include <algorithm>
#include <vector>

#include "pooling/pool_view.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

namespace {

constexpr Index kMostTaps = 256;

// Division of a distance inside a window by an extent of the input, as a multiplication.
class Divider {
 public:
  explicit Divider(Index divisor) : divisor_(divisor), factor_((std::uint64_t{1} << kShift) / divisor + 1) {}
  // Exact for numerators below 2^24 and divisors below 2^16.
  Index quotient(Index numerator) const noexcept {
    return static_cast<Index>(static_cast<std::uint64_t>(numerator) * factor_ >> kShift);
  }
  Index remainder(Index numerator) const noexcept { return numerator - quotient(numerator) * divisor_; }

 private:
  static constexpr int kShift = 40;
  Index divisor_;
  std::uint64_t factor_;
};

// One row of windows: where the first tap of each would lie, padding or not.
struct WindowRow {
  Index z, y;
};

class Offsets {
 public:
  explicit Offsets(const PoolGeometry& geometry)
      : axes_(geometry.axes), by_width_(axes_[2].input), by_height_(axes_[1].input) {
    const auto& [deep, high, wide] = axes_;
    for (Index z = 0; z < deep.kernel; ++z)
      for (Index y = 0; y < high.kernel; ++y)
        for (Index x = 0; x < wide.kernel; ++x)
          taps_.push_back({z * deep.dilation, y * high.dilation, x * wide.dilation});
  }

  bool to_offset(const WindowRow& row, Index start, Index index, std::uint8_t& offset) const noexcept {
    const auto& [deep, high, wide] = axes_;
    const Index distance = index - position(row.z, row.y, start);
    if (static_cast<std::size_t>(distance) >= kFarthest) return false;
    const Index rows = by_width_.quotient(distance), x = by_width_.remainder(distance);
    const Index slices = by_height_.quotient(rows), y = by_height_.remainder(rows);
    const bool has_z = is_inside(row.z + slices, deep.input), has_y = is_inside(row.y + y, high.input),
               has_x = is_inside(start + x, wide.input);
    const Index tap_z = undilated(slices, deep), tap_y = undilated(y, high), tap_x = undilated(x, wide);
    const bool is_tap = (tap_z * deep.dilation == slices) & (tap_z < deep.kernel) & (tap_y * high.dilation == y) &
                        (tap_y < high.kernel) & (tap_x * wide.dilation == x) & (tap_x < wide.kernel);
    offset = static_cast<std::uint8_t>((tap_z * high.kernel + tap_y) * wide.kernel + tap_x);
    return has_z & has_y & has_x & is_tap;
  }

  bool to_index(const WindowRow& row, Index start, std::uint8_t offset, std::int32_t& index) const noexcept {
    if (offset >= taps_.size()) return false;
    const Tap& tap = taps_[offset];
    index = static_cast<std::int32_t>(position(row.z + tap.z, row.y + tap.y, start + tap.x));
    const bool has_z = is_inside(row.z + tap.z, axes_[0].input), has_y = is_inside(row.y + tap.y, axes_[1].input),
               has_x = is_inside(start + tap.x, axes_[2].input);
    return has_z & has_y & has_x;
  }

 private:
  static constexpr std::size_t kFarthest = std::size_t{1} << 24;
  struct Tap {
    Index z, y, x;
  };
  static Index undilated(Index distance, const Axis& axis) noexcept {
    return axis.dilation == 1 ? distance : distance / axis.dilation;
  }
  static bool is_inside(Index place, Index extent) noexcept {
    return static_cast<std::size_t>(place) < static_cast<std::size_t>(extent);
  }
  Index position(Index z, Index y, Index x) const noexcept { return (z * axes_[1].input + y) * axes_[2].input + x; }

  const std::array<Axis, kAxes>& axes_;
  Divider by_width_, by_height_;
  std::vector<Tap> taps_;
};

// convert(row of windows, start of the window in it, element) for every pooled element; whether all of them succeeded.
template <class Convert>
bool for_each_element(const PoolGeometry& geometry, int num_threads, Convert&& convert) {
  constexpr Index kTaskElements = 16 * 1024;
  const Axis &deep = geometry.axes[0], &high = geometry.axes[1], &wide = geometry.axes[2];
  const bool is_first = geometry.output.layout == Layout::channels_first;
  const Index lanes = is_first ? 1 : geometry.output.channels;
  const Index columns = wide.output * lanes, rows = geometry.output.elements() / columns;
  const Index at_once = std::max<Index>(kTaskElements / columns, 1), tasks = ceil_divide(rows, at_once);
  std::vector<char> is_done(static_cast<std::size_t>(tasks), true);
  parallel_for(tasks, worker_count(num_threads, tasks, 4 * rows * columns), [&](Index task, int) {
    bool is_good = true;
    for (Index row = task * at_once; row < std::min(rows, (task + 1) * at_once); ++row) {
      const Index window_y = row % high.output, window_z = row / high.output % deep.output;
      const WindowRow place{window_z * deep.stride - deep.pad_low, window_y * high.stride - high.pad_low};
      for (Index x = 0; x < wide.output; ++x)
        for (Index lane = 0; lane < lanes; ++lane)
          is_good &= convert(place, x * wide.stride - wide.pad_low, row * columns + x * lanes + lane);
    }
    is_done[static_cast<std::size_t>(task)] = is_good;
  });
  return std::all_of(is_done.begin(), is_done.end(), [](char each) { return each; });
}

}  // namespace

bool has_byte_offsets(const PoolGeometry& geometry) {
  constexpr Index kWidest = 1 << 16, kFarthest = 1 << 24;
  Index taps = 1, reach = 0;
  for (const Axis& axis : geometry.axes) {
    if (axis.is_adaptive || axis.kernel_extent() > axis.input || axis.input >= kWidest || axis.kernel > kMostTaps)
      return false;
    taps *= axis.kernel;
    reach = reach * axis.input + axis.kernel_extent();
  }
  return taps <= kMostTaps && reach < kFarthest && geometry.output.elements() > 0;
}

bool offsets_of_indices(const PoolGeometry& geometry, const std::int32_t* indices, std::uint8_t* offsets,
                        int num_threads) {
  const Offsets taps(geometry);
  return for_each_element(geometry, num_threads, [&](const WindowRow& row, Index start, Index element) {
    return taps.to_offset(row, start, indices[element], offsets[element]);
  });
}

bool indices_of_offsets(const PoolGeometry& geometry, const std::uint8_t* offsets, std::int32_t* indices,
                        int num_threads) {
  const Offsets taps(geometry);
  return for_each_element(geometry, num_threads, [&](const WindowRow& row, Index start, Index element) {
    return taps.to_index(row, start, offsets[element], indices[element]);
  });
}

}  // namespace convpool
