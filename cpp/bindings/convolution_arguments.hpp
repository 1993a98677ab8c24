// What the bindings of all convolution functions share: how a call is to run, and its weight.
#pragma once

#include <memory>

#include "bindings/array.hpp"
#include "bindings/function.hpp"
#include "convolution/convolution.hpp"

namespace convpool::bindings {

ConvOptions to_options(const char* function, py::handle precision, py::handle num_threads);

TransposedArguments to_transposed(const char* function, py::handle output_padding, py::handle output_size, int rank);

// convpool.PreparedWeight: a copy of a weight, and what was packed of it.
struct PreparedArray {
  py::array copy;  // read-only and C-contiguous
  Layout layout;
  std::unique_ptr<const PreparedWeight> packed;
};

// Null where the value is none.
const PreparedArray* find_prepared(py::handle value);

// A weight prepared for one layout means something else in the other. `given` is what the call said.
void require_layout(const char* function, const PreparedArray& prepared, Layout layout, py::handle given);

// The weight of a call: an array, or what was prepared of one.
class WeightArgument {
 public:
  WeightArgument(const char* function, py::handle value, Layout layout, py::handle given_layout);

  ArrayArgument array;
  const PreparedWeight* prepared() const { return prepared_ == nullptr ? nullptr : prepared_->packed.get(); }

 private:
  WeightArgument(const char* function, py::handle value, const PreparedArray* prepared);

  const PreparedArray* prepared_;  // null for an array
};

}  // namespace convpool::bindings
