// One call of the Winograd passes that have a target: sizes and pitches of its transformed weights, source and
// products.
//
// The depth of a sum is that of all planes, plane by plane: (plane, channel), the channels of a plane filled up to
// whole vectors where there are several. It is cut into chunks that are summed in registers; planes without their last
// taps take no part in the last points, and have chunks of their own.
#pragma once

#include "convolution/winograd_strips.hpp"

namespace convpool {

template <class T>
struct WinogradProblem {
  const WinogradPhases& phases;
  // The first phase, whose target is the largest. Channels, rows, groups and source are those of all.
  const Correlation& part;
  const ConvKernels<T>& kernels;
  const WinogradKernels<T>& transforms;
  StripCut cut;
  StripReader reader;
  Index points;                   // of a tile
  Index plane_depth, planes;      // of a phase, the most
  Index run_planes;               // summed at the same points
  Index chunk_depth, run_chunks;  // of a run
  Index row_block, row_blocks;    // target channels multiplied at once
  Index pass_blocks;              // row blocks whose transformed weights are held at once
  Index weight_pitch;             // of the transformed weights, from point to point
  Index tile_pitch;               // of the transformed source, from point to point
  Index product_pitch;            // of the products
  Index phases_at_once;           // whose targets are brought together before they are written

  WinogradProblem(const WinogradPhases& all, const ConvKernels<T>& conv_kernels, const WinogradKernels<T>& tiles,
                  bool keeps_weights);

  Index phase_weights() const { return points * weight_pitch; }
  // Of a row block of all phases.
  Index weight_block() const { return static_cast<Index>(phases.phases.size()) * phase_weights(); }
  Index pass_weights() const { return part.groups * pass_blocks * weight_block(); }
  Index phase_products() const { return points * product_pitch; }
  Index run_depth() const { return run_planes * plane_depth; }
  Index chunks() const { return static_cast<Index>(phases.views.size()) / run_planes * run_chunks; }
  // Of the channels of a view, or of a plane of a phase: where they lie in the transformed source of a tile.
  Index transformed_offset(Index view, Index channel) const {
    const Index entry = view % run_planes * plane_depth + channel;
    const Index chunk = view / run_planes * run_chunks + entry / chunk_depth;
    return chunk * points * tile_pitch + entry % chunk_depth;
  }
};

// Whether a plane of taps is multiplied at a point: without its last tap it is zero at infinity, the last one.
template <class T>
bool takes_part(const WinogradKernels<T>& transforms, const TapPlane& plane, Index point) {
  const WinogradAxis &y = transforms.y, &x = transforms.x;
  const bool has_row = plane.height == y.taps || point / x.points + 1 < y.points;
  return has_row && (plane.width == x.taps || point % x.points + 1 < x.points);
}

// Where the transforms find the taps of a plane: in the array or, of a stage, so far apart as stage_pitch says (else
// 0).
template <class T>
void set_tap_offsets(const Correlation& part, const TapPlane& plane, Index side, Index stage_pitch,
                     PointWeights<T>& weights) noexcept;

// Row blocks [first, stop). False where a weight is not finite or too large to be transformed.
template <class T>
bool transform_winograd_weights(const WinogradProblem<T>& problem, const T* weight, Index first, Index stop,
                                T* transformed, int num_threads);

}  // namespace convpool
