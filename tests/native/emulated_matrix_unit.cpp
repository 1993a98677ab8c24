// In place of cpp/runtime/matrix_unit.cpp where tile registers are emulated.
#include "runtime/matrix_unit.hpp"

namespace convpool {

bool has_matrix_unit() { return true; }

bool permits_matrix_unit() { return true; }

}  // namespace convpool
