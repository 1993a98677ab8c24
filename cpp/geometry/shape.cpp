#include "geometry/shape.hpp"

#include <algorithm>

#include "geometry/error.hpp"

namespace convpool {

namespace {

constexpr std::int64_t kLargestElementCount = std::int64_t{1} << 59;  // times 16 bytes still fits a signed 64-bit size

}  // namespace

std::int64_t Extents::axis_stride(int axis) const {
  std::int64_t stride = layout == Layout::channels_first ? 1 : channels;
  for (int inner = axis + 1; inner < kAxes; ++inner) stride *= spatial[inner];
  return stride;
}

Shape Extents::shape() const {
  Shape result{batch};
  if (layout == Layout::channels_first) result.push_back(channels);
  result.append(spatial.begin() + first_axis(rank), spatial.end());
  if (layout == Layout::channels_last) result.push_back(channels);
  return result;
}

Extents make_extents(const char* function, const char* parameter, const Shape& shape, Layout layout) {
  const int rank = static_cast<int>(shape.size()) - 2;
  if (rank < 1 || rank > kAxes) {
    reject(function, parameter, "an array of 3 to 5 dimensions (batch, channels and 1 to 3 spatial)",
           std::to_string(shape.size()) + " dimensions");
  }
  const bool is_valid = shape[0] >= 0 && std::all_of(shape.begin() + 1, shape.end(), [](auto n) { return n >= 1; });
  if (!is_valid) reject(function, parameter, "of extents >= 1 (only the batch may be 0)", "shape " + to_string(shape));
  checked_product(function, parameter, shape);
  Extents extents;
  extents.rank = rank;
  extents.layout = layout;
  extents.batch = shape[0];
  extents.channels = layout == Layout::channels_first ? shape[1] : shape[shape.size() - 1];
  const auto spatial = shape.begin() + (layout == Layout::channels_first ? 2 : 1);
  std::copy(spatial, spatial + rank, extents.spatial.begin() + first_axis(rank));
  return extents;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::int64_t checked_product(const char* function, const char* parameter, const Shape& shape) {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) {
    // Zero extents do not shrink the product: the strides of an empty array must fit as well.
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(extent, 1), &product) ||
        product > kLargestElementCount) {
      reject(function, parameter, "of at most 2**59 elements", "shape " + to_string(shape));
    }
  }
  return product;
}

void require_shape(const char* function, const char* parameter, const Shape& actual, const Shape& expected,
                   const char* meaning) {
  if (actual == expected) return;
  reject(function, parameter, "of shape " + to_string(expected) + " (" + meaning + ")", "shape " + to_string(actual));
}

void require_same_planes(const char* function, const char* parameter, const Extents& actual, const char* other_name,
                         const Extents& other) {
  if (actual.rank == other.rank && actual.batch == other.batch && actual.channels == other.channels) return;
  reject(function, parameter,
         std::string("of the rank, batch and channels of ") + other_name + ", shape " + to_string(other.shape()),
         "shape " + to_string(actual.shape()));
}

void require_range(const char* function, const char* parameter, std::int64_t value, std::int64_t least,
                   std::int64_t largest) {
  if (value < least) reject(function, parameter, ">= " + std::to_string(least), std::to_string(value));
  if (value > largest) reject(function, parameter, "<= " + std::to_string(largest), std::to_string(value));
}

}  // namespace convpool
