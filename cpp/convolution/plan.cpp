// The plan: one ordered list of algorithms; the first that accepts wins, the reference is last and accepts everything.
// A new algorithm is one row here and one file beside this one.
#include <algorithm>

#include "convolution/convolution.hpp"
#include "convolution/packed_correlation.hpp"
#include "convolution/pixel_tiles.hpp"
#include "convolution/row_tiles.hpp"
#include "reference/convolution.hpp"
#include "runtime/isa.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

namespace {

using Parts = std::vector<Correlation>;

constexpr Index kPartsAtOnce = 1024;  // phases of a gradient that are described, and run, together

// One row of the plan. `table` is the kernel set the choice was made for, null for the reference loops.
template <class T>
struct Algorithm {
  const char* name;
  bool (*accepts)(const KernelTable* table, const Correlation& part, ConvPass pass);
  void (*correlate)(const KernelTable* table, const Parts& parts, const T* source, const T* weight, const T* bias,
                    T* target, int num_threads);
  void (*grad_weight)(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                      T* grad_weight, T* grad_bias, int num_threads);
};

bool accepts_rows(const KernelTable* table, const Correlation& part, ConvPass pass) {
  if (table == nullptr) return false;
  return pass == ConvPass::grad_weight ? row_grad_weight_accepts(part) : row_tiles_accept(*table, part);
}

bool accepts_pixels(const KernelTable* table, const Correlation& part, ConvPass) {
  return table != nullptr && pixel_tiles_accept(part);
}

bool has_kernels(const KernelTable* table, const Correlation&, ConvPass) { return table != nullptr; }

bool always(const KernelTable*, const Correlation&, ConvPass) { return true; }

// The same target without channels to read: its only gradient is that of the bias.
Correlation bias_part(const Correlation& part) {
  Correlation sums = part;
  sums.rows = part.groups * part.rows;
  sums.groups = 1;
  sums.channels = 0;
  sums.taps.clear();
  return sums;
}

template <class T>
void pixel_gradients(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                     T* grad_weight, T* grad_bias, int num_threads) {
  if (grad_weight != nullptr)
    return pixel_grad_weight(table, part, source, grad_output, grad_weight, grad_bias, num_threads);
  packed_grad_weight<T>(table, bias_part(part), source, grad_output, nullptr, grad_bias, num_threads);
}

template <class T>
void row_gradients(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                   T* grad_weight, T* grad_bias, int num_threads) {
  if (grad_weight != nullptr) row_grad_weight(table, part, source, grad_output, grad_weight, num_threads);
  if (grad_bias != nullptr)
    packed_grad_weight<T>(table, bias_part(part), source, grad_output, nullptr, grad_bias, num_threads);
}

template <class T>
constexpr Algorithm<T> kPlan[] = {
    {"row_tiles", accepts_rows, run_row_tiles<T>, row_gradients<T>},
    {"pixel_tiles", accepts_pixels, run_pixel_tiles<T>, pixel_gradients<T>},
    {"packed_tiles", has_kernels, run_packed<T>, packed_grad_weight<T>},
    {"reference", always, reference::correlate<T>, reference::correlate_grad_weight<T>},
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
const Algorithm<T>& choose(const KernelTable* table, const Correlation& part, ConvPass pass) {
  const Algorithm<T>* algorithm = kPlan<T>;
  while (!algorithm->accepts(table, part, pass)) ++algorithm;
  return *algorithm;
}

// A correlation that reads nothing and only carries its target: for the gradient of a bias by itself.
Correlation channel_sums(const Extents& extents) {
  Correlation part{};
  part.batch = extents.batch;
  part.groups = 1;
  part.rows = extents.channels;
  part.target = make_grid(extents);
  return part;
}

// Every element becomes its channel's bias, or 0.
template <class T>
void fill_channels(const Extents& extents, const T* bias, T* target, int num_threads) {
  const Index rows =
      extents.layout == Layout::channels_first ? extents.batch * extents.channels : extents.batch * extents.plane();
  const Index length = rows == 0 ? 0 : extents.elements() / rows;
  const int workers = worker_count(num_threads, rows, extents.elements());
  parallel_for(rows, workers, [&](Index row, int) {
    T* begin = target + row * length;
    if (bias == nullptr) std::fill_n(begin, length, T{0});
    else if (extents.layout == Layout::channels_first) std::fill_n(begin, length, bias[row % extents.channels]);
    else std::copy_n(bias, length, begin);
  });
}

template <class T>
void correlate(const Parts& parts, ConvPass pass, const T* source, const T* weight, const T* bias, T* target,
               int num_threads) {
  const KernelTable* table = selected_kernels();
  choose<T>(table, largest(parts), pass).correlate(table, parts, source, weight, bias, target, num_threads);
}

template <class T>
void correlate_gradients(const Correlation& part, const T* source, const T* grad_output, T* grad_weight, T* grad_bias,
                         int num_threads) {
  const KernelTable* table = selected_kernels();
  choose<T>(table, part, ConvPass::grad_weight)
      .grad_weight(table, part, source, grad_output, grad_weight, grad_bias, num_threads);
}

}  // namespace

template <class T>
void conv_forward(const ConvGeometry& geometry, const T* input, const T* weight, const T* bias, T* output,
                  int num_threads) {
  correlate({forward_correlation(geometry)}, ConvPass::forward, input, weight, bias, output, num_threads);
}

template <class T>
void conv_grad_input(const ConvGeometry& geometry, const T* grad_output, const T* weight, const T* bias, T* grad_input,
                     int num_threads) {
  const InputGradient gradient(geometry);
  if (!gradient.covers_all()) fill_channels(geometry.input, bias, grad_input, num_threads);
  for (Index first = 0; first < gradient.parts(); first += kPartsAtOnce)
    correlate(parts_from(gradient, first), ConvPass::grad_input, grad_output, weight, bias, grad_input, num_threads);
}

template <class T>
void conv_grad_weight(const ConvGeometry& geometry, const T* grad_output, const T* input, T* grad_weight, T* grad_bias,
                      int num_threads) {
  correlate_gradients(forward_correlation(geometry), input, grad_output, grad_weight, grad_bias, num_threads);
}

template <class T>
void sum_channels(const Extents& extents, const T* values, T* sums, int num_threads) {
  const KernelTable* table = selected_kernels();
  const auto gradients = table == nullptr ? reference::correlate_grad_weight<T> : packed_grad_weight<T>;
  gradients(table, channel_sums(extents), nullptr, values, nullptr, sums, num_threads);
}

const char* conv_algorithm(const ConvGeometry& geometry, ConvPass pass) {
  if (pass != ConvPass::grad_input) return choose<float>(selected_kernels(), forward_correlation(geometry), pass).name;
  const InputGradient gradient(geometry);
  return gradient.parts() == 0 ? "fill"
                               : choose<float>(selected_kernels(), largest(parts_from(gradient, 0)), pass).name;
}

template void conv_forward(const ConvGeometry&, const float*, const float*, const float*, float*, int);
template void conv_forward(const ConvGeometry&, const double*, const double*, const double*, double*, int);
template void conv_grad_input(const ConvGeometry&, const float*, const float*, const float*, float*, int);
template void conv_grad_input(const ConvGeometry&, const double*, const double*, const double*, double*, int);
template void conv_grad_weight(const ConvGeometry&, const float*, const float*, float*, float*, int);
template void conv_grad_weight(const ConvGeometry&, const double*, const double*, double*, double*, int);
template void sum_channels(const Extents&, const float*, float*, int);
template void sum_channels(const Extents&, const double*, double*, int);

}  // namespace convpool
