#include "convolution/channel_dots.hpp"

#include <algorithm>

#include "convolution/padded_rows.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

namespace {

constexpr Index kAtOnce = kMostDotRows;    // pixels whose dot products are summed together
constexpr Index kMostTerms = 64;           // of a lane, summed in a register
constexpr Index kMostLanes = 16;           // of a vector
constexpr Index kWantedBytes = 128 << 10;  // of the source of a box, which all outputs read

// A target channel of a phase.
struct Output {
  Index channel, target_offset;
  std::vector<Index> weight_offsets;  // of all taps
};

// Outputs of the phases that read the same pixels.
struct OutputSet {
  const Correlation* part;  // one of the phases
  std::vector<Output> outputs;
};

// Boxes of padding may have their axes in another order: then neither their grids nor their steps agree.
bool reads_same_pixels(const Correlation& a, const Correlation& b) {
  const auto agree = [](const Index* one, const Index* other) { return std::equal(one, one + kAxes, other); };
  return agree(a.target.extent, b.target.extent) && agree(a.target.axis_stride, b.target.axis_stride) &&
         agree(a.source.extent, b.source.extent) && agree(a.source.axis_stride, b.source.axis_stride) &&
         agree(a.step, b.step) &&
         std::equal(a.taps.begin(), a.taps.end(), b.taps.begin(), b.taps.end(),
                    [&](const Tap& one, const Tap& other) { return agree(one.offset, other.offset); });
}

std::vector<OutputSet> make_sets(const std::vector<Correlation>& parts) {
  std::vector<OutputSet> sets;
  for (const Correlation& part : parts) {
    auto set =
        std::find_if(sets.begin(), sets.end(), [&](const OutputSet& s) { return reads_same_pixels(*s.part, part); });
    if (set == sets.end()) set = sets.insert(set, {&part, {}});
    for (Index row = 0; row < part.rows; ++row) {
      Output output{row, part.target_offset + row * part.target.channel_stride, {}};
      for (const Tap& tap : part.taps)
        output.weight_offsets.push_back(tap.weight_offset + row * part.weight_row_stride);
      set->outputs.push_back(std::move(output));
    }
  }
  return sets;
}

// Boxes of neighbouring positions in a row of the targets, the same for all phases.
struct Boxes {
  Index groups, batch, extent[kAxes], columns, x_boxes;

  Boxes(const std::vector<Correlation>& parts, std::size_t element_bytes)
      : groups(parts.front().groups), batch(parts.front().batch), extent{0, 0, 0} {
    for (const Correlation& part : parts)
      for (int axis = 0; axis < kAxes; ++axis) extent[axis] = std::max(extent[axis], part.target.extent[axis]);
    const Index pixel_bytes = parts.front().channels * static_cast<Index>(element_bytes);
    columns = ceil_divide(std::max<Index>(kWantedBytes / pixel_bytes, 1), kAtOnce) * kAtOnce;
    x_boxes = ceil_divide(extent[2], columns);
  }

  Index count() const noexcept { return groups * batch * extent[0] * extent[1] * x_boxes; }
};

// Where a box is in one of the phases, which may have no columns there.
struct Place {
  Index group, batch, z, y, x, columns;

  Place(const Boxes& boxes, const Correlation& part, Index index) noexcept {
    x = index % boxes.x_boxes * boxes.columns;
    index /= boxes.x_boxes;
    y = index % boxes.extent[1];
    index /= boxes.extent[1];
    z = index % boxes.extent[0];
    index /= boxes.extent[0];
    batch = index % boxes.batch;
    group = index / boxes.batch;
    const bool is_inside = z < part.target.extent[0] && y < part.target.extent[1];
    columns = is_inside ? std::clamp<Index>(part.target.extent[2] - x, 0, boxes.columns) : 0;
  }
};

// sums[pixel][output][lane] += products of pixels that lie `pitch` apart with the rows of the weight at `offsets`.
template <class T>
void add_pixels(const ConvKernels<T>& kernels, const T* source, Index pitch, Index pixels, const T* weight,
                const Index* offsets, Index outputs, Index channels, T* sums) noexcept {
  const auto run = kernels.dot_rows[pixels - 1][outputs - 1];
  const Index lanes = kernels.lanes, at_once = kMostTerms * lanes, whole = channels / lanes * lanes;
  for (Index channel = 0; channel < whole; channel += at_once)
    run({source + channel, pitch, 0, weight + channel, 0, offsets, 1, std::min(at_once, whole - channel),
         outputs * lanes},
        sums);
  if (whole == channels) return;
  T ends[kMostDotTaps * kMostLanes] = {};  // kernels read whole vectors, also where the weight ends within one
  Index end_offsets[kMostDotTaps];
  for (Index i = 0; i < outputs; ++i) {
    end_offsets[i] = i * lanes;
    std::copy_n(weight + offsets[i] + whole, channels - whole, ends + end_offsets[i]);
  }
  run({source + whole, pitch, 0, ends, 0, end_offsets, 1, channels - whole, outputs * lanes}, sums);
}

// The same of the pixels that have a window at the tap; those of target positions x, x + 1, ...
template <class T>
void add_tap(const OutputSet& set, const ConvKernels<T>& kernels, const T* source, const T* weight, std::size_t tap,
             const Place& place, Index x, Index pixels, Index output, Index outputs, T* sums) noexcept {
  const Correlation& part = *set.part;
  const Grid& from = part.source;
  const Index* offset = part.taps[tap].offset;
  const Index z = place.z * part.step[0] + offset[0], y = place.y * part.step[1] + offset[1];
  const Index first = x * part.step[2] + offset[2], pitch = part.step[2] * from.axis_stride[2];
  const Inside inside(first, part.step[2], from.extent[2], pixels);
  if (z < 0 || z >= from.extent[0] || y < 0 || y >= from.extent[1] || inside.first == inside.stop) return;
  Index offsets[kMostDotTaps];
  for (Index i = 0; i < outputs; ++i) offsets[i] = set.outputs[output + i].weight_offsets[tap];
  source += z * from.axis_stride[0] + y * from.axis_stride[1] + first * from.axis_stride[2] + inside.first * pitch;
  add_pixels(kernels, source, pitch, inside.stop - inside.first, weight, offsets, outputs, part.channels,
             sums + inside.first * outputs * kernels.lanes);
}

// Some outputs of a box. The arrays are those of its image and group.
template <class T>
void run_box(const OutputSet& set, const ConvKernels<T>& kernels, const T* source, const T* weight, const T* bias,
             const Place& place, Index output, Index outputs, T* target) noexcept {
  const Grid& to = set.part->target;
  target += place.z * to.axis_stride[0] + place.y * to.axis_stride[1];
  T sums[kAtOnce * kMostDotTaps * kMostLanes], totals[kAtOnce * kMostDotTaps];
  for (Index x = place.x; x < place.x + place.columns; x += kAtOnce) {
    const Index pixels = std::min(kAtOnce, place.x + place.columns - x);
    std::fill_n(sums, pixels * outputs * kernels.lanes, T{0});
    for (std::size_t tap = 0; tap < set.part->taps.size(); ++tap)
      add_tap(set, kernels, source, weight, tap, place, x, pixels, output, outputs, sums);
    kernels.lane_totals(sums, 1, pixels * outputs, totals);
    for (Index pixel = 0; pixel < pixels; ++pixel)
      for (Index i = 0; i < outputs; ++i) {
        const Output& own = set.outputs[output + i];
        target[(x + pixel) * to.axis_stride[2] + own.target_offset] =
            totals[pixel * outputs + i] + (bias == nullptr ? T{0} : bias[own.channel]);
      }
  }
}

}  // namespace

// Of gradients only: windows that do not exist give nothing, whatever the weights are. More target channels fill the
// lanes of other tiles.
bool channel_dots_accept(const Correlation& part) {
  constexpr Index kLeastChannels = 128, kMostPointwiseRows = 4;
  const bool is_pointwise = part.taps.size() == 1 && !part.is_phase();
  return part.source.channel_stride == 1 && part.weight_channel_stride == 1 && part.channels >= kLeastChannels &&
         part.rows <= (is_pointwise ? kMostPointwiseRows : 1);
}

template <class T>
void run_channel_dots(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads) {
  const ConvKernels<T>& kernels = conv_kernels<T>(*table);
  const std::vector<OutputSet> sets = make_sets(parts);
  const Boxes boxes(parts, sizeof(T));
  Index work = 0;
  for (const Correlation& part : parts) work += part.groups * part.rows * part.pixels() * (part.depth() / 16 + 1);
  parallel_for(boxes.count(), worker_count(num_threads, boxes.count(), work), [&](Index task, int) {
    for (const OutputSet& set : sets) {
      const Correlation& part = *set.part;
      const Place place(boxes, part, task);
      const Index outputs = static_cast<Index>(set.outputs.size()), most = kernels.dot_taps[kAtOnce - 1];
      for (Index output = 0; output < outputs; output += most)
        run_box(set, kernels, source + place.batch * part.source.batch_stride + place.group * part.channels,
                weight + place.group * part.weight_group_stride,
                bias == nullptr ? nullptr : bias + place.group * part.rows, place, output,
                std::min(most, outputs - output),
                target + place.batch * part.target.batch_stride + place.group * part.rows * part.target.channel_stride);
    }
  });
}

template void run_channel_dots(const KernelTable*, const std::vector<Correlation>&, const float*, const float*,
                               const float*, float*, int);
template void run_channel_dots(const KernelTable*, const std::vector<Correlation>&, const double*, const double*,
                               const double*, double*, int);

}  // namespace convpool
