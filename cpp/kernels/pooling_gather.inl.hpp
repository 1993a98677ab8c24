// Gradients of maxima whose windows do not overlap: every element takes that of the window over it, or 0.
//
// Numerics:  a gradient is added to 0, as in a sum: -0 becomes 0.
// Cost:      two loads and a comparison per vector; every element is written once.

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

template <class T, bool IsPartial>
static inline __attribute__((always_inline)) void gather_vector(const ChannelGather<T>& g, Index from,
                                                                Vector<LanePosition<T>> own, Index count, T* out) {
  const auto is_own = load_places<T, IsPartial>(g.places + from, count) == own;
  const Vector<T> gradient = load_lanes<IsPartial>(g.gradients + from, count);
  store_lanes<IsPartial>(out, (is_own ? gradient : Vector<T>{}) + Vector<T>{}, count);
}

template <class T>
static void gather_channels(const ChannelGather<T>& g) {
  constexpr int kWidth = kLanes<T>;
  T* out = g.out;
  for (Index column = 0; column < g.columns; ++column, out += g.channels) {
    const Index window = g.windows[column];
    if (window < 0) {
      for_each_vector<T>(g.channels, [&](auto part, Index channel) { part.store(out + channel, Vector<T>{}); });
      continue;
    }
    const Vector<LanePosition<T>> own = broadcast(static_cast<LanePosition<T>>(g.position + column));
    Index channel = 0;
    for (; channel + kWidth <= g.channels; channel += kWidth)
      gather_vector<T, false>(g, window + channel, own, kWidth, out + channel);
    if (channel < g.channels) gather_vector<T, true>(g, window + channel, own, g.channels - channel, out + channel);
  }
}

// All lanes or-ed together.
template <class I, int Half = kLanes<I> / 2>
static inline __attribute__((always_inline)) I any_lane(Vector<I> mask) {
  if constexpr (Half == 0) return mask[0];
  else return any_lane<I, Half / 2>(mask | upper_half<I, Half>(mask, typename LaneList<kLanes<I>>::type{}));
}

template <class I>
static Bounds<I> bounds_of(Index count, const I* numbers) {
  Bounds<I> bounds{numbers[0], numbers[0]};
  const auto widen = [&](I least, I largest) {
    bounds = {least < bounds.least ? least : bounds.least, largest > bounds.largest ? largest : bounds.largest};
  };
  Index at = 0;
  if (count >= kLanes<I>) {
    const WholeVector<I> whole;
    Vector<I> least = whole.load(numbers), largest = least;
    for (at = kLanes<I>; at + kLanes<I> <= count; at += kLanes<I>) {
      const Vector<I> number = whole.load(numbers + at);
      least = number < least ? number : least;
      largest = number > largest ? number : largest;
    }
    for (int lane = 0; lane < kLanes<I>; ++lane) widen(least[lane], largest[lane]);
  }
  for (; at < count; ++at) widen(numbers[at], numbers[at]);
  return bounds;
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
