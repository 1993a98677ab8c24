// Pooling: extremes with and without indices, averages, norms, their gradients, and unpooling.
#include <limits>
#include <type_traits>

#include "driver.hpp"
#include "pooling/half.hpp"
#include "pooling/pooling.hpp"

namespace driver {

namespace {

using convpool::BFloat16;
using convpool::Extreme;
using convpool::Float16;
using convpool::GivenIndices;
using convpool::PoolGeometry;
using convpool::PoolPass;
using convpool::Ties;
using convpool::Triple;
using convpool::WindowArguments;

struct PoolCase {
  std::string name;
  Shape input;  // channels first
  WindowArguments window;
  bool is_adaptive = false;
  Triple output_size{1, 1, 1};
};

PoolCase sliding(const std::string& name, const Shape& input, std::int64_t kernel, std::int64_t stride,
                 std::int64_t padding = 0, std::int64_t dilation = 1, bool ceil_mode = false) {
  PoolCase shape{name, input, {}};
  shape.window.kernel.fill(kernel);
  shape.window.stride.fill(stride);
  shape.window.dilation.fill(dilation);
  shape.window.pad_low.fill(padding);
  shape.window.pad_high.fill(padding);
  shape.window.ceil_mode = ceil_mode;
  return shape;
}

PoolCase adaptive(const std::string& name, const Shape& input, const Triple& output_size) {
  return {name, input, {}, true, output_size};
}

PoolGeometry geometry_of(const PoolCase& shape, Layout layout) {
  const Shape input = in_layout(shape.input, layout);
  if (shape.is_adaptive) return convpool::make_adaptive_geometry("driver", input, shape.output_size, layout);
  return convpool::make_pool_geometry("driver", input, shape.window, layout);
}

template <class T>
constexpr bool kIsReal = std::is_floating_point_v<T> || std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

// Ties, and for floats zeros of both signs, infinities and NaN.
template <class T>
std::vector<T> contested(std::int64_t count) {
  std::vector<T> values = integers<T>(count, 7, 9);
  if constexpr (kIsReal<T>) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float special[] = {-0.0f, kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()};
    Random random(8);
    for (T& value : values)
      if (random.below(12) == 0) value = T(special[random.below(4)]);
  }
  return values;
}

// What a pass needs beside its arrays.
struct Call {
  Report& report;
  const PoolGeometry& geometry;
  std::string kind;  // layout and type
  bool is_at_end;

  int threads() const { return report.round().threads; }
  std::string named(const std::string& what) const { return what + kind; }

  // run(target, threads) fills a result of `count` elements; checked against the same with the reference loops.
  template <class T, class Run>
  std::vector<T> check(const std::string& what, std::int64_t count, double error, Run&& run) const {
    const auto result = [&](int threads) {
      Guarded<T> target(count, is_at_end);
      run(target.data(), threads);
      return target.copy();
    };
    std::vector<T> actual = result(threads());
    report.check(named(what), actual, error, [&] {
      std::vector<T> expected;
      with_reference([&] { expected = result(1); });
      return expected;
    });
    return actual;
  }
};

template <class T>
constexpr double kRounding = sizeof(T) == 2   ? 2e-2
                             : sizeof(T) == 4 ? 1e-5
                                              : 1e-13;

std::string name_of(Ties ties) {
  return ties == Ties::first ? "gradient to first" : ties == Ties::all ? "gradient to all" : "gradient split";
}

template <class T, class I>
void check_extremes(const Call& call, Extreme extreme) {
  const PoolGeometry& geometry = call.geometry;
  Guarded<T> input(contested<T>(geometry.input.elements()), call.is_at_end);
  const std::int64_t outputs = geometry.output.elements();
  const std::string of = extreme == Extreme::max ? " of maxima" : " of minima";
  call.check<T>("values" + of, outputs, 0, [&](T* output, int threads) {
    convpool::extreme_pool_forward<T, I>(geometry, extreme, input.data(), output, nullptr, threads);
  });
  const std::vector<I> places = call.check<I>("indices" + of, outputs, 0, [&](I* indices, int threads) {
    Guarded<T> output(outputs, call.is_at_end);
    convpool::extreme_pool_forward<T, I>(geometry, extreme, input.data(), output.data(), indices, threads);
  });
  if constexpr (kIsReal<T>) {
    Guarded<T> gradient(integers<T>(outputs, 9), call.is_at_end);
    Guarded<I> indices(places, call.is_at_end);
    const std::int64_t inputs = geometry.input.elements();
    call.check<T>("gradient by indices" + of, inputs, 0, [&](T* target, int threads) {
      const GivenIndices<I> given = convpool::examine_indices<T>(geometry, indices.data(), threads);
      convpool::extreme_pool_backward<T, I>(geometry, extreme, gradient.data(), nullptr, given, Ties::first, target,
                                            threads);
    });
    for (const Ties ties : {Ties::first, Ties::all, Ties::split})
      call.check<T>(name_of(ties) + of, inputs, ties == Ties::split ? kRounding<T> : 0, [&](T* target, int threads) {
        convpool::extreme_pool_backward<T, I>(geometry, extreme, gradient.data(), input.data(), GivenIndices<I>{}, ties,
                                              target, threads);
      });
  }
}

template <class T>
void check_averages(const Call& call) {
  const PoolGeometry& geometry = call.geometry;
  Guarded<T> input(integers<T>(geometry.input.elements(), 10), call.is_at_end);
  Guarded<T> gradient(integers<T>(geometry.output.elements(), 11), call.is_at_end);
  call.check<T>("averages", geometry.output.elements(), kRounding<T>, [&](T* output, int threads) {
    convpool::avg_pool_forward<T>(geometry, input.data(), output, threads);
  });
  call.check<T>("gradient of averages", geometry.input.elements(), kRounding<T>, [&](T* target, int threads) {
    convpool::avg_pool_backward<T>(geometry, gradient.data(), target, threads);
  });
}

template <class T>
void check_norms(const Call& call) {
  const PoolGeometry& geometry = call.geometry;
  Guarded<T> input(integers<T>(geometry.input.elements(), 12), call.is_at_end);
  Guarded<T> gradient(integers<T>(geometry.output.elements(), 13), call.is_at_end);
  for (const double norm : {1.0, 2.0, 3.0, 2.5, std::numeric_limits<double>::infinity()}) {
    const std::string of = " of norm " + std::to_string(norm);
    const std::vector<T> norms = call.check<T>(
        "values" + of, geometry.output.elements(), kRounding<T>,
        [&](T* output, int threads) { convpool::lp_pool_forward<T>(geometry, input.data(), norm, output, threads); });
    Guarded<T> output(norms, call.is_at_end);
    call.check<T>("gradient" + of, geometry.input.elements(), kRounding<T>, [&](T* target, int threads) {
      convpool::lp_pool_backward<T>(geometry, gradient.data(), input.data(), output.data(), norm, target, threads);
    });
  }
}

// Offsets of pooled elements with the offset in the unpooled array that an index names, last index first.
template <class I, class Body>
void for_each_unpooled(const convpool::UnpoolGeometry& geometry, const std::vector<I>& indices, Body&& body) {
  const convpool::Extents &pooled = geometry.pooled, &whole = geometry.output;
  for (std::int64_t n = 0; n < pooled.batch; ++n)
    for (std::int64_t c = 0; c < pooled.channels; ++c)
      for (std::int64_t i = pooled.plane() - 1; i >= 0; --i) {
        const bool is_first = pooled.layout == Layout::channels_first;
        const std::int64_t from =
            n * pooled.batch_stride() + c * pooled.channel_stride() + i * (is_first ? 1 : pooled.channels);
        const std::int64_t place = indices[static_cast<std::size_t>(from)];
        body(from, n * whole.batch_stride() + c * whole.channel_stride() + place * (is_first ? 1 : whole.channels));
      }
}

template <class T, class I>
void check_unpooling(const Call& call) {
  const convpool::UnpoolGeometry geometry{call.geometry.output, call.geometry.input};
  const std::int64_t pooled = geometry.pooled.elements(), whole = geometry.output.elements();
  std::vector<I> places(static_cast<std::size_t>(pooled));
  Random random(14);
  for (I& place : places) place = static_cast<I>(random.below(geometry.output.plane()));
  const std::vector<T> values = integers<T>(pooled, 15), gradients = integers<T>(whole, 16);
  Guarded<T> input(values, call.is_at_end), grad_output(gradients, call.is_at_end);
  Guarded<I> indices(places, call.is_at_end);
  Guarded<T> output(whole, call.is_at_end), grad_input(pooled, call.is_at_end);
  convpool::max_unpool_forward<T, I>(geometry, input.data(), indices.data(), output.data(), call.threads());
  convpool::max_unpool_backward<T, I>(geometry, grad_output.data(), indices.data(), grad_input.data(), call.threads());
  std::vector<char> is_taken(static_cast<std::size_t>(whole));
  std::vector<T> expected(static_cast<std::size_t>(whole)), expected_gradient(static_cast<std::size_t>(pooled));
  for_each_unpooled(geometry, places, [&](std::int64_t from, std::int64_t to) {
    const auto source = static_cast<std::size_t>(from), target = static_cast<std::size_t>(to);
    if (is_taken[target]) return;
    is_taken[target] = 1;
    expected[target] = values[source];
    expected_gradient[source] = gradients[target];
  });
  call.report.check(call.named("unpooled"), output.copy(), 0, [&] { return expected; });
  call.report.check(call.named("gradient of unpooled"), grad_input.copy(), 0, [&] { return expected_gradient; });
}

template <class T>
void check_type(Report& report, const PoolGeometry& geometry, Layout layout, const char* type) {
  const std::string kind =
      std::string(layout == Layout::channels_first ? " channels first " : " channels last ") + type;
  for (const bool is_at_end : {true, false}) {
    const Call call{report, geometry, kind, is_at_end};
    check_extremes<T, std::int32_t>(call, Extreme::max);
    check_extremes<T, std::int64_t>(call, Extreme::min);
    if constexpr (kIsReal<T>) check_averages<T>(call);
    if constexpr (std::is_floating_point_v<T>) {
      check_norms<T>(call);
      check_unpooling<T, std::int32_t>(call);
      check_unpooling<T, std::int64_t>(call);
    }
  }
}

void check_case(Report& report, const PoolCase& shape) {
  report.run("pool " + shape.name, [&] {
    for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
      const PoolGeometry geometry = geometry_of(shape, layout);
      for (const PoolPass pass : {PoolPass::max_forward, PoolPass::max_backward, PoolPass::avg_forward,
                                  PoolPass::avg_backward, PoolPass::lp_forward, PoolPass::lp_backward}) {
        const char* algorithm = convpool::pool_algorithm(geometry, pass);
        report.count(algorithm);
        if (report.round().isa != "reference" && std::strcmp(algorithm, "reference") == 0)
          report.fail("a pass fell back to the reference loops");
      }
      check_type<float>(report, geometry, layout, "float32");
      check_type<double>(report, geometry, layout, "float64");
      check_type<Float16>(report, geometry, layout, "float16");
      check_type<BFloat16>(report, geometry, layout, "bfloat16");
      check_type<std::int8_t>(report, geometry, layout, "int8");
      check_type<std::uint16_t>(report, geometry, layout, "uint16");
      check_type<std::int32_t>(report, geometry, layout, "int32");
      check_type<std::uint64_t>(report, geometry, layout, "uint64");
    }
  });
}

// Maxima of so many small windows that their gradients are compared with places instead of following them.
void check_many_windows(Report& report, std::int64_t width) {
  constexpr std::int64_t kHeight = 9, kResults = 128 * 1024;
  const struct {
    std::int64_t kernel, stride, padding;
  } windows[] = {{2, 1, 0}, {3, 1, 1}, {2, 2, 0}, {2, 2, 1}, {3, 2, 0}, {3, 2, 1}, {3, 3, 0}, {4, 4, 0}};
  for (const auto& [kernel, stride, padding] : windows) {
    const std::string name = "many windows of " + std::to_string(kernel) + " at " + std::to_string(stride) +
                             ", width " + std::to_string(width);
    PoolCase shape = sliding(name, {1, 1, kHeight, width}, kernel, stride, padding);
    const std::int64_t plane = geometry_of(shape, Layout::channels_first).output.plane();
    shape.input[1] = kResults / plane + 1;
    const PoolGeometry geometry = geometry_of(shape, Layout::channels_first);
    report.run("pool " + name, [&] {
      for (const bool is_at_end : {true, false})
        check_extremes<float, std::int32_t>({report, geometry, " channels first float32", is_at_end}, Extreme::max);
    });
  }
}

std::vector<PoolCase> named_cases() {
  std::vector<PoolCase> cases = {
      sliding("empty batch", {0, 3, 6, 6}, 2, 2),
      sliding("small", {1, 3, 9, 9}, 3, 2, 1),
      sliding("overlapping", {2, 19, 28, 29}, 3, 2, 1),
      sliding("dense", {1, 18, 17, 28}, 3, 1, 1),
      sliding("disjoint", {1, 17, 30, 31}, 2, 2),
      sliding("dilated", {1, 17, 21, 20}, 3, 2, 1, 3),
      sliding("large window", {1, 5, 40, 41}, 13, 1, 6),
      sliding("ceil", {1, 9, 20, 22}, 3, 2, 0, 1, true),
      sliding("gaps", {1, 9, 30, 31}, 2, 5),
      sliding("line", {2, 9, 300}, 4, 3, 2),
      sliding("volume", {1, 9, 8, 9, 10}, 3, 2, 1),
      adaptive("global", {2, 35, 7, 7}, {1, 1, 1}),
      adaptive("adaptive", {2, 9, 17, 23}, {5, 7, 1}),
      adaptive("adaptive, larger", {1, 9, 5, 6}, {9, 8, 1}),
  };
  PoolCase constant = sliding("uneven sides", {1, 9, 18, 19}, 4, 2);
  constant.window.pad_low = {0, 2, 0};
  constant.window.pad_high = {2, 1, 0};
  cases.push_back(constant);
  return cases;
}

std::vector<PoolCase> tails(std::int64_t n) {
  const auto name = [&](const char* what) { return std::string("tail of ") + what + " " + std::to_string(n); };
  return {
      sliding(name("channels"), {1, n, 13, 12}, 3, 2, 1),
      sliding(name("width, overlapping"), {2, 2, 40, n + 2}, 3, 2, 1),
      sliding(name("width, dense"), {2, 2, 40, n + 3}, 3, 1, 1),
      sliding(name("width, disjoint"), {2, 2, 40, n + 2}, 2, 2),
      sliding(name("width, far"), {2, 2, 40, n + 8}, 3, 3, 1, 2),
  };
}

}  // namespace

void run_pool_cases(Report& report) {
  for (const PoolCase& shape : named_cases()) check_case(report, shape);
  for (std::int64_t n = 1; n <= kLongestTail; n += report.options().tail_step())
    for (const PoolCase& shape : tails(n)) check_case(report, shape);
  for (std::int64_t width = 4; width <= kLongestTail; width += 5 * report.options().tail_step())
    check_many_windows(report, width);
}

}  // namespace driver
