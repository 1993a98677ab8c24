// Gradients of maxima: every gradient is added to the element that its place names.
//
// Numerics:  a sum adds in the order of the gradients. A vector whose places are not all wanted adds 0 instead, which
//            changes no sum: none is -0, since all of them start at 0. Which of two NaN a sum keeps is the compiler's
//            choice, another one in every loop: so the caller learns of NaN.
// Cost:      addresses are made by vectors; then a load, an addition and a store per gradient. Successive windows often
//            name one element, and each addition waits for the one before: hence several planes at once.

template <class T>
struct GradientsWithPlaces {
  alignas(CONVPOOL_VECTOR_BYTES) LanePosition<T> offsets[kLanes<T>];
  alignas(CONVPOOL_VECTOR_BYTES) T gradients[kLanes<T>];
};

// The gradients that start at `at`; returns which of them are NaN. Not wanted are places outside [first, stop): they
// are told apart, so that additions of 0 do not wait for each other.
template <class T, bool IsPartial>
static inline __attribute__((always_inline)) Vector<LanePosition<T>> find_places(const PlaceScatter<T>& s, Index at,
                                                                                 Index count,
                                                                                 Vector<LanePosition<T>> channels,
                                                                                 GradientsWithPlaces<T>& found) {
  using P = LanePosition<T>;
  const Vector<P> place = load_places<T, IsPartial>(s.places + at, count);
  const Vector<P> lanes = lane_numbers<P>(typename LaneList<kLanes<P>>::type{});
  auto is_wanted = (place >= static_cast<P>(s.first)) & (place < static_cast<P>(s.stop));
  if constexpr (IsPartial) is_wanted &= lanes < static_cast<P>(count);
  const P elements = static_cast<P>((s.stop - s.first) * s.channels);
  const Vector<P> spare = (lanes < elements ? lanes : Vector<P>{}) + static_cast<P>(s.first * s.channels);
  const Vector<P> offset = is_wanted ? place * static_cast<P>(s.channels) + channels : spare;
  const Vector<T> gradient = is_wanted ? load_lanes<IsPartial>(s.gradients + at, count) : Vector<T>{};
  __builtin_memcpy(found.offsets, &offset, sizeof offset);
  __builtin_memcpy(found.gradients, &gradient, sizeof gradient);
  return (Vector<P>)(gradient != gradient);
}

template <class T, int Planes, bool IsPartial>
static inline __attribute__((always_inline)) Vector<LanePosition<T>> scatter_vector(const PlaceScatter<T>& s, Index at,
                                                                                    Index count,
                                                                                    Vector<LanePosition<T>> channels) {
  GradientsWithPlaces<T> found[Planes];
  Vector<LanePosition<T>> is_nan{};
#pragma GCC unroll 4
  for (int plane = 0; plane < Planes; ++plane)
    is_nan |= find_places<T, IsPartial>(s, at + plane * s.plane_places, count, channels, found[plane]);
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane)
#pragma GCC unroll 4
    for (int plane = 0; plane < Planes; ++plane)
      s.out[plane * s.plane_elements + found[plane].offsets[lane]] += found[plane].gradients[lane];
  return is_nan;
}

template <class T, int Planes>
static bool scatter_planes(const PlaceScatter<T>& s) {
  using P = LanePosition<T>;
  constexpr int kWidth = kLanes<T>;
  P numbers[kWidth];
  for (int lane = 0; lane < kWidth; ++lane) numbers[lane] = static_cast<P>(lane % s.channels);
  Vector<P> channel, is_nan{};
  __builtin_memcpy(&channel, numbers, sizeof channel);
  const P step = static_cast<P>(kWidth % s.channels), channels = static_cast<P>(s.channels);
  Index i = 0;
  for (; i + kWidth <= s.count; i += kWidth) {
    is_nan |= scatter_vector<T, Planes, false>(s, i, kWidth, channel);
    channel += step;
    channel = channel >= channels ? channel - channels : channel;
  }
  if (i < s.count) is_nan |= scatter_vector<T, Planes, true>(s, i, s.count - i, channel);
  return any_lane<P>(is_nan) != 0;
}
