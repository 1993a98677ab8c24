// Target rows cut into tasks: bands of rows of one plane.
#pragma once

#include <algorithm>

#include "pooling/pool_view.hpp"
#include "runtime/caches.hpp"
#include "runtime/parallel.hpp"

namespace convpool {

struct RowBand {
  Index outer, z;
  Range y;
};

// Most elements of a band that strips work off.
inline Index strip_elements(const PoolView& view, std::size_t element_bytes) noexcept {
  const Index row = view.axes[2].targets * view.inner;
  return row * strip_rows(view.axes[1].targets, row * static_cast<Index>(element_bytes));
}

class RowBands {
 public:
  // Bands of up to `most_elements`. Several neighbours make a task, so that a thread goes through memory in order;
  // there are enough tasks for every thread.
  RowBands(const PoolView& view, Index most_elements, int threads) : view_(view), rows_(view.axes[1].targets) {
    constexpr Index kTaskElements = 64 * 1024, kTasksPerThread = 4;
    const Index row = view.axes[2].targets * view.inner, wanted = threads > 1 ? kTasksPerThread * threads : 1;
    while (rows_ > 1 && (rows_ * row > most_elements || bands() < wanted)) rows_ = ceil_divide(rows_, 2);
    const Index fitting = std::max<Index>(kTaskElements / (rows_ * row), 1);
    at_once_ = std::clamp<Index>(bands() / wanted, 1, fitting);
  }

  // body(band) for all of them.
  template <class Body>
  void for_all(int num_threads, Index work, Body&& body) const {
    parallel_for(tasks(), worker_count(num_threads, tasks(), work), [&](Index task, int) { each(task, body); });
  }

  Index rows() const noexcept { return rows_; }
  Index tasks() const noexcept { return ceil_divide(bands(), at_once_); }

  template <class Body>
  void each(Index task, Body&& body) const noexcept {
    const Index stop = std::min(bands(), (task + 1) * at_once_);
    for (Index band = task * at_once_; band < stop; ++band) {
      const Index first = band % row_blocks() * rows_, plane = band / row_blocks();
      body(RowBand{plane / view_.axes[0].targets,
                   plane % view_.axes[0].targets,
                   {first, std::min(rows_, view_.axes[1].targets - first)}});
    }
  }

 private:
  Index bands() const noexcept { return view_.outers * view_.axes[0].targets * row_blocks(); }
  Index row_blocks() const noexcept { return ceil_divide(view_.axes[1].targets, rows_); }

  const PoolView& view_;
  Index rows_, at_once_ = 1;
};

}  // namespace convpool
