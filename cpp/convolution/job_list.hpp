// Correlations become jobs, each a range of tasks; one parallel loop runs them all.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/table.hpp"

namespace convpool {

// The job whose range [first_task, first_task + tasks()) holds `task`.
template <class Job>
const Job& job_of(const std::vector<Job>& jobs, Index task) noexcept {
  const auto after = std::upper_bound(jobs.begin(), jobs.end(), task,
                                      [](Index value, const Job& job) { return value < job.first_task; });
  return *(after - 1);
}

}  // namespace convpool
