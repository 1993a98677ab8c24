#include "pooling/plan.hpp"

#include "pooling/direct.hpp"
#include "runtime/isa.hpp"

namespace convpool {

namespace {

constexpr std::int64_t kLargestPlane = 0x7fffffff;    // positions travel as 32-bit lanes
constexpr std::int64_t kLargestWindowLine = 1 << 23;  // elements of scratch that one row of windows may need

bool fits_kernels(const PoolGeometry& geometry) {
  if (selected_kernels() == nullptr) return false;
  if (geometry.input.plane() > kLargestPlane || geometry.output.plane() > kLargestPlane) return false;
  for (const Axis& axis : geometry.axes)
    if (axis.kernel_extent() > kLargestWindowLine) return false;
  return true;
}

bool is_sum_pass(PoolPass pass) { return pass != PoolPass::max_forward && pass != PoolPass::max_backward; }

struct Row {
  PoolAlgorithm algorithm;
  const char* name;
  bool (*accepts)(const PoolGeometry& geometry, PoolPass pass);
};

const Row kPlan[] = {
    {PoolAlgorithm::direct, "direct",
     [](const PoolGeometry& geometry, PoolPass pass) {
       const bool has_direct =
           pass == PoolPass::max_forward || pass == PoolPass::avg_forward || pass == PoolPass::avg_backward;
       return has_direct && pays_direct(geometry) && selected_kernels() != nullptr;
     }},
    {PoolAlgorithm::separable, "separable",
     [](const PoolGeometry& geometry, PoolPass pass) {
       return (pass == PoolPass::max_forward || is_sum_pass(pass)) && fits_kernels(geometry);
     }},
    {PoolAlgorithm::scatter, "scatter",
     [](const PoolGeometry& geometry, PoolPass pass) {
       return pass == PoolPass::max_backward && fits_kernels(geometry);
     }},
    {PoolAlgorithm::reference, "reference", [](const PoolGeometry&, PoolPass) { return true; }},
};

const Row& choose(const PoolGeometry& geometry, PoolPass pass) {
  const Row* row = kPlan;
  while (!row->accepts(geometry, pass)) ++row;
  return *row;
}

}  // namespace

PoolAlgorithm choose_pool_algorithm(const PoolGeometry& geometry, PoolPass pass) {
  return choose(geometry, pass).algorithm;
}

const char* pool_algorithm(const PoolGeometry& geometry, PoolPass pass) { return choose(geometry, pass).name; }

}  // namespace convpool
