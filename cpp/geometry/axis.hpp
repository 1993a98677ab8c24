// One spatial axis of a sliding window: which input positions a window reads, and which windows read an input position.
//
// All shape arithmetic of the library lives in this folder, in checked 64-bit integers: forward, backward, Python
// helpers and documentation use the same functions, so they cannot disagree.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace convpool {

// Larger window parameters are refused; products of two of them then cannot overflow 64 bits.
constexpr std::int64_t kLargestParameter = 0x7fffffff;

enum class PaddingRule { explicit_pairs, same, same_lower };

// The taps of one window that lie inside the input: first, first + dilation, ... (count of them).
struct WindowTaps {
  std::int64_t first;         // input position of the first real tap
  std::int64_t count;         // number of real taps, 0 for a window that lies wholly in the padding
  std::int64_t padded_count;  // taps inside the padded input (overhang made by ceil_mode does not count)
};

// The windows that read one input position: first, first + step, ... (count of them).
struct CoveringWindows {
  std::int64_t first;
  std::int64_t count;
  std::int64_t step;
};

struct Axis {
  std::int64_t input = 1;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t dilation = 1;
  std::int64_t pad_low = 0;
  std::int64_t pad_high = 0;
  std::int64_t output = 1;
  bool is_adaptive = false;  // window o is [floor(o * input / output), ceil((o + 1) * input / output))

  std::int64_t kernel_extent() const { return dilation * (kernel - 1) + 1; }
  WindowTaps taps(std::int64_t window) const;
  CoveringWindows covering(std::int64_t position) const;
  std::int64_t largest_window() const;  // taps of the longest window
  std::int64_t largest_cover() const;   // upper bound on covering(position).count
};

struct AxisRequest {
  std::int64_t input, kernel, stride, dilation, pad_low, pad_high;
  PaddingRule rule;
  bool ceil_mode;
};

// Resolves "same" padding and the output extent; throws InvalidArgument naming `function` and the parameter that holds
// the kernel where no output exists.
Axis make_axis(const char* function, const char* kernel_name, const AxisRequest& request);
Axis make_adaptive_axis(std::int64_t input, std::int64_t output);

// Throws unless every window of a pooling axis reads at least one real element.
void require_real_taps(const char* function, const Axis& axis);

// Denominators are positive. Most strides and dilations are 1, and a division takes many times as long as the test.
inline std::int64_t floor_divide(std::int64_t numerator, std::int64_t denominator) {
  if (denominator == 1) return numerator;
  return numerator / denominator - (numerator % denominator < 0);
}
inline std::int64_t ceil_divide(std::int64_t numerator, std::int64_t denominator) {
  return -floor_divide(-numerator, denominator);
}
inline std::int64_t floor_modulo(std::int64_t numerator, std::int64_t denominator) {
  return numerator - floor_divide(numerator, denominator) * denominator;
}

// Inline, because tables are made of it.
inline WindowTaps Axis::taps(std::int64_t window) const {
  if (is_adaptive) {
    const std::int64_t first = window * input / output;
    const std::int64_t count = ceil_divide((window + 1) * input, output) - first;
    return {first, count, count};
  }
  const std::int64_t begin = window * stride - pad_low;
  const std::int64_t first_tap = begin < 0 ? ceil_divide(-begin, dilation) : 0;
  const std::int64_t stop_tap = std::min(kernel, ceil_divide(input - begin, dilation));
  const std::int64_t padded_stop = std::min(kernel, ceil_divide(input + pad_high - begin, dilation));
  return {begin + first_tap * dilation, std::max<std::int64_t>(stop_tap - first_tap, 0),
          std::max<std::int64_t>(padded_stop, 0)};
}

}  // namespace convpool
