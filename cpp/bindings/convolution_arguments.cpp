#include "bindings/convolution_arguments.hpp"

#include "geometry/error.hpp"

namespace convpool::bindings {

namespace {

Precision to_precision(const char* function, py::handle value) {
  const std::string_view text = to_text(function, "precision", value);
  if (text == "highest") return Precision::highest;
  if (text == "high") return Precision::high;
  if (text == "medium") return Precision::medium;
  reject(function, "precision", R"("highest", "high" or "medium")", printed(value));
}

}  // namespace

ConvOptions to_options(const char* function, py::handle precision, py::handle num_threads) {
  return {to_precision(function, precision), to_thread_count(function, num_threads)};
}

TransposedArguments to_transposed(const char* function, py::handle output_padding, py::handle output_size, int rank) {
  TransposedArguments transposed;
  transposed.output_padding = to_triple(function, "output_padding", output_padding, rank);
  transposed.has_output_size = !output_size.is_none();
  if (transposed.has_output_size) transposed.output_size = to_triple(function, "output_size", output_size, rank);
  return transposed;
}

// Most values are arrays, which is found out sooner.
const PreparedArray* find_prepared(py::handle value) {
  const bool is_prepared = !py::isinstance<py::array>(value) && py::isinstance<PreparedArray>(value);
  return is_prepared ? value.cast<const PreparedArray*>() : nullptr;
}

void require_layout(const char* function, const PreparedArray& prepared, Layout layout, py::handle given) {
  if (prepared.layout == layout) return;
  reject(function, "layout", std::string("\"") + name_of(prepared.layout) + "\", that of the prepared weight",
         printed(given));
}

WeightArgument::WeightArgument(const char* function, py::handle value, Layout layout, py::handle given_layout)
    : WeightArgument(function, value, find_prepared(value)) {
  if (prepared_ != nullptr) require_layout(function, *prepared_, layout, given_layout);
}

WeightArgument::WeightArgument(const char* function, py::handle value, const PreparedArray* prepared)
    : array(function, "weight", prepared == nullptr ? value : py::handle(prepared->copy)), prepared_(prepared) {}

}  // namespace convpool::bindings
