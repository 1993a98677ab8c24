// Windows of one length over rows, at three operations per element whatever the length (van Herk 1992, Gil and Werman
// 1993).
//
// Method:    the rows are cut into pieces as long as a window. A window that begins in one piece ends in the next: it
//            is the tail of the first, reduced from below, and the head of the second, reduced from above.
// Numerics:  a sum adds the elements of its own window only and never subtracts, so what is not finite stays where it
//            is and the rounding is that of a direct sum.
// Cost:      three loads, two stores and three operations per row and vector.

// One strip of columns: Vectors vectors, or the first `columns` lanes of one.
template <class T, class Reduction, int Vectors, bool IsPartial>
struct RunningStrip {
  using P = LanePosition<T>;
  using Strip = States<T, Reduction, Vectors, IsPartial>;

  const RunningPass<T>& pass;
  Index lane;

  Elements<T> source() const { return {pass.values, pass.positions}; }
  Index offset(Index row) const { return row * pass.tap_step + lane; }
  P label(Index row) const { return static_cast<P>(pass.first_label + static_cast<P>(row) * pass.label_step); }
  T* tail(Index place) const { return pass.tails + place * kRunningVectors * kLanes<T>; }
  P* tail_positions(Index place) const { return pass.tail_positions + place * kRunningVectors * kLanes<T>; }

  inline __attribute__((always_inline)) void keep_tail(const Strip& states, Index place) const {
    States<T, Reduction, Vectors, false> whole;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) whole.state[v] = states.state[v];
    whole.put(tail(place), tail_positions(place), nullptr, 0);
  }
  inline __attribute__((always_inline)) typename Reduction::State tail_state(Index place, int v) const {
    const T* values = tail(place) + v * kLanes<T>;
    if constexpr (Reduction::kHasPositions) return {load(values), load(tail_positions(place) + v * kLanes<T>)};
    else return {load(values)};
  }

  // Tails of the piece [piece, piece + window), each from its place to the end of the piece. Returns the first place
  // that has none: what lies outside the sources is no element.
  Index make_tails(Index piece) const {
    const Index first = piece < 0 ? -piece : 0;
    const Index stop = pass.sources - piece < pass.window ? pass.sources - piece : pass.window;
    if (stop <= first) return 0;
    Strip states;
    Index row = piece + stop - 1;
    states.set(source(), offset(row), label(row), pass.columns);
    keep_tail(states, stop - 1);
    for (Index place = stop - 2; place >= first; --place) {
      row = piece + place;
      states.add_earlier(source(), offset(row), label(row), pass.columns);
      keep_tail(states, place);
    }
    // Windows that begin before the first source have the same tail.
    for (Index place = first - 1; place >= 0; --place) keep_tail(states, place);
    return stop;
  }

  // Outputs whose windows begin in [piece, piece + window); returns the next output.
  Index run_piece(Index piece, Index output) const {
    const Index tails = make_tails(piece);
    Strip head{};
    bool has_head = false;
    for (Index place = 0; place < pass.window && output < pass.rows; ++place) {
      if (pass.begin + output * pass.stride == piece + place) {
        Strip whole;
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
          if (place >= tails) whole.state[v] = head.state[v];
          else if (has_head) whole.state[v] = Reduction::combine(tail_state(place, v), head.state[v]);
          else whole.state[v] = tail_state(place, v);
        }
        const P* labels = pass.column_labels == nullptr ? nullptr : pass.column_labels + lane;
        whole.put(pass.out + output * pass.out_pitch + lane,
                  pass.out_positions + output * pass.out_positions_pitch + lane, labels, pass.columns);
        ++output;
      }
      const Index row = piece + pass.window + place;
      if (row < 0 || row >= pass.sources) continue;
      if (has_head) head.add_later(source(), offset(row), label(row), pass.columns);
      else head.set(source(), offset(row), label(row), pass.columns);
      has_head = true;
    }
    return output;
  }

  void run() const {
    Index output = 0;
    for (Index piece = pass.piece; output < pass.rows; piece += pass.window) output = run_piece(piece, output);
  }
};

template <class T, class Reduction>
static void reduce_running(const RunningPass<T>& pass) {
  constexpr int kWidth = kLanes<T>;
  if (pass.columns < kWidth) return RunningStrip<T, Reduction, 1, true>{pass, 0}.run();
  Index lane = 0;
  for (; lane + kRunningVectors * kWidth <= pass.columns; lane += kRunningVectors * kWidth)
    RunningStrip<T, Reduction, kRunningVectors, false>{pass, lane}.run();
  for (; lane + kWidth <= pass.columns; lane += kWidth) RunningStrip<T, Reduction, 1, false>{pass, lane}.run();
  if (lane < pass.columns) RunningStrip<T, Reduction, 1, false>{pass, pass.columns - kWidth}.run();
}
