// The plan: one ordered list of algorithms; the first that accepts wins, the reference is last and accepts everything.
// A new algorithm is one row here and one file beside this one.
#include "convolution/convolution.hpp"
#include "convolution/packed_correlation.hpp"
#include "reference/convolution.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

using Parts = std::vector<Correlation>;

// One row of the plan. `table` is the kernel set the choice was made for, null for the reference loops.
template <class T>
struct Algorithm {
  const char* name;
  bool (*accepts)(const ConvGeometry& geometry, ConvPass pass, const KernelTable* table);
  void (*correlate)(const KernelTable* table, const Parts& parts, const T* source, const T* weight, const T* bias,
                    T* target, int num_threads);
  void (*grad_weight)(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                      T* grad_weight, T* grad_bias, int num_threads);
};

template <class T>
constexpr Algorithm<T> kPlan[] = {
    {"packed_tiles", [](const ConvGeometry&, ConvPass, const KernelTable* table) { return table != nullptr; },
     run_packed<T>, packed_grad_weight<T>},
    {"reference", [](const ConvGeometry&, ConvPass, const KernelTable*) { return true; }, reference::correlate<T>,
     reference::correlate_grad_weight<T>},
};

template <class T>
const Algorithm<T>& choose(const ConvGeometry& geometry, ConvPass pass, const KernelTable* table) {
  const Algorithm<T>* algorithm = kPlan<T>;
  while (!algorithm->accepts(geometry, pass, table)) ++algorithm;
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

}  // namespace

template <class T>
void conv_forward(const ConvGeometry& geometry, const T* input, const T* weight, const T* bias, T* output,
                  int num_threads) {
  const KernelTable* table = selected_kernels();
  choose<T>(geometry, ConvPass::forward, table)
      .correlate(table, {forward_correlation(geometry)}, input, weight, bias, output, num_threads);
}

template <class T>
void conv_grad_input(const ConvGeometry& geometry, const T* grad_output, const T* weight, const T* bias, T* grad_input,
                     int num_threads) {
  const KernelTable* table = selected_kernels();
  choose<T>(geometry, ConvPass::grad_input, table)
      .correlate(table, grad_input_correlations(geometry), grad_output, weight, bias, grad_input, num_threads);
}

template <class T>
void conv_grad_weight(const ConvGeometry& geometry, const T* grad_output, const T* input, T* grad_weight, T* grad_bias,
                      int num_threads) {
  const KernelTable* table = selected_kernels();
  choose<T>(geometry, ConvPass::grad_weight, table)
      .grad_weight(table, forward_correlation(geometry), input, grad_output, grad_weight, grad_bias, num_threads);
}

template <class T>
void sum_channels(const Extents& extents, const T* values, T* sums, int num_threads) {
  const KernelTable* table = selected_kernels();
  const auto grad_weight = table == nullptr ? reference::correlate_grad_weight<T> : packed_grad_weight<T>;
  grad_weight(table, channel_sums(extents), nullptr, values, nullptr, sums, num_threads);
}

const char* conv_algorithm(const ConvGeometry& geometry, ConvPass pass) {
  return choose<float>(geometry, pass, selected_kernels()).name;
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
