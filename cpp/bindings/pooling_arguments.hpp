// What the bindings of all pooling functions share: windows of a call and checked index arrays.
#pragma once

#include <memory>
#include <optional>

#include "bindings/array.hpp"
#include "bindings/function.hpp"
#include "pooling/half.hpp"
#include "pooling/pooling.hpp"

namespace convpool::bindings {

constexpr std::int64_t kPlaneOf64BitIndices = std::int64_t{1} << 31;

// Calls body(T{}) with the C++ type of an integer or bool array; bools are bytes of 0 and 1.
template <class Body>
void with_integer(ElementType type, Body&& body) {
  const bool is_signed = type.kind == 'i';
  switch (type.bytes) {
    case 1: return is_signed ? body(std::int8_t{}) : body(std::uint8_t{});
    case 2: return is_signed ? body(std::int16_t{}) : body(std::uint16_t{});
    case 4: return is_signed ? body(std::int32_t{}) : body(std::uint32_t{});
    default: return is_signed ? body(std::int64_t{}) : body(std::uint64_t{});
  }
}

// The same with the C++ type of any float array.
template <class Body>
void with_real(ElementType type, Body&& body) {
  if (type == kFloat16) body(Float16{});
  else if (type == kBFloat16) body(BFloat16{});
  else with_float(type, body);
}

inline bool is_whole(ElementType type) { return type.kind == 'b' || type.kind == 'i' || type.kind == 'u'; }

inline ArrayArgument float_array(const char* function, const char* parameter, py::handle value) {
  ArrayArgument array(function, parameter, value);
  array.require_float(function);
  return array;
}

inline ArrayArgument real_array(const char* function, const char* parameter, py::handle value) {
  ArrayArgument array(function, parameter, value);
  array.require_real(function);
  return array;
}

// Sliding or adaptive windows, as the caller gave them.
struct Windows {
  py::handle kernel_size, stride, padding, dilation, ceil_mode;  // sliding
  py::handle output_size;                                        // adaptive

  PoolGeometry over(const char* function, const Shape& input, py::handle layout) const {
    const Layout order = to_layout(function, layout);
    const int rank = spatial_rank(function, "input", input.size());
    if (output_size)
      return make_adaptive_geometry(function, input, to_optional_triple(function, "output_size", output_size, rank),
                                    order);
    return make_pool_geometry(function, input,
                              to_pool_window(function, rank, kernel_size, stride, padding, dilation, ceil_mode), order);
  }
};

// A caller's index array, checked against the plane and narrowed to what the core reads.
class Indices {
 public:
  Indices(const char* function, py::handle value) : array_(function, "indices", value) {
    array_.require_integer(function);
  }

  ArrayArgument& array() { return array_; }
  void require_shape_of(const char* function, const Shape& output) const {
    require_shape(function, "indices", array_.shape(), output, "that of the pooled array");
  }

  // Calls body(const I*) with int32 indices, or int64 where the plane needs them. Runs without the GIL.
  template <class Body>
  void with_checked(const char* function, std::int64_t count, std::int64_t plane, int threads, Body&& body) const {
    const auto no_windows = [](auto* indices) { return given_anywhere(indices); };
    with_examined(function, count, plane, threads, no_windows, [&](auto given) { body(given.data); });
  }

  // Calls body(GivenIndices<I>) with what examine(const I*) finds; those it does not vouch for are checked against the
  // plane.
  template <class Examine, class Body>
  void with_examined(const char* function, std::int64_t count, std::int64_t plane, int threads, Examine&& examine,
                     Body&& body) const {
    with_integer(array_.type(), [&](auto zero) {
      using From = decltype(zero);
      const From* source = array_.data<From>();
      if (plane >= kPlaneOf64BitIndices)
        narrow<From, std::int64_t>(function, source, count, plane, threads, examine, body);
      else narrow<From, std::int32_t>(function, source, count, plane, threads, examine, body);
    });
  }

 private:
  template <class I>
  static GivenIndices<I> given_anywhere(const I* indices) {
    return {indices, false};
  }

  template <class From, class I, class Examine, class Body>
  static void narrow(const char* function, const From* source, std::int64_t count, std::int64_t plane, int threads,
                     Examine&& examine, Body&& body) {
    if constexpr (std::is_same_v<From, I>) {
      const GivenIndices<I> given = examine(source);
      if (!given.are_in_windows) import_indices<From, I>(function, source, count, plane, nullptr, threads);
      body(given);
    } else {
      const std::unique_ptr<I[]> target(new I[static_cast<std::size_t>(count)]);
      import_indices(function, source, count, plane, target.get(), threads);
      body(examine(const_cast<const I*>(target.get())));
    }
  }
  ArrayArgument array_;
};

}  // namespace convpool::bindings
