// Division of rows of sums, or of gradients, by the number of elements each window averages over.
#pragma once

#include "pooling/window_reduction.hpp"

namespace convpool {

template <class T>
class AverageDivisor {
 public:
  AverageDivisor(const PoolView& view, const PoolKernels<T>& kernels) : view_(view), kernels_(kernels) {
    for (const double share : view.shares[2]) {
      if (runs_.empty() || runs_.back().share != static_cast<T>(share)) runs_.push_back({static_cast<T>(share), 0});
      ++runs_.back().columns;
    }
    if (std::is_floating_point_v<T> && view.inner == 1 && runs_.size() > 1) make_tables();
    if (std::is_floating_point_v<T>) make_shares();
  }

  // Whether kernels can divide: the divisor of window (z, y, x) is row_shares(z, y)[0] * column_shares()[x].
  bool is_small() const noexcept { return !column_shares_.empty(); }
  const T* column_shares() const noexcept { return is_small() ? column_shares_.data() : nullptr; }
  const T* row_shares(Index z, Index y) const noexcept {
    return row_shares_.data() + z * static_cast<Index>(view_.shares[1].size()) + y;
  }
  bool has_exact_inverses() const noexcept { return has_exact_inverses_; }

  // target[i] = source[i] / divisor of window (z, y, column), for `columns` windows of `lanes` channels each. In place
  // too. Windows at a border average over fewer elements; neighbours of one divisor are divided together.
  void divide(Index z, Index y, Index column, Index columns, Index lanes, const T* source, T* target) const noexcept {
    const T row =
        static_cast<T>(view_.shares[0][static_cast<std::size_t>(z)] * view_.shares[1][static_cast<std::size_t>(y)]);
    if (const Table* table = lanes == 1 ? table_of(row) : nullptr)
      return kernels_.divide_each(columns, source, table->divisors.data() + column, table->inverses.data() + column,
                                  target);
    Index first = -column;  // of a run, in columns of the block
    for (const Run& run : runs_) {
      const Index begin = std::max<Index>(first, 0), stop = std::min(first + run.columns, columns);
      first += run.columns;
      if (begin >= stop) continue;
      const Index count = (stop - begin) * lanes;
      if (count == 1) target[begin] = source[begin] / (run.share * row);
      else kernels_.divide(count, source + begin * lanes, run.share * row, target + begin * lanes);
    }
  }

  // The same for rows of windows in place, `pitch` elements apart. Neighbours of one divisor are divided together.
  void divide_rows(Index z, Range y, const RowBlock& block, T* values, Index pitch) const noexcept {
    const bool is_dense = runs_.size() == 1 && pitch == block.elements();
    const std::vector<double>& shares = view_.shares[1];
    for (Index row = y.first, next = row; row < y.stop(); row = next) {
      next = row + 1;
      while (is_dense && next < y.stop() &&
             shares[static_cast<std::size_t>(next)] == shares[static_cast<std::size_t>(row)])
        ++next;
      T* first = values + (row - y.first) * pitch;
      if (is_dense) divide(z, row, 0, 1, (next - row) * pitch, first, first);
      else divide(z, row, block.column, block.columns, block.lanes, first, first);
    }
  }

 private:
  // Neighbouring columns of one divisor.
  struct Run {
    T share;
    Index columns;
  };

  // Divisors of all columns in rows of one share: a short row of several runs is divided at once.
  struct Table {
    T row;
    std::vector<T> divisors, inverses;
  };

  static constexpr double kMostCorrected = 4096;

  void make_shares() {
    const auto largest = [](const std::vector<double>& shares) {
      return *std::max_element(shares.begin(), shares.end());
    };
    const auto& [deep, high, wide] = view_.shares;
    if (largest(deep) * largest(high) * largest(wide) > kMostCorrected) return;
    column_shares_.assign(wide.begin(), wide.end());
    for (const double z : deep)
      for (const double y : high) row_shares_.push_back(static_cast<T>(z * y));
    const auto is_exact = [](T share) { return is_power_of_two(share); };
    has_exact_inverses_ = std::all_of(column_shares_.begin(), column_shares_.end(), is_exact) &&
                          std::all_of(row_shares_.begin(), row_shares_.end(), is_exact);
  }
  static bool is_power_of_two(T share) noexcept {
    const auto whole = static_cast<unsigned>(share);
    return (whole & (whole - 1)) == 0;
  }

  void make_tables() {
    constexpr std::size_t kMostTables = 16;
    for (const double z : view_.shares[0])
      for (const double y : view_.shares[1]) {
        const T row = static_cast<T>(z * y);
        if (table_of(row) != nullptr || tables_.size() == kMostTables) continue;
        Table table{row, {}, {}};
        for (const double x : view_.shares[2]) {
          if (z * y * x > kMostCorrected) return;
          table.divisors.push_back(static_cast<T>(x) * row);
          table.inverses.push_back(1 / table.divisors.back());
        }
        tables_.push_back(table);
      }
  }
  const Table* table_of(T row) const noexcept {
    for (const Table& table : tables_)
      if (table.row == row) return &table;
    return nullptr;
  }

  const PoolView& view_;
  const PoolKernels<T>& kernels_;
  std::vector<Run> runs_;
  std::vector<Table> tables_;
  std::vector<T> column_shares_, row_shares_;  // of all columns, and of all rows; empty: too large
  bool has_exact_inverses_ = false;
};

}  // namespace convpool
