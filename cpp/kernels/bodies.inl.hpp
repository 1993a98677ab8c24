// The list of kernel bodies. An isa_<x>.cpp includes it inside its own namespace, so a new kernel touches no ISA file
// and a new ISA no kernel.
#include "kernels/partial.inl.hpp"
#include "kernels/transposes.inl.hpp"
#include "kernels/moves.inl.hpp"
#include "kernels/channel_sums.inl.hpp"
#include "kernels/row_convolution.inl.hpp"
#include "kernels/winograd_points.inl.hpp"
#include "kernels/winograd.inl.hpp"
#include "kernels/window_taps.inl.hpp"
#include "kernels/window_spread.inl.hpp"
#include "kernels/depthwise_rows.inl.hpp"
#include "kernels/depthwise_small_planes.inl.hpp"
#include "kernels/output_lanes.inl.hpp"
#include "kernels/lane_convolution.inl.hpp"
#include "kernels/pixel_tiles.inl.hpp"
#include "kernels/plane_tiles.inl.hpp"
#include "kernels/convolution.inl.hpp"
#include "kernels/pooling_reductions.inl.hpp"
#include "kernels/pooling_taps.inl.hpp"
#include "kernels/pooling_running.inl.hpp"
#include "kernels/pooling_rows.inl.hpp"
#include "kernels/pooling_ties.inl.hpp"
#include "kernels/quotient.inl.hpp"
#include "kernels/pooling_windows.inl.hpp"
#include "kernels/channel_windows.inl.hpp"
#include "kernels/pooling_gather.inl.hpp"
#include "kernels/pooling_scatter.inl.hpp"
#include "kernels/pooling_spread.inl.hpp"
#include "kernels/channel_spread.inl.hpp"
#include "kernels/pooling_norms.inl.hpp"
#include "kernels/pooling.inl.hpp"
#include "kernels/probe.inl.hpp"

constexpr KernelTable make_table(const char* isa) {
  return {isa,
          make_conv_kernels<float>(),
          make_conv_kernels<double>(),
          make_pool_kernels<float>(),
          make_pool_kernels<double>(),
          make_pool_kernels<std::int8_t>(),
          make_pool_kernels<std::int16_t>(),
          make_pool_kernels<std::int32_t>(),
          make_pool_kernels<std::int64_t>(),
          make_pool_kernels<std::uint8_t>(),
          make_pool_kernels<std::uint16_t>(),
          make_pool_kernels<std::uint32_t>(),
          make_pool_kernels<std::uint64_t>(),
          are_inside,
          bounds_of<std::int32_t>,
          bounds_of<std::int64_t>,
          fma_peak};
}
