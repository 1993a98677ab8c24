// Which kernel set runs. Chosen once at import: the best one this processor supports, or the one CONVPOOL_ISA names.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.hpp"

namespace convpool {

// Kernel sets this processor supports, best first; the last one is "reference", the plain loops without any kernel.
std::vector<std::string> available_isas();

std::string selected_isa();

// Throws InvalidArgument on a name that is unknown or not supported here.
void select_isa(const std::string& name);

// Called at import: select_isa(CONVPOOL_ISA) if that is set.
void select_isa_from_environment();

// The products of matrices of a kernel set, or null where it has none or the system refuses the registers for them. The
// first call asks the system.
const MatrixSets* usable_matrices(const KernelTable& table);

// The chosen kernels, or null where the reference loops are asked for.
const KernelTable* selected_kernels();

}  // namespace convpool
