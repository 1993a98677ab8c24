#include "convolution/pixel_job.hpp"

namespace convpool {

namespace {

constexpr Index kManyPixels = 512;  // where the weights do not lie in the second-level cache
constexpr std::size_t kManyWeightBytes = 1 << 20;
constexpr std::size_t kMostStageBytes = 1280 << 10;
constexpr Index kMostBlockColumns = 256;  // output channels of a result that is not written in place
constexpr std::size_t kMostResultBytes = 512 << 10;
constexpr std::size_t kMostChunkBytes = 512 << 10;
constexpr Index kMostPixelRows = kMostTileRows;

Index stage_elements(const Correlation& part, Index wanted) {
  return PixelStage(part, PixelCut(part, wanted), 0, static_cast<Index>(part.taps.size()), part.channels,
                    PixelStage::Place::anywhere)
      .elements();
}

// Writing whole vectors of channels needs no other order of elements, nor room for the lanes of others.
bool writes_in_place(const Correlation& part, Index lanes) {
  return part.target.channel_stride == 1 && part.rows >= lanes;
}

// The box whose stage and results fit their bounds; at least a few pixels, which taps that reach far may exceed.
PixelCut make_cut(const PhaseSet& set, const OutputTiles& tiles, std::size_t element_bytes) {
  const Correlation& part = set.common;
  const auto exceeds = [&](Index elements, std::size_t bytes) {
    return static_cast<std::size_t>(elements) * element_bytes > bytes;
  };
  const Index tile_columns =
      writes_in_place(part, tiles.lanes) ? 0 : ceil_divide(tiles.vectors, tiles.tiles) * tiles.lanes;
  Index wanted = exceeds(part.rows * part.depth(), kManyWeightBytes) ? kManyPixels : kBoxPixels;
  while (wanted > kMostPixelRows &&
         (exceeds(stage_elements(part, wanted), kMostStageBytes) ||
          exceeds(set.most_targets(PixelCut(part, wanted)) * tile_columns, kMostResultBytes)))
    wanted /= 2;
  return PixelCut(part, wanted);
}

// Stages all taps together, or one by one where they reach far, and cuts the depth of each phase. A phase without taps
// has one piece of nothing, which leaves the bias.
void add_tap_groups(PixelJob& job, std::size_t element_bytes) {
  const Correlation& part = job.part();
  const Index taps = static_cast<Index>(part.taps.size());
  const PixelStage whole(part, job.cut, 0, taps, part.channels, PixelStage::Place::anywhere);
  const Index step = static_cast<std::size_t>(whole.elements()) * element_bytes <= kMostStageBytes ? taps : 1;
  for (Index tap = 0; tap < taps; tap += step)
    job.groups.push_back(
        {PixelStage(part, job.cut, tap, tap + step, part.channels, PixelStage::Place::anywhere), {}, {}});
  for (std::size_t index = 0; index < job.set.phases.size(); ++index) {
    const Phase& phase = job.set.phases[index];
    for (TapGroup& group : job.groups) {
      const Index first = std::max(phase.first_tap, group.stage.first_tap());
      const Index stop = std::min(phase.stop_tap, group.stage.stop_tap());
      if (first < stop)
        group.phases.push_back(
            {index, cut_depth(group.stage.segments(part, part.channels, first, stop), part.channels,
                              (first - phase.first_tap) * part.channels, job.piece_size, group.offsets)});
    }
    if (phase.part.taps.empty()) job.groups.front().phases.push_back({index, {{0, 0, 0, 0}}});
  }
}

// Tells every piece which taps it is of.
void name_taps(PixelJob& job) {
  const Index channels = job.part().channels;
  for (TapGroup& group : job.groups)
    for (PhasePieces& phase : group.phases)
      for (Piece& piece : phase.pieces) {
        const Index stop = piece.depth + piece.segments * piece.length;
        if (stop > piece.depth) piece.taps = 0;
        for (Index tap = piece.depth / channels; tap * channels < stop; ++tap) piece.taps |= tap_set(tap);
      }
}

void count_steps(PixelJob& job) {
  job.steps.assign(job.set.phases.size(), 0);
  for (TapGroup& group : job.groups)
    for (PhasePieces& phase : group.phases)
      for (Piece& piece : phase.pieces) {
        piece.first_step = job.steps[phase.phase];
        job.steps[phase.phase] += matrix_steps(piece.elements());
      }
}

Packing task_packing(const PixelJob& job, std::size_t element_bytes) {
  const Correlation& part = job.part();
  if (part.taps.empty() || part.weight_row_stride == 1 || part.weight_channel_stride == 1) return Packing::pieces;
  const Index elements = job.tile_columns() * job.chunk_elements();
  const bool fits = static_cast<std::size_t>(elements) * element_bytes <= kMostChunkBytes;
  if (fits && job.groups.size() == 1) return Packing::chunks;
  return job.matrix == nullptr ? Packing::ahead : Packing::pieces;
}

}  // namespace

template <class T>
PixelJob make_pixel_job(PhaseSet phases, const ConvKernels<T>& kernels, const MatrixKernels* matrix, bool keeps_packed,
                        int threads) {
  const OutputTiles tiles(phases.common.rows, kernels.lanes, kernels.output_vectors);
  const PixelCut cut = make_cut(phases, tiles, sizeof(T));
  const PieceSize size = matrix == nullptr ? PieceSize{kDepthChunk, 1} : PieceSize{kMostMatrixPiece, kMatrixDepth};
  PixelJob job{std::move(phases), cut, tiles, {}, false, matrix, size, Packing::ahead, false, 0, 0, 0, 0, {}, {}};
  job.is_direct = writes_in_place(job.part(), kernels.lanes);
  const Index tile_results = job.set.most_targets(job.cut) * job.tile_columns();
  const Index most_tiles = std::min<Index>(kMostBlockColumns / job.tile_columns(),
                                           static_cast<Index>(kMostResultBytes / sizeof(T)) / tile_results);
  job.block_tiles = job.is_direct ? job.tiles.tiles : std::max<Index>(1, most_tiles);
  const Index other_tasks = std::max<Index>(1, job.part().groups * job.cut.boxes());
  const Index cuts = std::min(job.tiles.tiles, ceil_divide(3 * static_cast<Index>(threads), other_tasks));
  job.task_tiles = ceil_divide(job.tiles.tiles, cuts);
  job.tile_tasks = ceil_divide(job.tiles.tiles, job.task_tiles);
  add_tap_groups(job, sizeof(T));
  name_taps(job);
  count_steps(job);
  job.skips_padding = job.groups.size() == 1 && has_padding_to_skip(job.part());
  const bool packs_in_tasks = matrix != nullptr || (!keeps_packed && job.cut.boxes() <= kFewPixelBoxes);
  if (packs_in_tasks) job.packing = task_packing(job, sizeof(T));
  return job;
}

template <class T>
Index place_weights(const PixelJob& job, const ConvKernels<T>& kernels, const Correlation& part, const T* weight,
                    Index tile, const Piece& piece, T* packed) noexcept {
  if (job.packing == Packing::ahead) return piece.depth;
  if (job.packing == Packing::pieces) {
    pack_output_depth(part, job.tiles, kernels, weight, tile, piece.depth, piece.depth + piece.elements(), packed);
    return 0;
  }
  const Index chunk = job.piece_size.chunk(part.channels);
  const Index first = piece.depth % part.channels / chunk * chunk, channels = std::min(chunk, part.channels - first);
  if (piece.depth == first)  // of the first tap
    pack_output_chunk(part, job.tiles, kernels, weight, tile, first, first + channels, packed);
  return piece.depth / part.channels * channels + piece.depth % part.channels - first;
}

template PixelJob make_pixel_job(PhaseSet, const ConvKernels<float>&, const MatrixKernels*, bool, int);
template PixelJob make_pixel_job(PhaseSet, const ConvKernels<double>&, const MatrixKernels*, bool, int);
template Index place_weights(const PixelJob&, const ConvKernels<float>&, const Correlation&, const float*, Index,
                             const Piece&, float*) noexcept;
template Index place_weights(const PixelJob&, const ConvKernels<double>&, const Correlation&, const double*, Index,
                             const Piece&, double*) noexcept;

}  // namespace convpool
