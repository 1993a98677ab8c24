// What the products of pixels need to know of a call: how targets, taps and depth are cut, and when weights are packed.
#pragma once

#include <algorithm>
#include <vector>

#include "convolution/output_tiles.hpp"
#include "convolution/phase_set.hpp"
#include "convolution/pixel_pieces.hpp"

namespace convpool {

constexpr Index kBoxPixels = 256;    // about
constexpr Index kMostPhases = 256;   // of which a box has few positions each
constexpr Index kFewPixelBoxes = 2;  // up to so many pack weights for themselves

// What one phase sums of the taps that are staged together.
struct PhasePieces {
  std::size_t phase;
  std::vector<Piece> pieces;
};

// Taps that are staged together.
struct TapGroup {
  PixelStage stage;
  std::vector<Index> offsets;
  std::vector<PhasePieces> phases;
};

// When weights are packed: all of them ahead, or by each task for a tile, where nothing then leaves the cache: those of
// a piece, or of the same channels of all taps.
enum class Packing { ahead, pieces, chunks };

// The phases of one target, cut into tasks of (group, box of positions, block of tiles of output channels).
struct PixelJob {
  PhaseSet set;
  PixelCut cut;
  OutputTiles tiles;
  std::vector<TapGroup> groups;
  bool is_direct;               // targets are written where they lie
  const MatrixKernels* matrix;  // products are of matrices, and weights packed for them; null: of vectors
  PieceSize piece_size;
  Packing packing;
  bool skips_padding;  // tiles of pixels leave out the taps that reach nothing but padding from all of them
  Index block_tiles;   // whose results are held at once
  Index task_tiles, tile_tasks;
  Index first_task;
  std::vector<Index> packed_offsets;  // of the weights of each phase
  std::vector<Index> steps;           // of all pieces of each phase, where products are of matrices

  const Correlation& part() const { return set.common; }
  PixelOrder order() const { return skips_padding ? PixelOrder::by_position : PixelOrder::by_image; }
  Index tasks() const { return part().groups * cut.boxes() * tile_tasks; }
  Index packed_elements(std::size_t phase) const {
    if (packing != Packing::ahead) return 0;
    return part().groups * tiles.packed_elements(set.phases[phase].part.depth());
  }
  Index tile_columns() const { return ceil_divide(tiles.vectors, tiles.tiles) * tiles.lanes; }
  Index chunk_elements() const { return piece_size.chunk(part().channels) * static_cast<Index>(part().taps.size()); }
  Index tile_elements() const {
    return packing == Packing::ahead    ? 0
           : packing == Packing::pieces ? tile_columns() * piece_size.most
                                        : tile_columns() * chunk_elements();
  }
  Index stage_elements() const {
    Index most = 0;
    for (const TapGroup& group : groups) most = std::max(most, group.stage.elements());
    return most;
  }
  Index result_columns() const {
    return is_direct ? 0 : std::min(block_tiles * tile_columns() + tiles.lanes, tiles.vectors * tiles.lanes);
  }
  Index result_elements() const { return result_columns() * set.most_targets(cut); }
};

// matrix: null, or what multiplies where it can. keeps_packed: whether the packed weights outlive the call.
template <class T>
PixelJob make_pixel_job(PhaseSet phases, const ConvKernels<T>& kernels, const MatrixKernels* matrix, bool keeps_packed,
                        int threads);

// Where the weights of a piece begin, in rows of a tile; packed before, or now.
template <class T>
Index place_weights(const PixelJob& job, const ConvKernels<T>& kernels, const Correlation& part, const T* weight,
                    Index tile, const Piece& piece, T* packed) noexcept;

}  // namespace convpool
