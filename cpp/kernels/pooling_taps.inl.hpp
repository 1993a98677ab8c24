// Reductions over the taps of pooling windows, one output per lane: taps at any offsets of a row, and taps that are
// rows one below the other.
//
// Layout:    outputs that are neighbours read neighbours.
// Cost:      a load and one operation of the reduction per tap and vector, accumulators in registers. Where a row ends
//            within a vector, that vector overlaps the one before it, so `out` must not be read.

// ---- taps at offsets ----

template <class T, class Reduction, int Vectors, bool IsPartial>
static inline __attribute__((always_inline)) void reduce_tap_block(const TapReduction<T>& r, Index lane) {
  const Elements<T> source{r.values, r.positions};
  const auto label = [&](Index tap) {
    if constexpr (Reduction::kHasPositions) return r.labels[tap];
    else return LanePosition<T>{};
  };
  States<T, Reduction, Vectors, false> states;
  states.set(source, r.offsets[0] + lane, label(0), 0);
  for (Index tap = 1; tap < r.taps; ++tap) states.add_later(source, r.offsets[tap] + lane, label(tap), 0);
  if constexpr (IsPartial) {
    store_first(r.out, states.state[0].value, r.count);
    if constexpr (Reduction::kHasPositions) store_first(r.out_positions, states.state[0].position, r.count);
  } else {
    states.put(r.out + lane, r.out_positions + lane, nullptr, 0);
  }
}

template <class T, class Reduction>
static void reduce_taps(const TapReduction<T>& r) {
  constexpr int kWidth = kLanes<T>;
  if (r.count < kWidth) return reduce_tap_block<T, Reduction, 1, true>(r, 0);
  Index lane = 0;
  for (; lane + 4 * kWidth <= r.count; lane += 4 * kWidth) reduce_tap_block<T, Reduction, 4, false>(r, lane);
  for (; lane + kWidth <= r.count; lane += kWidth) reduce_tap_block<T, Reduction, 1, false>(r, lane);
  if (lane < r.count) reduce_tap_block<T, Reduction, 1, false>(r, r.count - kWidth);
}

// ---- taps that are rows ----

template <class T, class Reduction, int Vectors, bool IsPartial>
static inline __attribute__((always_inline)) void reduce_row_block(const RowPass<T>& pass, Index row, Index lane) {
  const Elements<T> source{pass.values, pass.positions};
  Index offset = pass.first[row] + lane;
  LanePosition<T> label{};
  if constexpr (Reduction::kHasPositions) label = pass.first_label[row];
  States<T, Reduction, Vectors, IsPartial> states;
  states.set(source, offset, label, pass.columns);
  for (Index tap = 1; tap < pass.counts[row]; ++tap) {
    offset += pass.tap_step;
    label = static_cast<LanePosition<T>>(label + pass.label_step);
    states.add_later(source, offset, label, pass.columns);
  }
  const LanePosition<T>* labels = pass.column_labels == nullptr ? nullptr : pass.column_labels + lane;
  states.put(pass.out + row * pass.out_pitch + lane, pass.out_positions + row * pass.out_positions_pitch + lane, labels,
             pass.columns);
}

template <class T, class Reduction>
static void reduce_rows(const RowPass<T>& pass) {
  constexpr int kWidth = kLanes<T>;
  for (Index row = 0; row < pass.rows; ++row) {
    if (pass.counts[row] == 0) {
      for (Index i = 0; i < pass.columns; ++i) pass.out[row * pass.out_pitch + i] = T{};
    } else if (pass.columns < kWidth) {
      reduce_row_block<T, Reduction, 1, true>(pass, row, 0);
    } else {
      Index lane = 0;
      for (; lane + 4 * kWidth <= pass.columns; lane += 4 * kWidth)
        reduce_row_block<T, Reduction, 4, false>(pass, row, lane);
      for (; lane + kWidth <= pass.columns; lane += kWidth) reduce_row_block<T, Reduction, 1, false>(pass, row, lane);
      if (lane < pass.columns) reduce_row_block<T, Reduction, 1, false>(pass, row, pass.columns - kWidth);
    }
  }
}
