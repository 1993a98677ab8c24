// Array shapes: what an (N, C, *spatial) or (N, *spatial, C) array is, checked products, and how shapes print.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "geometry/target.hpp"

namespace convpool {

constexpr int kAxes = 3;  // depth, height, width; lower ranks leave the leading axes at extent 1
using Triple = std::array<std::int64_t, kAxes>;

// Extents of an array, outermost first. They lie in the object itself: a call on a tiny array takes less time than some
// allocations.
class Shape {
 public:
  static constexpr std::size_t kCapacity = 64;  // NumPy arrays have no more dimensions

  Shape() noexcept {}
  Shape(std::initializer_list<std::int64_t> extents) noexcept { append(extents.begin(), extents.end()); }
  Shape(const Shape& other) noexcept { append(other.begin(), other.end()); }
  Shape& operator=(const Shape& other) noexcept {
    size_ = other.size_;
    std::copy(other.begin(), other.end(), extents_);
    return *this;
  }

  void push_back(std::int64_t extent) noexcept { extents_[size_++] = extent; }
  template <class Iterator>
  void append(Iterator first, Iterator last) noexcept {
    for (; first != last; ++first) push_back(*first);
  }

  std::size_t size() const noexcept { return size_; }
  const std::int64_t* begin() const noexcept { return extents_; }
  const std::int64_t* end() const noexcept { return extents_ + size_; }
  std::int64_t operator[](std::size_t i) const noexcept { return extents_[i]; }
  std::int64_t& operator[](std::size_t i) noexcept { return extents_[i]; }
  bool operator==(const Shape& other) const noexcept { return std::equal(begin(), end(), other.begin(), other.end()); }

 private:
  std::size_t size_ = 0;
  std::int64_t extents_[kCapacity];
};

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
  bool has_whole_planes() const { return channel_stride() == plane() || channels == 1; }  // nothing lies between
  Shape shape() const;
};

// Position of spatial dimension 0 among the three axes.
inline int first_axis(int rank) { return kAxes - rank; }

// Checks rank (1 to 3 spatial dimensions), extents and element count of an activation array.
Extents make_extents(const char* function, const char* parameter, const Shape& shape, Layout layout);

std::string to_string(const Shape& shape);
std::int64_t checked_product(const char* function, const char* parameter, const Shape& shape);
void require_shape(const char* function, const char* parameter, const Shape& actual, const Shape& expected,
                   const char* meaning);
// Arrays that differ at most in their spatial extents.
void require_same_planes(const char* function, const char* parameter, const Extents& actual, const char* other_name,
                         const Extents& other);
void require_range(const char* function, const char* parameter, std::int64_t value, std::int64_t least,
                   std::int64_t largest);

}  // namespace convpool
