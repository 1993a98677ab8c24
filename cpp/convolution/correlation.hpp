// The one problem that every dense convolution pass is made of: each target point sums weighted source points.
//
//   target[n, r, j] = sum over taps t and channels c of weight[r, c, t] * source[n, c, j * step + offset[t]]
//
// with source points outside the array counting as zero, or as the element that padding_mode says. The forward pass is
// one correlation. The gradient of the input is one correlation for each stride phase: input positions i = phase +
// stride * j read grad_output at unit step through the taps that meet this phase, so no zeros are ever inserted.
#pragma once

#include <array>
#include <vector>

#include "geometry/conv_geometry.hpp"
#include "kernels/table.hpp"

namespace convpool {

// An array as strides, in elements, so that both layouts and both roles are the same code.
struct Grid {
  Index batch_stride, channel_stride;
  Index axis_stride[kAxes];
  Index extent[kAxes];
};

Grid make_grid(const Extents& extents);

struct Tap {
  Index offset[kAxes];  // source position of target position 0
  Index weight_offset;  // of this tap in the weight array
};

struct Correlation {
  Index batch, groups;
  Index channels;  // source channels of a group, summed over
  Index rows;      // target channels of a group
  Grid source, target;
  PaddingMode padding_mode;  // of the source; gradients are zero outside theirs
  Index step[kAxes];
  Index target_offset;  // element offset of the phase in the target array
  // Position j of the part is phase + target_step * j of the whole target, which has whole_extent positions.
  Index target_phase[kAxes], target_step[kAxes], whole_extent[kAxes];
  Index window[kAxes];  // of a phase: what the kernel whose taps they share spans
  bool is_one_of_all;   // of a phase: the kernel has neighbouring taps, and some for every phase of the stride
  std::vector<Tap> taps;
  Index weight_group_stride, weight_row_stride, weight_channel_stride;

  // On both sides: an array of single pixels is channels last in either layout, the other one then need not be.
  bool is_channels_last() const;
  // Whether it is one of the phases of a stride, and other targets lie between its own.
  bool is_phase() const;
  // Whether target pixels that follow each other in one image also do so in memory, x_stride apart.
  bool has_dense_target() const;
  // Whether the weights of a row are one run of the array, [channel][tap].
  bool has_innermost_taps() const {
    return weight_channel_stride == static_cast<Index>(taps.size()) && weight_row_stride != 1;
  }
  Index pixels() const { return batch * target.extent[0] * target.extent[1] * target.extent[2]; }
  // Of source and target, all channels and all phases.
  Index elements() const { return batch * (source.batch_stride + target.batch_stride); }
  Index depth() const { return static_cast<Index>(taps.size()) * channels; }
};

Correlation forward_correlation(const ConvGeometry& geometry);

// A tap of one axis, and the source position that target position 0 reads through it.
struct AxisTap {
  Index offset;
  std::int64_t tap;
};

// A stride phase of one axis that some tap meets.
struct AxisPhase {
  std::int64_t phase;
  std::vector<AxisTap> taps;
};

// The gradient of the input: one correlation for every stride phase that a tap meets. They are made when asked for,
// since a large kernel at a large stride has as many of them as taps.
class InputGradient {
 public:
  explicit InputGradient(const ConvGeometry& geometry);

  bool covers_all() const { return covers_all_; }  // else input elements that no window reads are left to the caller
  Index parts() const { return count(0) * count(1) * count(2); }
  Correlation part(Index index) const;

 private:
  Index count(int axis) const { return static_cast<Index>(phases_[axis].size()); }

  const ConvGeometry& geometry_;
  Correlation whole_{};
  std::vector<AxisPhase> phases_[kAxes];
  bool covers_all_ = true;
};

// Positions first, first + stride, ... of one axis of the padded input, counted from its first element, and the taps
// that read some of them: `offset` is the window that meets `first` through the tap.
struct AxisSegment {
  Index first, count;
  std::vector<AxisTap> taps;
};

// The gradient at a box of positions, as an array of its own.
Correlation segment_correlation(const ConvGeometry& geometry, const std::array<AxisSegment, kAxes>& segments);

}  // namespace convpool
