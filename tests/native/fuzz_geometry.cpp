// libFuzzer on the shape arithmetic: any numbers give either a geometry error or a geometry whose windows are right.
// The arithmetic is repeated here in 128 bits, tap by tap where there are few, and by its bounds where there are many.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "geometry/conv_geometry.hpp"
#include "geometry/error.hpp"
#include "geometry/pool_geometry.hpp"

namespace {

using namespace convpool;
using Wide = __int128;

void require(bool is_true, const char* what) {
  if (is_true) return;
  std::fprintf(stderr, "not true: %s\n", what);
  std::abort();
}

#define REQUIRE(condition) require(condition, #condition)

constexpr std::size_t kChoices = 8;

// tests/native/seeds.py writes this layout: eight bytes of choices, then numbers of 64 bits. What is missing is 1.
class Numbers {
 public:
  Numbers(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  int choice(int bound) { return at_ < size_ ? data_[at_++] % bound : 0; }
  std::int64_t number() {
    std::int64_t value = 1;
    if (at_ + sizeof value <= size_) std::memcpy(&value, data_ + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  Triple triple() {
    const std::int64_t first = number(), second = number(), third = number();
    return {first, second, third};
  }
  Shape shape(int rank) {
    constexpr int kMostDimensions = 7;
    Shape shape;
    for (int i = 0; i < kMostDimensions; ++i) {
      const std::int64_t extent = number();
      if (i < rank) shape.push_back(extent);
    }
    return shape;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_, at_ = 0;
};

bool reads(const Axis& axis, Wide window, Wide position) {
  const Wide distance = position + axis.pad_low - window * axis.stride;
  return distance >= 0 && distance % axis.dilation == 0 && distance / axis.dilation < axis.kernel;
}

void check_window(const Axis& axis, std::int64_t window) {
  const WindowTaps taps = axis.taps(window);
  const Wide begin = Wide{window} * axis.stride - axis.pad_low;
  if (taps.count == 0) {
    const Wide tap = begin >= 0 ? 0 : (-begin + axis.dilation - 1) / axis.dilation;
    REQUIRE(tap >= axis.kernel || begin + tap * axis.dilation >= axis.input);
    return;
  }
  const Wide first = taps.first, last = first + Wide{taps.count - 1} * axis.dilation;
  REQUIRE(taps.count > 0 && taps.count <= taps.padded_count && taps.padded_count <= axis.kernel);
  REQUIRE(first >= 0 && last < axis.input);
  REQUIRE(reads(axis, window, first) && reads(axis, window, last));
  REQUIRE(first < axis.dilation || !reads(axis, window, first - axis.dilation));
  REQUIRE(last + axis.dilation >= axis.input || !reads(axis, window, last + axis.dilation));
  REQUIRE(taps.count <= axis.largest_window());
}

void check_cover(const Axis& axis, std::int64_t position) {
  const CoveringWindows cover = axis.covering(position);
  const Wide first = cover.first, last = first + Wide{cover.count - 1} * cover.step;
  REQUIRE(cover.count >= 0 && cover.count <= axis.largest_cover());
  if (cover.count > 0) REQUIRE(first >= 0 && last < axis.output && cover.step > 0);
  if (cover.count > 0) REQUIRE(reads(axis, first, position) && reads(axis, last, position));
  constexpr std::int64_t kFewWindows = 200;
  if (axis.output > kFewWindows) return;
  std::int64_t count = 0;
  for (std::int64_t window = 0; window < axis.output; ++window) count += reads(axis, window, position);
  REQUIRE(count == cover.count);
}

void check_adaptive(const Axis& axis, std::int64_t window) {
  const WindowTaps taps = axis.taps(window);
  const Wide stop = (Wide{window} + 1) * axis.input;
  REQUIRE(taps.first == Wide{window} * axis.input / axis.output);
  REQUIRE(taps.first + taps.count == stop / axis.output + (stop % axis.output != 0));
  REQUIRE(taps.count > 0 && taps.count <= axis.largest_window() && taps.first + taps.count <= axis.input);
  const CoveringWindows cover = axis.covering(taps.first);
  REQUIRE(cover.first <= window && window < cover.first + cover.count && cover.count <= axis.largest_cover());
}

// Windows and positions at both ends, and some in between.
template <class Check>
void at_some(std::int64_t count, Check&& check) {
  constexpr std::int64_t kSome = 12;
  for (std::int64_t i = 0; i < kSome && i < count; ++i) {
    check(i);
    check(count - 1 - i);
    check(count / kSome * i);
  }
}

void check_axis(const Axis& axis) {
  REQUIRE(axis.input >= 1 && axis.output >= 1);
  if (axis.is_adaptive) return at_some(axis.output, [&](std::int64_t window) { check_adaptive(axis, window); });
  REQUIRE(axis.pad_low >= 0 && axis.pad_high >= 0);
  at_some(axis.output, [&](std::int64_t window) { check_window(axis, window); });
  at_some(axis.input, [&](std::int64_t position) { check_cover(axis, position); });
}

// The documented output extent.
void check_output(const Axis& axis, PaddingRule rule, bool ceil_mode) {
  const Wide extent = Wide{axis.dilation} * (axis.kernel - 1) + 1;
  const Wide slack = Wide{axis.input} + axis.pad_low + axis.pad_high - extent;
  if (rule != PaddingRule::explicit_pairs) {
    REQUIRE(axis.output == (Wide{axis.input} + axis.stride - 1) / axis.stride);
    const Wide odd =
        rule == PaddingRule::same ? axis.pad_high - Wide{axis.pad_low} : axis.pad_low - Wide{axis.pad_high};
    REQUIRE(odd == 0 || odd == 1);
    return;
  }
  Wide output = ceil_mode && slack < 0 ? -(-slack / axis.stride) + 1 : slack / axis.stride + 1;
  if (ceil_mode && slack >= 0 && slack % axis.stride != 0) output += 1;
  if (ceil_mode && (output - 1) * axis.stride >= Wide{axis.input} + axis.pad_low) output -= 1;
  REQUIRE(slack >= 0 || ceil_mode);
  REQUIRE(axis.output == output);
}

void check_extents(const Extents& extents) {
  Wide elements = extents.batch;
  for (const std::int64_t extent : extents.spatial) {
    REQUIRE(extent >= 1);
    elements *= extent;
    REQUIRE(elements <= Wide{1} << 62);
  }
  REQUIRE(elements * extents.channels <= Wide{1} << 59 && extents.batch >= 0 && extents.channels >= 1);
  REQUIRE(extents.elements() == static_cast<std::int64_t>(elements * extents.channels));
}

// Output padding as wide as a dilation makes room for windows that a transposed convolution has no input for.
template <class Geometry>
void check_shapes(const Geometry& geometry, bool has_spare_windows = false) {
  check_extents(geometry.input);
  check_extents(geometry.output);
  for (std::size_t axis = 0; axis < kAxes; ++axis) {
    REQUIRE(geometry.axes[axis].input == geometry.input.spatial[axis]);
    REQUIRE(geometry.axes[axis].output >= geometry.output.spatial[axis]);
    REQUIRE(geometry.axes[axis].output == geometry.output.spatial[axis] || has_spare_windows);
    check_axis(geometry.axes[axis]);
  }
}

void check_conv(const ConvGeometry& geometry, bool is_transposed) {
  check_shapes(geometry, is_transposed);
  REQUIRE(geometry.groups >= 1 && geometry.group_inputs() * geometry.groups == geometry.input.channels);
  REQUIRE(geometry.group_outputs() * geometry.groups == geometry.output.channels);
}

void check_pool(const PoolGeometry& geometry) {
  check_shapes(geometry);
  for (const Axis& axis : geometry.axes)
    at_some(axis.output, [&](std::int64_t window) { REQUIRE(axis.taps(window).count > 0); });
}

void run(Numbers& numbers) {
  const int operation = numbers.choice(5);
  const Layout layout = numbers.choice(2) == 0 ? Layout::channels_first : Layout::channels_last;
  const int rank = numbers.choice(8), weight_rank = numbers.choice(8);
  WindowArguments window;
  window.rule = static_cast<PaddingRule>(numbers.choice(3));
  window.padding_mode = static_cast<PaddingMode>(numbers.choice(4));
  window.ceil_mode = numbers.choice(2) == 1;
  const bool has_size = numbers.choice(2) == 1;
  const Shape input = numbers.shape(rank), weight = numbers.shape(weight_rank);
  const std::int64_t groups = numbers.number();
  window.stride = numbers.triple();
  window.pad_low = numbers.triple();
  window.pad_high = numbers.triple();
  window.dilation = numbers.triple();
  window.kernel = numbers.triple();
  const Triple size = numbers.triple(), output_padding = numbers.triple();
  if (operation == 0) {
    window.ceil_mode = false;  // the bindings of convolutions have none
    const ConvGeometry geometry = make_conv_geometry("fuzz", input, weight, window, groups, layout);
    check_conv(geometry, false);
    for (int i = 0; i < geometry.input.rank; ++i)
      check_output(geometry.axes[static_cast<std::size_t>(first_axis(geometry.input.rank) + i)], window.rule, false);
  } else if (operation == 1) {
    window.ceil_mode = false;
    window.padding_mode = PaddingMode::zeros;
    check_conv(
        make_conv_transpose_geometry("fuzz", input, weight, window, {output_padding, has_size, size}, groups, layout),
        true);
  } else if (operation == 2) {
    const PoolGeometry geometry = make_pool_geometry("fuzz", input, window, layout);
    check_pool(geometry);
    for (int i = 0; i < geometry.input.rank; ++i)
      check_output(geometry.axes[static_cast<std::size_t>(first_axis(geometry.input.rank) + i)], window.rule,
                   window.ceil_mode);
  } else if (operation == 3) {
    check_pool(make_adaptive_geometry("fuzz", input, size, layout));
  } else {
    const UnpoolGeometry geometry = make_unpool_geometry("fuzz", input, window, has_size ? &size : nullptr, layout);
    check_extents(geometry.pooled);
    check_extents(geometry.output);
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// Every other mutation puts a number that means something in the place of another: bytes at random rarely keep a
// geometry valid enough to reach the arithmetic behind the checks.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  if (size <= kChoices + sizeof(std::int64_t) || seed % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  constexpr std::int64_t kHostile[] = {-1, 0x7fffffff, std::int64_t{1} << 31, std::int64_t{1} << 59, INT64_MAX};
  const std::size_t place = seed / 8 % ((size - kChoices) / sizeof(std::int64_t));
  const unsigned choice = seed / 4096;
  const std::int64_t number =
      seed / 2 % 4 > 0 ? choice % 13 : kHostile[choice % 5] - static_cast<std::int64_t>(choice / 5 % 3);
  std::memcpy(data + kChoices + place * sizeof number, &number, sizeof number);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Numbers numbers(data, size);
  try {
    run(numbers);
  } catch (const InvalidArgument& error) {
    const std::string message = error.what();
    REQUIRE(message.rfind("fuzz: ", 0) == 0 && message.find(" must be ") != std::string::npos);
    REQUIRE(message.find(", got ") != std::string::npos);
  }
  return 0;
}
