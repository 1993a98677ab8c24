// The plan: one ordered list of algorithms; the first that accepts wins, the reference is last and accepts everything.
// A new algorithm is one row here and one file beside this one.
#include <algorithm>
#include <iterator>

#include "convolution/convolution.hpp"
#include "convolution/channel_dots.hpp"
#include "convolution/channel_sums.hpp"
#include "convolution/depthwise_planes.hpp"
#include "convolution/depthwise_small_planes.hpp"
#include "convolution/depthwise_spread.hpp"
#include "convolution/lanes.hpp"
#include "convolution/output_lanes.hpp"
#include "convolution/packed_correlation.hpp"
#include "convolution/padding_gradient.hpp"
#include "convolution/pixel_tiles.hpp"
#include "convolution/plane_grad_weight.hpp"
#include "convolution/row_tiles.hpp"
#include "convolution/winograd.hpp"
#include "reference/convolution.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

namespace {

using Parts = std::vector<Correlation>;

constexpr Index kPartsAtOnce = 1024;        // phases of a gradient that are described, and run, together
constexpr Index kFilledElements = 1 << 14;  // by a task, in rows of any length

// What an algorithm is chosen for. `table` is the kernel set, null for the reference loops.
struct Conditions {
  const KernelTable* table;
  Index lanes;  // of a vector of the elements, 0 without a table
  ConvPass pass;
  Precision precision;
  const MatrixSets* matrices;  // null where there are none for the elements
};

// One row of the plan. A function that it lacks is of passes that it does not accept.
template <class T>
struct Algorithm {
  const char* name;
  bool (*accepts)(const Conditions& conditions, const Correlation& part);
  void (*correlate)(const KernelTable* table, const Parts& parts, const T* source, const T* weight, const T* bias,
                    T* target, int num_threads);
  void (*grad_weight)(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                      T* grad_weight, int num_threads);
  bool maps_padding = false;  // reads padding that stands for elements of the source; the others know zeros only
  bool fills_gaps = false;    // writes the elements between the targets of stride phases, too, that no phase has
};

bool accepts_rows(const Conditions& conditions, const Correlation& part) {
  if (conditions.table == nullptr) return false;
  return conditions.pass == ConvPass::grad_weight ? row_grad_weight_accepts(part)
                                                  : row_tiles_accept(*conditions.table, part);
}

bool accepts_small_planes(const Conditions& conditions, const Correlation& part) {
  return small_planes_accept(conditions.lanes, part, conditions.pass);
}

bool accepts_depthwise_planes(const Conditions& conditions, const Correlation& part) {
  if (conditions.table == nullptr) return false;
  return conditions.pass == ConvPass::grad_weight ? depthwise_planes_grad_weight_accepts(*conditions.table, part)
                                                  : depthwise_planes_accept(*conditions.table, part);
}

bool accepts_depthwise_spread(const Conditions& conditions, const Correlation& part) {
  return conditions.table != nullptr && conditions.pass == ConvPass::grad_input &&
         depthwise_spread_accepts(*conditions.table, part);
}

bool accepts_channel_dots(const Conditions& conditions, const Correlation& part) {
  return conditions.table != nullptr && conditions.pass == ConvPass::grad_input && channel_dots_accept(part);
}

bool accepts_lanes(const Conditions& conditions, const Correlation& part) {
  return conditions.table != nullptr && lanes_accept(*conditions.table, part);
}

bool accepts_output_lanes(const Conditions& conditions, const Correlation& part) {
  if (conditions.table == nullptr) return false;
  return conditions.pass == ConvPass::grad_weight ? output_lane_grad_weight_accepts(*conditions.table, part)
                                                  : output_lanes_accept(*conditions.table, part);
}

// Six products of parts have less error than one of float32, three have more.
template <int Parts>
bool accepts_matrices(const Conditions& conditions, const Correlation& part) {
  if (conditions.matrices == nullptr || (Parts == 2 && conditions.precision != Precision::medium)) return false;
  if (conditions.pass == ConvPass::grad_weight) return matrix_grad_weight_accepts(part);
  return matrix_tiles_accept(part);
}

// Four outputs a tile need the fewest products, two have the smaller error.
template <int Outputs>
bool wins_with_tiles(const Conditions& conditions, const Correlation& part) {
  if (conditions.table == nullptr) return false;
  const WinogradDemands demands{conditions.precision == Precision::highest, accepts_matrices<3>(conditions, part)};
  return winograd_wins<Outputs>(*conditions.table, part, conditions.pass, demands);
}

// Three products are faster than the few of large Winograd tiles where those read many weights.
bool accepts_three_products(const Conditions& conditions, const Correlation& part) {
  constexpr Index kManyChannels = 200;
  const bool has_many = part.channels >= kManyChannels && conditions.pass != ConvPass::grad_weight;
  return accepts_matrices<2>(conditions, part) && (has_many || !wins_with_tiles<4>(conditions, part));
}

bool accepts_pixels(const Conditions& conditions, const Correlation& part) {
  return conditions.table != nullptr && pixel_tiles_accept(part);
}

bool accepts_planes(const Conditions& conditions, const Correlation& part) {
  return conditions.table != nullptr && conditions.pass == ConvPass::grad_weight && plane_grad_weight_accepts(part);
}

bool has_kernels(const Conditions& conditions, const Correlation&) { return conditions.table != nullptr; }

bool always(const Conditions&, const Correlation&) { return true; }

template <class T>
constexpr Algorithm<T> kPlan[] = {
    {"depthwise_small_planes", accepts_small_planes, run_small_planes<T>, small_planes_grad_weight<T>},
    {"depthwise_planes", accepts_depthwise_planes, run_depthwise_planes<T>, depthwise_planes_grad_weight<T>, true},
    {"depthwise_spread", accepts_depthwise_spread, run_depthwise_spread<T>, nullptr, false, true},
    {"lanes", accepts_lanes, run_lanes<T>, lane_grad_weight<T>},
    {"bf16x3", accepts_three_products, run_matrix_tiles<T, 2>, matrix_grad_weight<T, 2>, false, true},
    {"winograd_f4", wins_with_tiles<4>, run_winograd<T, 4>, winograd_grad_weight<T, 4>, true},
    {"winograd_f2", wins_with_tiles<2>, run_winograd<T, 2>, winograd_grad_weight<T, 2>, true},
    {"bf16x6", accepts_matrices<3>, run_matrix_tiles<T, 3>, matrix_grad_weight<T, 3>, false, true},
    {"channel_dots", accepts_channel_dots, run_channel_dots<T>, nullptr},
    {"row_tiles", accepts_rows, run_row_tiles<T>, row_grad_weight<T>, true},
    {"output_lanes", accepts_output_lanes, run_output_lanes<T>, output_lane_grad_weight<T>},
    {"plane_tiles", accepts_planes, nullptr, plane_grad_weight<T>},
    {"pixel_tiles", accepts_pixels, run_pixel_tiles<T>, pixel_grad_weight<T>, false, true},
    {"packed_tiles", has_kernels, run_packed<T>, packed_grad_weight<T>, true},
    {"reference", always, reference::correlate<T>, reference::correlate_grad_weight<T>, true},
};

// The largest part decides for all: parts of one pass differ in their taps only.
const Correlation& largest(const Parts& parts) {
  return *std::max_element(parts.begin(), parts.end(),
                           [](const Correlation& a, const Correlation& b) { return a.depth() < b.depth(); });
}

Parts parts_from(const InputGradient& gradient, Index first) {
  Parts parts;
  for (Index index = first; index < std::min(first + kPartsAtOnce, gradient.parts()); ++index)
    parts.push_back(gradient.part(index));
  return parts;
}

template <class T>
const Algorithm<T>& choose(const Correlation& part, ConvPass pass, Precision precision) {
  const KernelTable* table = selected_kernels();
  const bool is_float = std::is_same_v<T, float>;
  const Index lanes = table == nullptr ? 0 : conv_kernels<T>(*table).lanes;
  const Conditions conditions{table, lanes, pass, is_float ? precision : Precision::highest,
                              is_float && table != nullptr ? usable_matrices(*table) : nullptr};
  const auto serves = [&](const Algorithm<T>& algorithm) {
    return (algorithm.maps_padding || part.padding_mode == PaddingMode::zeros) && algorithm.accepts(conditions, part);
  };
  return *std::find_if(std::begin(kPlan<T>), std::end(kPlan<T>), serves);
}

// Every element becomes its channel's bias, or 0.
template <class T>
void fill_channels(const Extents& extents, const T* bias, T* target, int num_threads) {
  const Index rows =
      extents.layout == Layout::channels_first ? extents.batch * extents.channels : extents.batch * extents.plane();
  const Index length = rows == 0 ? 0 : extents.elements() / rows;
  const Index at_once = std::max<Index>(kFilledElements / std::max<Index>(length, 1), 1);
  const Index tasks = ceil_divide(rows, at_once);
  parallel_for(tasks, worker_count(num_threads, tasks, extents.elements()), [&](Index task, int) {
    for (Index row = task * at_once; row < std::min((task + 1) * at_once, rows); ++row) {
      T* begin = target + row * length;
      if (bias == nullptr) std::fill_n(begin, length, T{0});
      else if (extents.layout == Layout::channels_first) std::fill_n(begin, length, bias[row % extents.channels]);
      else std::copy_n(bias, length, begin);
    }
  });
}

template <class T>
void correlate(const Parts& parts, ConvPass pass, const T* source, const T* weight, const T* bias, T* target,
               const ConvOptions& options) {
  choose<T>(largest(parts), pass, options.precision)
      .correlate(selected_kernels(), parts, source, weight, bias, target, options.num_threads);
}

// The same for parts that differ in more than their taps: every algorithm runs those that it is chosen for.
template <class T>
void correlate_apart(const Parts& parts, ConvPass pass, const T* source, const T* weight, T* target,
                     const ConvOptions& options) {
  for (const Algorithm<T>& algorithm : kPlan<T>) {
    Parts chosen;
    std::copy_if(parts.begin(), parts.end(), std::back_inserter(chosen),
                 [&](const Correlation& part) { return &choose<T>(part, pass, options.precision) == &algorithm; });
    if (chosen.empty()) continue;
    algorithm.correlate(selected_kernels(), chosen, source, weight, nullptr, target, options.num_threads);
  }
}

// Whether the algorithm that is chosen writes every element of a gradient.
template <class T>
bool fills_gaps(const InputGradient& gradient, Precision precision) {
  const bool is_one_call = gradient.parts() > 0 && gradient.parts() <= kPartsAtOnce;
  return is_one_call && choose<T>(largest(parts_from(gradient, 0)), ConvPass::grad_input, precision).fills_gaps;
}

// What reached the padding of images [first, first + images) is added to the elements that it stands for.
template <class T>
void add_padding_gradient(const ConvGeometry& geometry, const T* grad_output, const T* weight, Index first,
                          Index images, T* grad_input, const ConvOptions& options) {
  std::vector<PaddingBox> boxes;
  Parts parts;
  Index elements = 0;
  const auto finish = [&] {
    if (boxes.empty()) return;
    const Workspace memory(1, static_cast<std::size_t>(elements) * sizeof(T));
    T* values = reinterpret_cast<T*>(memory.of(0));
    correlate_apart(parts, ConvPass::grad_input, grad_output + first * geometry.output.batch_stride(), weight, values,
                    options);
    add_padding<T>(geometry, boxes, values, first, images, grad_input, options.num_threads);
    boxes.clear();
    parts.clear();
    elements = 0;
  };
  for_each_padding_box(geometry, [&](const PaddingBox& box) {
    const Index box_elements = images * geometry.input.channels * box.positions();
    if (elements + box_elements > kMostPaddingElements || boxes.size() == kPartsAtOnce) finish();
    parts.push_back(segment_correlation(geometry, box.segments));
    parts.back().batch = images;
    parts.back().target_offset = elements;
    boxes.push_back(box);
    elements += box_elements;
  });
  finish();
}

// All images, as many at a time as the scratch memory holds the padding of.
template <class T>
void add_padding_gradient(const ConvGeometry& geometry, const T* grad_output, const T* weight, T* grad_input,
                          const ConvOptions& options) {
  Index positions = 1;
  for_each_padding_box(geometry, [&](const PaddingBox& box) { positions += box.positions(); });
  const Index at_once = std::max<Index>(1, kMostPaddingElements / geometry.input.channels / positions);
  for (Index first = 0; first < geometry.input.batch; first += at_once)
    add_padding_gradient(geometry, grad_output, weight, first, std::min(at_once, geometry.input.batch - first),
                         grad_input, options);
}

}  // namespace

template <class T>
void conv_forward(const ConvGeometry& geometry, const T* input, const T* weight, const T* bias, T* output,
                  const ConvOptions& options) {
  correlate({forward_correlation(geometry)}, ConvPass::forward, input, weight, bias, output, options);
}

template <class T>
void conv_grad_input(const ConvGeometry& geometry, const T* grad_output, const T* weight, const T* bias, T* grad_input,
                     const ConvOptions& options) {
  const InputGradient gradient(geometry);
  if (!gradient.covers_all() && !fills_gaps<T>(gradient, options.precision))
    fill_channels(geometry.input, bias, grad_input, options.num_threads);
  for (Index first = 0; first < gradient.parts(); first += kPartsAtOnce)
    correlate(parts_from(gradient, first), ConvPass::grad_input, grad_output, weight, bias, grad_input, options);
  if (geometry.padding_mode != PaddingMode::zeros)
    add_padding_gradient(geometry, grad_output, weight, grad_input, options);
}

template <class T>
void conv_grad_weight(const ConvGeometry& geometry, const T* grad_output, const T* input, T* grad_weight,
                      const ConvOptions& options) {
  const Correlation part = forward_correlation(geometry);
  choose<T>(part, ConvPass::grad_weight, options.precision)
      .grad_weight(selected_kernels(), part, input, grad_output, grad_weight, options.num_threads);
}

template <class T>
void sum_channels(const Extents& extents, const T* values, T* sums, int num_threads) {
  const KernelTable* table = selected_kernels();
  if (table != nullptr) return add_channels(*table, extents, values, sums, num_threads);
  reference::add_channels(extents, values, sums, num_threads);
}

namespace {

template <class T>
const char* algorithm_of(const ConvGeometry& geometry, ConvPass pass, Precision precision) {
  if (pass != ConvPass::grad_input) return choose<T>(forward_correlation(geometry), pass, precision).name;
  const InputGradient gradient(geometry);
  return gradient.parts() == 0 ? "fill" : choose<T>(largest(parts_from(gradient, 0)), pass, precision).name;
}

// The call without its loops; returns the scratch memory that it takes. `weight` may be null: then none is packed from.
template <class T>
std::size_t rehearse(const ConvGeometry& geometry, ConvPass pass, const T* weight, const ConvOptions& options) {
  const Index weights = geometry.output.channels * geometry.group_inputs() * geometry.kernel_taps();
  const Index largest_array = std::max({geometry.input.elements(), geometry.output.elements(), weights});
  // In the place of all arrays, mostly untouched.
  const Workspace arrays(1, static_cast<std::size_t>(largest_array) * sizeof(T));
  T* array = reinterpret_cast<T*>(arrays.of(0));
  if (weight == nullptr) weight = array;
  const ScratchMeter meter;
  switch (pass) {
    case ConvPass::forward: conv_forward<T>(geometry, array, weight, nullptr, array, options); break;
    case ConvPass::grad_input: conv_grad_input<T>(geometry, array, weight, nullptr, array, options); break;
    case ConvPass::grad_weight: conv_grad_weight<T>(geometry, array, array, array, options); break;
  }
  return meter.most_bytes();
}

}  // namespace

template <class T>
ConvPlan conv_plan(const ConvGeometry& geometry, ConvPass pass, const ConvOptions& options,
                   const PreparedWeight* prepared) {
  const PreparedScope scope(prepared);
  const T* weight = prepared == nullptr ? nullptr : static_cast<const T*>(prepared->array());
  const std::size_t scratch_bytes = rehearse(geometry, pass, weight, options);
  return {algorithm_of<T>(geometry, pass, options.precision), scratch_bytes};
}

template <class T>
std::unique_ptr<const PreparedWeight> prepare_weight(const ConvGeometry& geometry, ConvPass pass, const T* weight,
                                                     const ConvOptions& options) {
  auto prepared = std::make_unique<PreparedWeight>(weight);
  const PreparedScope keeps(*prepared);
  rehearse(geometry, pass, weight, options);
  return prepared;
}

template void conv_forward(const ConvGeometry&, const float*, const float*, const float*, float*, const ConvOptions&);
template void conv_forward(const ConvGeometry&, const double*, const double*, const double*, double*,
                           const ConvOptions&);
template void conv_grad_input(const ConvGeometry&, const float*, const float*, const float*, float*,
                              const ConvOptions&);
template void conv_grad_input(const ConvGeometry&, const double*, const double*, const double*, double*,
                              const ConvOptions&);
template void conv_grad_weight(const ConvGeometry&, const float*, const float*, float*, const ConvOptions&);
template void conv_grad_weight(const ConvGeometry&, const double*, const double*, double*, const ConvOptions&);
template ConvPlan conv_plan<float>(const ConvGeometry&, ConvPass, const ConvOptions&, const PreparedWeight*);
template ConvPlan conv_plan<double>(const ConvGeometry&, ConvPass, const ConvOptions&, const PreparedWeight*);
template std::unique_ptr<const PreparedWeight> prepare_weight(const ConvGeometry&, ConvPass, const float*,
                                                              const ConvOptions&);
template std::unique_ptr<const PreparedWeight> prepare_weight(const ConvGeometry&, ConvPass, const double*,
                                                              const ConvOptions&);
template void sum_channels(const Extents&, const float*, float*, int);
template void sum_channels(const Extents&, const double*, double*, int);

}  // namespace convpool
