// Window parameters as a caller gave them, one entry per spatial dimension, before any of them is believed.
#pragma once

#include "geometry/padding.hpp"
#include "geometry/shape.hpp"

namespace convpool {

struct WindowArguments {
  Triple kernel{1, 1, 1};  // entries [0, rank) count; the names follow the caller's dimensions
  Triple stride{1, 1, 1};
  Triple dilation{1, 1, 1};
  Triple pad_low{0, 0, 0};
  Triple pad_high{0, 0, 0};
  PaddingRule rule = PaddingRule::explicit_pairs;
  PaddingMode padding_mode = PaddingMode::zeros;
  bool ceil_mode = false;
};

// Each entry in [1, 2**31) (padding in [0, 2**31)), with `kernel_name` as the parameter that holds the kernel.
void require_window(const char* function, const char* kernel_name, const WindowArguments& window, int rank);

// The three axes of a window over `spatial`; leading axes of lower ranks are trivial.
std::array<Axis, kAxes> make_axes(const char* function, const char* kernel_name, const Triple& spatial,
                                  const WindowArguments& window, int rank);

}  // namespace convpool
