#include "geometry/axis.hpp"

#include <algorithm>
#include <numeric>

#include "geometry/error.hpp"

namespace convpool {

namespace {

using Wide = __int128;  // what products of an extent and two parameters need

// Inverse of `value` modulo `modulus`, for coprime arguments (extended Euclid).
std::int64_t inverse_modulo(std::int64_t value, std::int64_t modulus) {
  std::int64_t previous = 0, current = 1, larger = modulus, smaller = value % modulus;
  while (smaller > 0) {
    const std::int64_t quotient = larger / smaller;
    std::swap(larger -= quotient * smaller, smaller);
    std::swap(previous -= quotient * current, current);
  }
  return floor_modulo(previous, modulus);
}

// Sum of floor((step * i + offset) / modulus) over i in [0, count), as Euclid's algorithm counts the lattice points
// under a line: in as many rounds as the numbers have digits.
Wide sum_of_quotients(Wide count, Wide modulus, Wide step, Wide offset) {
  Wide sum = 0;
  while (true) {
    sum += count * (count - 1) / 2 * (step / modulus) + count * (offset / modulus);
    step %= modulus;
    offset %= modulus;
    const Wide end = step * count + offset;
    if (end < modulus) return sum;
    count = end / modulus;
    offset = end % modulus;
    std::swap(step, modulus);
  }
}

// How many of the first `windows` windows have no tap in an input shorter than the dilation, where the first and the
// last window of the axis have one: those that start, modulo the dilation, behind the input.
Wide jumping_windows(const Axis& axis, std::int64_t windows) {
  const std::int64_t start = floor_modulo(-axis.pad_low, axis.dilation);
  const auto sum = [&](std::int64_t offset) { return sum_of_quotients(windows, axis.dilation, axis.stride, offset); };
  return sum(start + axis.dilation - axis.input) - sum(start);
}

CoveringWindows adaptive_cover(const Axis& axis, std::int64_t position) {
  const std::int64_t first = position * axis.output / axis.input;
  const std::int64_t stop = ceil_divide((position + 1) * axis.output, axis.input);
  return {first, stop - first, 1};
}

}  // namespace

// Window o reads position i through tap k when o * stride - pad_low + k * dilation = i. The taps that solve this form
// an arithmetic progression, and so do the windows.
CoveringWindows Axis::covering(std::int64_t position) const {
  if (is_adaptive) return adaptive_cover(*this, position);
  const std::int64_t target = position + pad_low;
  const std::int64_t divisor = std::gcd(stride, dilation);
  const std::int64_t window_step = dilation / divisor;
  if (floor_modulo(target, divisor) != 0) return {0, 0, window_step};
  const std::int64_t tap_step = stride / divisor;
  const std::int64_t residue =
      dilation == 1 ? floor_modulo(target, stride)
                    : (target / divisor % tap_step) * inverse_modulo(dilation / divisor, tap_step) % tap_step;
  // Taps from `residue` in steps of tap_step; the last window is the largest allowed one, then they go down.
  const std::int64_t least_tap = std::max<std::int64_t>(0, ceil_divide(target - (output - 1) * stride, dilation));
  const std::int64_t first_tap = least_tap + floor_modulo(residue - least_tap, tap_step);
  const std::int64_t last_tap = std::min(kernel - 1, floor_divide(target, dilation));
  if (first_tap > last_tap) return {0, 0, window_step};
  const std::int64_t count = floor_divide(last_tap - first_tap, tap_step) + 1;
  const std::int64_t highest_window = floor_divide(target - first_tap * dilation, stride);
  return {highest_window - (count - 1) * window_step, count, window_step};
}

std::int64_t Axis::largest_window() const {
  if (!is_adaptive) return std::min(kernel, input);
  return std::min(input, ceil_divide(input, output) + 1);
}

std::int64_t Axis::largest_cover() const {
  if (is_adaptive) return std::min(output, ceil_divide(output, input) + 1);
  return std::min(output, ceil_divide(kernel, stride / std::gcd(stride, dilation)));
}

Axis make_adaptive_axis(std::int64_t input, std::int64_t output) {
  Axis axis;
  axis.input = input;
  axis.output = output;
  axis.is_adaptive = true;
  return axis;
}

Axis make_axis(const char* function, const char* kernel_name, const AxisRequest& request) {
  Axis axis{request.input, request.kernel, request.stride, request.dilation, request.pad_low, request.pad_high, 1,
            false};
  if (request.rule != PaddingRule::explicit_pairs) {
    axis.output = ceil_divide(axis.input, axis.stride);
    const std::int64_t total =
        std::max<std::int64_t>((axis.output - 1) * axis.stride + axis.kernel_extent() - axis.input, 0);
    axis.pad_low = request.rule == PaddingRule::same ? total / 2 : total - total / 2;
    axis.pad_high = total - axis.pad_low;
    return axis;
  }
  const std::int64_t padded = axis.input + axis.pad_low + axis.pad_high;
  const std::int64_t slack = padded - axis.kernel_extent();
  axis.output = (request.ceil_mode ? ceil_divide(slack, axis.stride) : floor_divide(slack, axis.stride)) + 1;
  if (axis.output < 1) {
    reject(
        function, kernel_name, "no larger than the padded input",
        "dilated extent " + std::to_string(axis.kernel_extent()) + " for a padded extent of " + std::to_string(padded));
  }
  if (request.ceil_mode && (axis.output - 1) * axis.stride >= axis.input + axis.pad_low) {
    axis.output -= 1;  // PyTorch's rule: a last window must start inside the input or the low padding
  }
  return axis;
}

void require_real_taps(const char* function, const Axis& axis) {
  const auto require = [&](std::int64_t window) {
    if (axis.taps(window).count > 0) return;
    reject(function, "padding", "small enough that every window touches a real element",
           "window " + std::to_string(window) + " wholly in the padding (" + std::to_string(axis.pad_low) + ", " +
               std::to_string(axis.pad_high) + ")");
  };
  require(0);
  require(axis.output - 1);
  if (axis.dilation <= axis.input) return;  // taps cannot jump over the input: the outermost windows decide
  std::int64_t most = axis.output;
  if (jumping_windows(axis, most) == 0) return;
  for (std::int64_t least = 0; most - least > 1;) {  // none of the first `least` windows, some of the first `most`
    const std::int64_t middle = least + (most - least) / 2;
    (jumping_windows(axis, middle) == 0 ? least : most) = middle;
  }
  require(most - 1);
}

}  // namespace convpool
