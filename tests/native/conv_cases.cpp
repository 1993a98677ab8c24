// Convolutions: forward pass and all gradients.
#include <algorithm>
#include <array>

#include "convolution/convolution.hpp"
#include "driver.hpp"

namespace driver {

namespace {

using convpool::ConvGeometry;
using convpool::ConvOptions;
using convpool::ConvPass;
using convpool::PaddingMode;
using convpool::Precision;
using convpool::Triple;
using convpool::WindowArguments;

struct ConvCase {
  std::string name;
  Shape input, weight;  // channels first
  Triple stride{1, 1, 1}, pad_low{0, 0, 0}, pad_high{0, 0, 0}, dilation{1, 1, 1};
  std::int64_t groups = 1;
  PaddingMode mode = PaddingMode::zeros;
};

// One parameter for all axes.
ConvCase even(const std::string& name, const Shape& input, const Shape& weight, std::int64_t stride = 1,
              std::int64_t padding = 0, std::int64_t groups = 1, std::int64_t dilation = 1) {
  const auto all = [](std::int64_t value) { return Triple{value, value, value}; };
  return {name, input, weight, all(stride), all(padding), all(padding), all(dilation), groups};
}

ConvGeometry geometry_of(const ConvCase& shape, Layout layout) {
  WindowArguments window;
  window.stride = shape.stride;
  window.dilation = shape.dilation;
  window.pad_low = shape.pad_low;
  window.pad_high = shape.pad_high;
  window.padding_mode = shape.mode;
  Shape weight = shape.weight;
  if (layout == Layout::channels_last) {
    weight = Shape{};
    weight.append(shape.weight.begin() + 2, shape.weight.end());
    weight.push_back(shape.weight[1]);
    weight.push_back(shape.weight[0]);
  }
  return convpool::make_conv_geometry("driver", in_layout(shape.input, layout), weight, window, shape.groups, layout);
}

template <class T>
struct ConvData {
  std::vector<T> input, weight, output_bias, input_bias, grad_output;

  explicit ConvData(const ConvGeometry& geometry)
      : input(integers<T>(geometry.input.elements(), 1)),
        weight(integers<T>(geometry.output.channels * geometry.group_inputs() * geometry.kernel_taps(), 2)),
        output_bias(integers<T>(geometry.output.channels, 3)), input_bias(integers<T>(geometry.input.channels, 4)),
        grad_output(integers<T>(geometry.output.elements(), 5)) {}
};

// The results of one pass: one array, or the gradients of weight and bias one after the other.
template <class T>
std::vector<T> run(const ConvGeometry& geometry, const ConvData<T>& data, ConvPass pass, const ConvOptions& options,
                   bool is_at_end) {
  Guarded<T> input(data.input, is_at_end), weight(data.weight, is_at_end), grad_output(data.grad_output, is_at_end);
  if (pass == ConvPass::forward) {
    Guarded<T> bias(data.output_bias, is_at_end), output(geometry.output.elements(), is_at_end);
    convpool::conv_forward<T>(geometry, input.data(), weight.data(), bias.data(), output.data(), options);
    return output.copy();
  }
  if (pass == ConvPass::grad_input) {
    Guarded<T> bias(data.input_bias, is_at_end), gradient(geometry.input.elements(), is_at_end);
    convpool::conv_grad_input<T>(geometry, grad_output.data(), weight.data(), bias.data(), gradient.data(), options);
    return gradient.copy();
  }
  Guarded<T> gradient(static_cast<std::int64_t>(data.weight.size()), is_at_end),
      bias(geometry.output.channels, is_at_end);
  convpool::conv_grad_weight<T>(geometry, grad_output.data(), input.data(), gradient.data(), options);
  convpool::sum_channels<T>(geometry.output, grad_output.data(), bias.data(), options.num_threads);
  std::vector<T> gradients = gradient.copy(), bias_gradients = bias.copy();
  gradients.insert(gradients.end(), bias_gradients.begin(), bias_gradients.end());
  return gradients;
}

// Four outputs a tile of Winograd are not exact on integers, everything else is.
template <class T>
void check_pass(Report& report, const ConvGeometry& geometry, const ConvData<T>& data, ConvPass pass,
                Precision precision, const std::string& kind) {
  const char* pass_name = pass == ConvPass::forward      ? "forward"
                          : pass == ConvPass::grad_input ? "grad_input"
                                                         : "grad_weight";
  const std::string what = pass_name + kind;
  const ConvOptions options{precision, report.round().threads};
  const char* algorithm = convpool::conv_plan<T>(geometry, pass, options, nullptr).algorithm;
  const bool is_exact = std::strcmp(algorithm, "winograd_f4") != 0;
  const bool is_rounded = std::strcmp(algorithm, "bf16x3") == 0;  // to 16 bits, which small integers have
  // What another precision does not change is checked once.
  if (precision == Precision::high ? is_exact : precision == Precision::medium && !is_rounded) return;
  report.count(std::string(algorithm) + " " + pass_name);
  if (report.round().isa != "reference" && std::strcmp(algorithm, "reference") == 0)
    report.fail(what + " fell back to the reference loops");
  for (const bool is_at_end : {true, false})
    report.check(what, run(geometry, data, pass, options, is_at_end), is_exact ? 0 : 1e-5, [&] {
      std::vector<T> expected;
      with_reference([&] { expected = run(geometry, data, pass, {precision, 1}, true); });
      return expected;
    });
}

template <class T>
void check_case(Report& report, const ConvCase& shape, Layout layout) {
  const ConvGeometry geometry = geometry_of(shape, layout);
  const ConvData<T> data(geometry);
  const std::string kind = std::string(layout == Layout::channels_first ? " channels first" : " channels last") +
                           (sizeof(T) == 4 ? " float32" : " float64");
  for (const Precision precision : {Precision::highest, Precision::high, Precision::medium})
    for (const ConvPass pass : {ConvPass::forward, ConvPass::grad_input, ConvPass::grad_weight})
      check_pass(report, geometry, data, pass, precision, kind);
}

void check_case(Report& report, const ConvCase& shape) {
  report.run("conv " + shape.name, [&] {
    for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
      check_case<float>(report, shape, layout);
      check_case<double>(report, shape, layout);
    }
  });
}

std::vector<ConvCase> named_cases() {
  std::vector<ConvCase> cases = {
      even("single", {1, 1, 1, 1}, {1, 1, 1, 1}),
      even("empty batch", {0, 3, 5, 5}, {4, 3, 3, 3}),
      even("rgb stem", {1, 3, 37, 41}, {64, 3, 7, 7}, 2, 3),
      even("3x3, many terms", {1, 64, 24, 25}, {56, 64, 3, 3}, 1, 1),
      even("3x3, few terms", {2, 20, 13, 12}, {24, 20, 3, 3}, 1, 1),
      even("3x3x3", {1, 16, 5, 8, 9}, {20, 16, 3, 3, 3}, 1, 1),
      even("one axis", {2, 130, 53}, {33, 130, 3}, 1, 1),
      even("3x3 stride 2", {2, 40, 15, 14}, {36, 40, 3, 3}, 2, 1),
      even("dilated", {1, 24, 17, 16}, {20, 24, 3, 3}, 1, 2, 1, 2),
      even("pointwise", {2, 70, 9, 11}, {50, 70, 1, 1}),
      even("7x7 maps", {1, 160, 7, 7}, {144, 160, 3, 3}, 1, 1),
      even("small maps", {5, 70, 2, 2}, {70, 70, 3, 3}, 1, 1),
      even("small maps, two chunks of channels", {3, 140, 3, 3}, {70, 140, 3, 3}, 1, 1),
      even("small maps in phases", {3, 70, 5, 5}, {70, 70, 3, 3}, 2, 1),
      even("small maps, many taps", {2, 70, 4, 4}, {20, 70, 9, 9}, 1, 4),
      even("more weights than pixels", {1, 258, 5, 7}, {257, 258, 1, 1}),
      even("matrices", {4, 72, 23, 25}, {70, 72, 3, 3}, 2, 1),
      even("matrices, pointwise", {2, 100, 17, 19}, {200, 100, 1, 1}),
      even("matrices, far taps", {1, 300, 50, 49}, {72, 300, 2, 2}, 1, 0, 1, 30),
      even("matrices in groups", {5, 150, 21, 21}, {210, 75, 3, 2}, 2, 1, 2),
      even("depthwise 3x3", {2, 37, 14, 15}, {37, 1, 3, 3}, 1, 1, 37),
      even("depthwise 5x5", {1, 21, 13, 19}, {21, 1, 5, 5}, 1, 2, 21),
      even("depthwise stride 2", {2, 33, 13, 12}, {33, 1, 3, 3}, 2, 1, 33),
      even("depthwise stride 2, long rows", {1, 5, 9, 43}, {5, 1, 3, 3}, 2, 1, 5),
      even("depthwise 7x7, small planes", {3, 37, 7, 7}, {37, 1, 7, 7}, 1, 3, 37),
      even("depthwise 31x31", {1, 17, 24, 25}, {17, 1, 31, 31}, 1, 15, 17),
      even("depthwise line", {2, 35, 50}, {35, 1, 9}, 1, 4, 35),
      even("groups of 4", {2, 32, 9, 10}, {32, 4, 3, 3}, 1, 1, 8),
      even("groups of 12", {1, 36, 9, 10}, {24, 12, 3, 3}, 1, 1, 3),
      even("audio", {1, 1, 800}, {40, 1, 10}, 5),
      even("audio, from many channels", {2, 1, 163}, {131, 1, 10}, 5, 3),
      even("windows in padding", {1, 2, 3, 3}, {2, 2, 2, 2}, 1, 4),
      even("stride exceeds kernel", {2, 3, 11, 10}, {4, 3, 2, 2}, 4),
      even("far taps", {1, 9, 40, 41}, {17, 9, 2, 2}, 1, 0, 1, 30),
  };
  for (const PaddingMode mode : {PaddingMode::reflect, PaddingMode::replicate, PaddingMode::circular}) {
    const std::string name = "padding mode " + std::to_string(static_cast<int>(mode));
    std::vector<ConvCase> padded;
    for (const std::int64_t channels : {2, 18, 34})
      padded.push_back(even(name, {2, channels, 8, 9}, {channels + 3, channels, 3, 3}, 1, 2));
    padded.push_back(even(name + ", depthwise, several boxes", {1, 2, 9, 12}, {2, 1, 3, 3}, 1, 3, 2));
    for (ConvCase& shape : padded) {
      shape.mode = mode;
      cases.push_back(shape);
    }
  }
  return cases;
}

// Every length of a last, partial vector: n up to two vectors of the widest set and one more.
std::vector<ConvCase> tails(std::int64_t n) {
  const auto name = [&](const char* what) { return std::string("tail of ") + what + " " + std::to_string(n); };
  return {
      even(name("input channels"), {1, n, 3, 5}, {3, n, 2, 3}),
      even(name("output channels"), {1, 3, 3, 5}, {n, 3, 2, 3}),
      even(name("group channels"), {1, 2 * n, 3, 4}, {2 * n, n, 2, 2}, 1, 0, 2),
      even(name("depthwise channels"), {1, n, 4, 5}, {n, 1, 3, 3}, 1, 1, n),
      even(name("depthwise width"), {1, 2, 4, n}, {2, 1, 3, 3}, 1, 1, 2),
      even(name("depthwise 5x5 on small planes"), {2, n, 3 + n % 6, 4 + n % 5}, {n, 1, 5, 5}, 1, 2, n),
      even(name("depthwise 5x5 width"), {1, 2, 5, n + 7}, {2, 1, 5, 5}, 1, 2, 2),
      even(name("depthwise width at stride 2"), {1, 2, 9, 2 * n}, {2, 1, 3, 3}, 2, 1, 2),
      even(name("depthwise 5x5 width at stride 2"), {1, 2, 9, 2 * n + 1}, {2, 1, 5, 5}, 2, 2, 2),
      even(name("depthwise 4x4 width at stride 2"), {1, 2, 9, n + 7}, {2, 1, 4, 4}, 2, 0, 2),
      even(name("depthwise line at stride 2"), {1, 2, n + 7}, {2, 1, 3}, 2, 2, 2),
      even(name("channels in groups of 2"), {1, 2 * n, 4, 5}, {2 * n, 2, 3, 3}, 1, 1, n),
      even(name("width"), {2, 2, 3, n}, {3, 2, 2, 3}, 1, 1),
      even(name("width at stride 2"), {1, 2, 3, 2 * n}, {3, 2, 2, 3}, 2, 1),
      even(name("line"), {1, 3, n}, {2, 3, 3}, 1, 1),
      even(name("batch"), {n, 2, 2, 3}, {3, 2, 2, 2}),
      even(name("pixel channels"), {1, 8 + n, 3, 4}, {8 + n, 8 + n, 2, 2}),
      even(name("pixel width"), {2, 9, 3, n}, {17, 9, 2, 3}, 1, 1),
      even(name("pointwise channels"), {1, 8 + n, 3, 4}, {8 + 2 * n, 8 + n, 1, 1}),
      even(name("pointwise width"), {2, 9, 3, n}, {17, 9, 1, 1}),
      even(name("first layer outputs"), {1, 3, 6, 9}, {11 + n, 3, 3, 3}, 1, 1),
      even(name("first layer width"), {1, 3, 4, n + 3}, {16, 3, 3, 3}),
      even(name("matrix channels"), {3, 130 + n, 15, 9}, {98 + n, 130 + n, 1, 1}),
      even(name("matrix gradient"), {1, 96 + n, 23, 23}, {130 + n, 96 + n, 1, 1}),
      even(name("matrix width"), {8, 40, 7, n + 8}, {64, 40, 2, 5}, 1, 1),
      even(name("winograd channels"), {3, 47 + n, 8, 9}, {17 + n, 47 + n, 3, 3}, 1, 1),
      even(name("winograd width"), {9, 48, 8, n}, {18, 48, 3, 3}, 1, 1),
      even(name("winograd length"), {1, 72, n + 160}, {18, 72, 3}, 1, 1),
  };
}

ConvCase random_case(std::uint64_t seed) {
  Random random(seed);
  const int rank = static_cast<int>(random.between(1, 3));
  const std::int64_t groups = random.between(0, 2) == 0 ? random.between(2, 5) : 1;
  const std::int64_t most = rank == 3 ? 6 : 20;
  ConvCase shape = even("random " + std::to_string(seed), {}, {});
  shape.groups = groups;
  shape.input = {random.between(1, 3), groups * random.between(1, groups == 1 ? 40 : 6)};
  shape.weight = {groups * random.between(1, groups == 1 ? 40 : 6), shape.input[1] / groups};
  for (int axis = 0; axis < rank; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    shape.stride[i] = random.between(1, 3);
    shape.dilation[i] = random.between(0, 3) == 0 ? random.between(1, 4) : 1;
    const std::int64_t kernel = random.between(1, 5), extent = shape.dilation[i] * (kernel - 1) + 1;
    shape.pad_low[i] = random.between(0, kernel);
    shape.pad_high[i] = random.between(0, kernel);
    const std::int64_t least = std::max<std::int64_t>(1, extent - shape.pad_low[i] - shape.pad_high[i]);
    shape.input.push_back(random.between(least, least + most));
    shape.weight.push_back(kernel);
  }
  return shape;
}

}  // namespace

void run_conv_cases(Report& report) {
  const std::uint64_t random_cases = report.options().is_quick ? 10 : 60;
  for (const ConvCase& shape : named_cases()) check_case(report, shape);
  for (std::int64_t n = 1; n <= kLongestTail; n += report.options().tail_step())
    for (const ConvCase& shape : tails(n)) check_case(report, shape);
  for (std::uint64_t seed = 1; seed <= random_cases; ++seed) check_case(report, random_case(seed));
}

}  // namespace driver
