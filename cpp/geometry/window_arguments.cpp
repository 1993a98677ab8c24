#include "geometry/window_arguments.hpp"

namespace convpool {

void require_window(const char* function, const char* kernel_name, const WindowArguments& window, int rank) {
  for (int i = 0; i < rank; ++i) {
    require_range(function, kernel_name, window.kernel[i], 1, kLargestParameter);
    require_range(function, "stride", window.stride[i], 1, kLargestParameter);
    require_range(function, "dilation", window.dilation[i], 1, kLargestParameter);
    require_range(function, "padding", window.pad_low[i], 0, kLargestParameter);
    require_range(function, "padding", window.pad_high[i], 0, kLargestParameter);
  }
}

std::array<Axis, kAxes> make_axes(const char* function, const char* kernel_name, const Triple& spatial,
                                  const WindowArguments& window, int rank) {
  std::array<Axis, kAxes> axes;
  for (int i = 0; i < rank; ++i) {
    const int axis = first_axis(rank) + i;
    axes[axis] = make_axis(function, kernel_name,
                           {spatial[axis], window.kernel[i], window.stride[i], window.dilation[i], window.pad_low[i],
                            window.pad_high[i], window.rule, window.ceil_mode});
  }
  return axes;
}

}  // namespace convpool
