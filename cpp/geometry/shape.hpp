// Array shapes: what an (N, C, *spatial) or (N, *spatial, C) array is, checked products, and how shapes print.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace convpool {

constexpr int kAxes = 3;  // depth, height, width; lower ranks leave the leading axes at extent 1
using Triple = std::array<std::int64_t, kAxes>;
using Shape = std::vector<std::int64_t>;

enum class Layout { channels_first, channels_last };

// Extents of one activation array, whatever its layout and rank.
struct Extents {
  std::int64_t batch = 0;
  std::int64_t channels = 1;
  Triple spatial{1, 1, 1};
  int rank = 1;
  Layout layout = Layout::channels_first;

  std::int64_t plane() const { return spatial[0] * spatial[1] * spatial[2]; }
  std::int64_t elements() const { return batch * channels * plane(); }
  // Distance between neighbours along an axis, in elements of the C-contiguous array.
  std::int64_t batch_stride() const { return channels * plane(); }
  std::int64_t channel_stride() const { return layout == Layout::channels_first ? plane() : 1; }
  std::int64_t axis_stride(int axis) const;
  Shape shape() const;
};

// Position of spatial dimension 0 among the three axes.
inline int first_axis(int rank) { return kAxes - rank; }

// Checks rank (1 to 3 spatial dimensions), extents and element count of an activation array.
Extents make_extents(const std::string& function, const std::string& parameter, const Shape& shape, Layout layout);

std::string to_string(const Shape& shape);
std::int64_t checked_product(const std::string& function, const std::string& parameter, const Shape& shape);
void require_shape(const std::string& function, const std::string& parameter, const Shape& actual,
                   const Shape& expected, const std::string& meaning);
void require_range(const std::string& function, const std::string& parameter, std::int64_t value, std::int64_t least,
                   std::int64_t largest);

}  // namespace convpool
