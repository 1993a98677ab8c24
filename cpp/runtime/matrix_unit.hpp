// The processor's unit for products of matrices (AMX): its registers are so large that a process has to ask for them.
#pragma once

namespace convpool {

// Whether processor and system have it.
bool has_matrix_unit();

// Asks the system for its registers, for the whole process. It refuses where some thread has too small a stack for
// signals to save them on.
bool permits_matrix_unit();

}  // namespace convpool
