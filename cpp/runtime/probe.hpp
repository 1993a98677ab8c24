// What this machine can do at most right now: the limits that benchmarks relate themselves to.
#pragma once

#include <cstdint>

namespace convpool {

// Float32 multiply-adds per second of num_threads threads together, each counted as two operations; the best of the
// rounds that fit `seconds`. 0 where the reference loops are selected.
double probe_fma(double seconds, int num_threads);

// Bytes read and written per second when half of `bytes` is copied to the other half.
double probe_copy(std::int64_t bytes, double seconds, int num_threads);

}  // namespace convpool
