// How many processors this process may use.
#pragma once

#include <string>

namespace convpool {

// Processors in the affinity mask of the calling thread.
int affinity_processors();

// Whole processors that the control groups of this process grant (rounded up), or a large number without a limit.
// `root` stands before the paths of the system's files; it is empty but in tests.
int quota_processors(const std::string& root = "");

}  // namespace convpool
