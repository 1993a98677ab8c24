#include "convolution/pixel_matrix.hpp"

#include <limits>

#include "convolution/pixel_tiles.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

Index vector_elements(const PixelJob& job, Index steps) { return steps * job.matrix->parts * kColumnStep; }

// One for each tile, the least magnitude of its weights, in whole cache lines.
Index note_elements(const PixelJob& job) {
  constexpr Index kLine = 16;
  return ceil_divide(job.tiles.tiles, kLine) * kLine;
}

Index group_elements(const PixelJob& job, std::size_t phase) {
  const Index parts = job.tiles.vectors * vector_elements(job, job.steps[phase]);
  return note_elements(job) + parts * static_cast<Index>(sizeof(MatrixElement)) / static_cast<Index>(sizeof(float));
}

// Where the columns of a piece begin, from a vector on.
Index piece_offset(const PixelJob& job, const Piece& piece, Index vector) {
  return vector_elements(job, piece.first_step * job.tiles.vectors + vector * matrix_steps(piece.elements()));
}

// Of the phase, in all groups of taps. Returns the least magnitude, or 0.
float split_tile(const PixelJob& job, const ConvKernels<float>& kernels, std::size_t phase, const float* weight,
                 Index tile, MatrixElement* packed, float* rows) noexcept {
  const Index first = job.tiles.first_vector(tile), vectors = job.tiles.vectors_of(tile);
  const Index width = vectors * job.tiles.lanes;
  const Correlation& part = job.set.phases[phase].part;
  float least = std::numeric_limits<float>::max();
  for (const TapGroup& group : job.groups)
    for (const PhasePieces& pieces : group.phases)
      for (const Piece& piece : pieces.pieces) {
        if (pieces.phase != phase || piece.elements() == 0) continue;
        const float* row = rows + place_weights(job, kernels, part, weight, tile, piece, rows) * width;
        for (Index v = 0; v < vectors; ++v)
          least = std::min(least, job.matrix->split_column({row + v * job.tiles.lanes, width, piece.elements(),
                                                            packed + piece_offset(job, piece, first + v)}));
      }
  return least;
}

// Pixels are split for all rows, sums are added to their targets for all of the depth: both have to be many.
Index products_of_a_value(const Correlation& part) { return part.rows * part.depth() / (part.rows + part.depth()); }

constexpr Index kLeastRows = 32;  // of a block; fewer leave it partly empty

}  // namespace

// Weights are packed for all pixels, of which there have to be many, too. Phases share what is split.
bool matrix_tiles_accept(const Correlation& part) {
  const Index least_pixels = part.is_phase() ? 512 : 320, least_products = part.is_phase() ? 40 : 56;
  return part.rows >= kLeastRows && part.pixels() >= least_pixels && phase_count(part) <= kMostPhases &&
         products_of_a_value(part) >= least_products;
}

bool matrix_grad_weight_accepts(const Correlation& part) {
  constexpr Index kLeastPixels = 512, kLeastProducts = 64;
  return part.rows >= kLeastRows && part.channels >= kLeastRows && part.pixels() >= kLeastPixels &&
         products_of_a_value(part) >= kLeastProducts;
}

Index column_elements(const PixelJob& job, std::size_t phase) { return job.part().groups * group_elements(job, phase); }

Index panel_elements(const PixelJob& job) {
  return job.matrix == nullptr ? 0 : matrix_steps(job.piece_size.most) * job.matrix->parts * kPanelStep;
}

MatrixColumns columns_of(const PixelJob& job, std::size_t phase, const float* packed, Index group) {
  packed += group * group_elements(job, phase);
  const float least = *std::min_element(packed, packed + job.tiles.tiles);
  return {least, reinterpret_cast<const MatrixElement*>(packed + note_elements(job))};
}

void pack_columns(const PixelJob& job, const ConvKernels<float>& kernels, std::size_t phase, const float* weight,
                  float* packed, int num_threads) {
  const Index tasks = job.part().groups * job.tiles.tiles;
  const int workers = worker_count(num_threads, tasks, column_elements(job, phase));
  const Workspace memory(workers, static_cast<std::size_t>(job.tile_elements()) * sizeof(float));
  parallel_for(tasks, workers, [&](Index task, int worker) {
    const Index group = task / job.tiles.tiles, tile = task % job.tiles.tiles;
    float* notes = packed + group * group_elements(job, phase);
    MatrixElement* parts = reinterpret_cast<MatrixElement*>(notes + note_elements(job));
    notes[tile] = split_tile(job, kernels, phase, weight + group * job.part().weight_group_stride, tile, parts,
                             reinterpret_cast<float*>(memory.of(worker)));
  });
}

bool multiply_matrices(const PixelJob& job, const TapGroup& group, const PhasePieces& phase,
                       const MatrixColumns& columns, const float* bias, const MatrixPixels& box, Index first,
                       Index stop, MatrixElement* panel) noexcept {
  const Index first_vector = job.tiles.first_vector(first), stop_vector = job.tiles.first_vector(stop);
  MatrixPiece call{};
  call.pixels = box.pixels;
  call.count = box.count;
  call.panel = panel;
  call.vectors = stop_vector - first_vector;
  call.targets = box.targets;
  call.least = least_beside(columns.least);
  call.column = job.tiles.column(first_vector) - box.base;
  call.last_column = job.tiles.column(stop_vector - 1) - box.base;
  for (const Piece& piece : phase.pieces) {
    call.offsets = group.offsets.data() + piece.first_segment;
    call.segments = piece.segments;
    call.length = piece.length;
    call.columns = columns.parts + piece_offset(job, piece, first_vector);
    call.start = piece.depth == 0 ? bias + first_vector * job.tiles.lanes : nullptr;
    if (!job.matrix->multiply(call)) return false;
  }
  return true;
}

}  // namespace convpool
