// Gradients of maxima: every input element sums the gradients of those windows over it whose place is its own.
//
// Numerics:  sums start at 0, or go on from what `out` holds, and add in the order of the taps, as a scatter in
//            row-major order does; adding 0 where the place is another changes no bit.
// Cost:      two loads, a comparison and a masked addition per tap and vector; every element is written once.

// As many places as a vector of T has lanes, as wide as T.
template <class T, bool IsPartial>
static inline __attribute__((always_inline)) Vector<LanePosition<T>> load_places(const std::int32_t* source,
                                                                                 Index count) {
  if constexpr (sizeof(T) == sizeof(std::int32_t)) {
    return load_lanes<IsPartial>(source, count);
  } else {
    typedef std::int32_t Half __attribute__((vector_size(CONVPOOL_VECTOR_BYTES / 2)));
    Half half{};
    __builtin_memcpy(&half, source, IsPartial ? static_cast<unsigned long>(count) * sizeof(std::int32_t) : sizeof half);
    return __builtin_convertvector(half, Vector<LanePosition<T>>);
  }
}

template <class T, int Vectors, bool IsPartial>
static inline __attribute__((always_inline)) void gather_channel_block(const ChannelGather<T>& g, Index column,
                                                                       Index lane) {
  using P = LanePosition<T>;
  constexpr int kWidth = kLanes<T>;
  const Vector<P> own = broadcast(static_cast<P>(g.position + column));
  const Index count = g.lanes - lane;
  T* out = g.out + column * g.out_pitch + lane;
  Vector<T> sum[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) sum[v] = g.is_added ? load_lanes<IsPartial>(out + v * kWidth, count) : Vector<T>{};
  for (Index row = 0; row < g.rows; ++row) {
    Index offset = g.row_offsets[row] + g.first[column] + lane;
    for (Index window = 0; window < g.counts[column]; ++window, offset += g.window_step) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const auto is_own = load_places<T, IsPartial>(g.places + offset + v * kWidth, count) == own;
        sum[v] += is_own ? load_lanes<IsPartial>(g.gradients + offset + v * kWidth, count) : Vector<T>{};
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) store_lanes<IsPartial>(out + v * kWidth, sum[v], count);
}

template <class T>
static void gather_channels(const ChannelGather<T>& g) {
  constexpr int kWidth = kLanes<T>;
  for (Index column = 0; column < g.columns; ++column) {
    Index lane = 0;
    for (; lane + 4 * kWidth <= g.lanes; lane += 4 * kWidth) gather_channel_block<T, 4, false>(g, column, lane);
    for (; lane + kWidth <= g.lanes; lane += kWidth) gather_channel_block<T, 1, false>(g, column, lane);
    if (lane < g.lanes) gather_channel_block<T, 1, true>(g, column, lane);
  }
}

// All lanes or-ed together.
template <class I, int Half = kLanes<I> / 2>
static inline __attribute__((always_inline)) I any_lane(Vector<I> mask) {
  if constexpr (Half == 0) return mask[0];
  else return any_lane<I, Half / 2>(mask | upper_half<I, Half>(mask, typename LaneList<kLanes<I>>::type{}));
}

// A negative number is a huge unsigned one.
template <class I>
static bool are_below(Index count, const I* numbers, I bound) {
  Vector<I> is_outside{};
  for_each_vector<I>(count, [&](auto part, Index lane) {
    const Vector<I> number = part.load(numbers + lane);
    is_outside |= (number < 0) | (number >= bound);
  });
  return any_lane<I>(is_outside) == 0;
}

// As an unsigned number, the distance from the first column is less than a window's length in the row that holds the
// place, and more than that in all others.
static inline __attribute__((always_inline)) Vector<std::int32_t> is_outside(const PlaceCheck& check, Index row,
                                                                             Vector<std::int32_t> places,
                                                                             Vector<std::int32_t> starts,
                                                                             Vector<std::int32_t> lengths) {
  typedef std::uint32_t Unsigned __attribute__((vector_size(CONVPOOL_VECTOR_BYTES)));
  const Vector<std::int32_t> distance = places - starts - (check.base + check.first[row]);
  Unsigned least = ~Unsigned{};
  for (Index z = 0; z < check.depth; ++z)
    for (std::int32_t y = 0; y < check.counts[row]; ++y) {
      const auto step = static_cast<std::int32_t>(z) * check.z_step + y * check.y_step;
      const Unsigned column = (Unsigned)(distance - step);
      least = column < least ? column : least;
    }
  return (Vector<std::int32_t>)(least >= (Unsigned)lengths);
}

static bool are_inside(const PlaceCheck& check) {
  Vector<std::int32_t> outside{};
  const std::int32_t* places = check.places;
  for (Index row = 0; row < check.rows; ++row) {
    if (check.channels == 1) {
      for_each_vector<std::int32_t>(check.columns, [&](auto part, Index lane) {
        outside |= part.keep(is_outside(check, row, part.load(places + lane), part.load(check.starts + lane),
                                        part.load(check.lengths + lane)));
      });
      places += check.columns;
      continue;
    }
    for (Index column = 0; column < check.columns; ++column, places += check.channels)
      for_each_vector<std::int32_t>(check.channels, [&](auto part, Index lane) {
        outside |= part.keep(is_outside(check, row, part.load(places + lane), broadcast(check.starts[column]),
                                        broadcast(check.lengths[column])));
      });
  }
  return any_lane<std::int32_t>(outside) == 0;
}
