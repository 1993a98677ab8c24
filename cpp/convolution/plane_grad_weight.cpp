#include "convolution/plane_grad_weight.hpp"

#include <algorithm>
#include <utility>

#include "convolution/weight_sums.hpp"
#include "runtime/interruption.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

constexpr Index kDepthChunk = 128;      // pixels summed in registers
constexpr Index kMostPixels = 1024;     // of a box
constexpr Index kMostPixelsLast = 256;  // channels last, where a box of all channels should stay in the cache
constexpr Index kLinesAhead = 2;
constexpr std::size_t kMostPanelBytes = 512 << 10;
constexpr Index kMostRows = 256;  // of a task, which has one tile of columns

// One side of the product. All pixels of an image are one line.
struct Side {
  const Grid* grid;
  Index channels;

  Index pixel_pitch() const noexcept { return grid->axis_stride[2]; }
};

// How the sums are cut into tasks. Images are cut into pieces, some of which are a box; a slice of the sums has whole
// boxes.
struct Cut {
  Correlation view;  // of the weight: channels are those read in place, rows those of the panel
  Side plane, panel;
  WeightSums sums;
  Index image_pieces, piece_pixels;  // the last piece of an image may be shorter
  Index joined_pieces;               // summed together
  Index box_pieces, boxes, boxes_per_slice;
  Index row_block, row_blocks, column_block, column_blocks;
  bool is_direct;  // the sums are made in the gradient itself

  Index box_pixels() const noexcept { return box_pieces * piece_pixels; }
  Index pieces() const noexcept { return view.batch * image_pieces; }
  bool is_channels_last() const noexcept { return plane.grid->channel_stride == 1; }
  Index tasks() const noexcept { return sums.slices * sums.groups * row_blocks * column_blocks; }
  Index pitch() const noexcept { return is_direct ? view.weight_channel_stride : sums.pitch; }
};

// An even share of `total` in pieces of at most `most`.
Index even_share(Index total, Index most) { return ceil_divide(total, ceil_divide(total, most)); }

void cut_pixels(const Correlation& part, std::size_t panel_bytes, Cut& cut) {
  const Index image = std::max<Index>(part.target.extent[2], 1);
  cut.piece_pixels = even_share(image, kDepthChunk);
  cut.image_pieces = ceil_divide(image, cut.piece_pixels);
  cut.joined_pieces = cut.image_pieces > 1 ? 1 : std::max<Index>(1, kDepthChunk / image);
  const Index most = cut.is_channels_last() ? kMostPixelsLast
                                            : std::min(kMostPixels, static_cast<Index>(kMostPanelBytes / panel_bytes));
  const Index calls = std::max<Index>(1, most / (cut.piece_pixels * cut.joined_pieces));
  cut.box_pieces = calls * cut.joined_pieces;
  cut.boxes = ceil_divide(cut.pieces(), cut.box_pieces);
}

template <class T>
Cut make_cut(const Correlation& part, const ConvKernels<T>& kernels) {
  Cut cut{};
  cut.view = part;
  cut.plane = {&part.source, part.channels};
  cut.panel = {&part.target, part.rows};
  if (part.rows > part.channels) {
    std::swap(cut.plane, cut.panel);
    std::swap(cut.view.channels, cut.view.rows);
    std::swap(cut.view.weight_channel_stride, cut.view.weight_row_stride);
  }
  cut.sums = WeightSums(cut.view, kernels.lanes);
  const Index vectors = cut.sums.pitch / kernels.lanes;
  cut.column_block = even_share(vectors, kernels.channel_vectors) * kernels.lanes;
  cut.column_blocks = ceil_divide(cut.sums.pitch, cut.column_block);
  const Index tiles = ceil_divide(cut.view.channels, kernels.gradient_rows);
  cut.row_block =
      even_share(tiles, std::max(1, static_cast<int>(kMostRows) / kernels.gradient_rows)) * kernels.gradient_rows;
  cut.row_blocks = ceil_divide(cut.view.channels, cut.row_block);
  cut_pixels(part, static_cast<std::size_t>(cut.column_block) * sizeof(T), cut);
  cut.boxes_per_slice = cut.sums.slice(cut.boxes, part.groups * cut.row_blocks * cut.column_blocks);
  cut.is_direct = cut.sums.slices == 1 && cut.view.weight_row_stride == 1 && cut.view.rows % kernels.lanes == 0;
  return cut;
}

template <class T>
struct Scratch {
  T* panel;
  Index* offsets;  // of the pieces of a box, in the planes

  static std::size_t carve(Carver carver, const Cut& cut, Scratch& scratch) {
    scratch.panel = carver.take<T>(cut.box_pixels() * cut.column_block);
    scratch.offsets = carver.take<Index>(cut.box_pieces);
    return carver.used();
  }
};

struct Task {
  Index slice, group, row, rows, column, columns;

  Task(const Cut& cut, Index index) noexcept {
    column = index % cut.column_blocks * cut.column_block;
    index /= cut.column_blocks;
    row = index % cut.row_blocks * cut.row_block;
    index /= cut.row_blocks;
    group = index % cut.sums.groups;
    slice = index / cut.sums.groups;
    rows = std::min(cut.row_block, cut.view.channels - row);
    columns = std::min(cut.column_block, cut.view.rows - column);
  }
};

// Where a piece of an image begins on either side.
struct Piece {
  Index plane, panel, pixels;

  Piece(const Cut& cut, Index index) noexcept {
    const Index image = index / cut.image_pieces, first = index % cut.image_pieces * cut.piece_pixels;
    plane = image * cut.plane.grid->batch_stride + first * cut.plane.pixel_pitch();
    panel = image * cut.panel.grid->batch_stride + first * cut.panel.pixel_pitch();
    pixels = std::min(cut.piece_pixels, cut.view.target.extent[2] - first);
  }
};

// The pieces of a box, added to the sums. `planes` is the first channel of the task.
template <class T>
void multiply_box(const Cut& cut, const ConvKernels<T>& kernels, const T* planes, Index rows, Index width,
                  Index first_piece, Index pieces, const Scratch<T>& scratch, T* sums) noexcept {
  PlaneTile<T> call{};
  call.row_pitch = cut.plane.grid->channel_stride;
  call.step = cut.plane.pixel_pitch();
  call.sums_pitch = cut.pitch();
  // Channels last, each pixel's channels are fetched two lines ahead: no two are neighbours, which processors notice.
  call.ahead = cut.is_channels_last() ? kLinesAhead * static_cast<Index>(kAlignment / sizeof(T)) : 0;
  for (Index row = 0; row < rows; row += kernels.gradient_rows) {
    const Index tile_rows = std::min<Index>(kernels.gradient_rows, rows - row);
    call.values = planes + row * call.row_pitch;
    call.sums = sums + row * call.sums_pitch;
    call.panel = scratch.panel;
    for (Index piece = 0; piece < pieces; piece += call.segments) {
      call.offsets = scratch.offsets + piece;
      call.segments = std::min(cut.joined_pieces, pieces - piece);
      call.length = Piece(cut, first_piece + piece).pixels;
      kernels.plane_tile[tile_rows - 1][width / kernels.lanes - 1](call);
      call.panel += call.segments * call.length * width;
    }
  }
}

// `planes`, `panel` and `sums` are those of the task's first channels.
template <class T>
void run_task(const Cut& cut, const ConvKernels<T>& kernels, const Task& task, const T* planes, const T* panel, T* sums,
              const Scratch<T>& scratch) noexcept {
  const Index width = ceil_divide(task.columns, kernels.lanes) * kernels.lanes;
  for (Index row = 0; row < task.rows; ++row) std::fill_n(sums + row * cut.pitch(), width, T{0});
  if (width > task.columns) std::fill_n(scratch.panel, width * cut.box_pixels(), T{0});  // lanes past the last column
  const Index stop_box = std::min((task.slice + 1) * cut.boxes_per_slice, cut.boxes);
  for (Index box = task.slice * cut.boxes_per_slice; box < stop_box && !is_interrupted(); ++box) {
    const Index first = box * cut.box_pieces, pieces = std::min(cut.box_pieces, cut.pieces() - first);
    Index pixel = 0;
    for (Index i = 0; i < pieces; ++i) {
      const Piece piece(cut, first + i);
      scratch.offsets[i] = piece.plane;
      kernels.move_block(piece.pixels, task.columns, panel + piece.panel, cut.panel.pixel_pitch(),
                         cut.panel.grid->channel_stride, scratch.panel + pixel * width, width, 1);
      pixel += piece.pixels;
    }
    multiply_box(cut, kernels, planes, task.rows, width, first, pieces, scratch, sums);
  }
}

}  // namespace

// All pixels of an image are one line. Channels last, pixels of more channels lie so far apart that a box of them does
// not stay in the cache.
bool plane_grad_weight_accepts(const Correlation& part) {
  constexpr Index kMostChannelsLast = 1024;
  const Grid &source = part.source, &target = part.target;
  const auto is_whole = [&](int axis) {
    return part.taps[0].offset[axis] == 0 && part.step[axis] == 1 && source.extent[axis] == target.extent[axis] &&
           (axis == 2 || source.extent[axis] == 1);
  };
  const bool is_first = source.axis_stride[2] == 1 && target.axis_stride[2] == 1;
  const bool is_last = part.is_channels_last() && part.groups * std::max(part.channels, part.rows) <= kMostChannelsLast;
  return part.taps.size() == 1 && is_whole(0) && is_whole(1) && is_whole(2) && (is_first || is_last);
}

template <class T>
void plane_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                       T* grad_weight, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const Cut cut = make_cut(part, kernels);
  const Workspace sums_memory(1, cut.is_direct ? 0 : static_cast<std::size_t>(cut.sums.elements()) * sizeof(T));
  T* sums = reinterpret_cast<T*>(sums_memory.of(0));
  const bool reads_source = cut.plane.grid == &part.source;
  const int workers =
      worker_count(num_threads, cut.tasks(), part.groups * part.rows * part.channels * part.pixels() / 16);
  Scratch<T> measure;
  const Workspace memory(workers, Scratch<T>::carve(Carver(), cut, measure));
  parallel_for(cut.tasks(), workers, [&](Index index, int worker) {
    Scratch<T> scratch;
    Scratch<T>::carve(Carver(memory.of(worker)), cut, scratch);
    const Task task(cut, index);
    const auto channel_of = [&](const T* array, const Side& side, Index channel) {
      return array + (task.group * side.channels + channel) * side.grid->channel_stride;
    };
    T* task_sums = cut.is_direct
                       ? grad_weight + task.group * part.weight_group_stride
                       : sums + task.slice * cut.sums.slice_elements() + task.group * cut.sums.group_elements();
    run_task(cut, kernels, task, channel_of(reads_source ? source : grad_output, cut.plane, task.row),
             channel_of(reads_source ? grad_output : source, cut.panel, task.column),
             task_sums + task.row * cut.pitch() + task.column, scratch);
  });
  if (!cut.is_direct) write_weights<T>(cut.view, kernels, cut.sums, sums, grad_weight, num_threads);
}

template void plane_grad_weight(const KernelTable*, const Correlation&, const float*, const float*, float*, int);
template void plane_grad_weight(const KernelTable*, const Correlation&, const double*, const double*, double*, int);

}  // namespace convpool
