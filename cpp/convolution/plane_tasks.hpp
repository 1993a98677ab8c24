// The planes of a depthwise convolution as tasks of neighbouring ones.
#pragma once

#include <algorithm>

#include "convolution/correlation.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

class PlaneTasks {
 public:
  // `part` may be one of several phases: a plane is that of the whole target.
  PlaneTasks(const Correlation& part, int num_threads) : groups_(part.groups), planes_(part.batch * part.groups) {
    constexpr Index kTaskElements = 1 << 15;  // neighbouring planes go to one thread
    const Index plane = std::max<Index>(part.whole_extent[1] * part.whole_extent[2], 1);
    at_once_ = ceil_divide(kTaskElements, plane);
    workers_ = worker_count(num_threads, tasks(), planes_ * plane * (part.depth() / 16 + 1));
  }

  int workers() const noexcept { return workers_; }

  // body(batch, channel, worker)
  template <class Body>
  void each(Body&& body) const {
    parallel_for(tasks(), workers_, [&](Index task, int worker) {
      for (Index plane = task * at_once_; plane < std::min((task + 1) * at_once_, planes_); ++plane)
        body(plane / groups_, plane % groups_, worker);
    });
  }

 private:
  Index tasks() const noexcept { return ceil_divide(planes_, at_once_); }

  Index groups_, planes_, at_once_ = 1;
  int workers_ = 1;
};

}  // namespace convpool
