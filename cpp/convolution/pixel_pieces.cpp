#include "convolution/pixel_pieces.hpp"

#include <algorithm>

namespace convpool {

Index PieceSize::chunk(Index channels) const noexcept {
  if (channels <= most) return channels;
  const Index even = ceil_divide(channels, ceil_divide(channels, most));
  return ceil_divide(even, unit) * unit;
}

std::vector<Piece> cut_depth(const std::vector<Segment>& segments, Index channels, Index depth, PieceSize size,
                             std::vector<Index>& offsets) {
  const Index chunk = size.chunk(channels);
  std::vector<Piece> pieces;
  const auto add = [&](Index offset, Index length) {
    const bool joins =
        !pieces.empty() && pieces.back().length == length && (pieces.back().segments + 1) * length <= size.most;
    if (joins) ++pieces.back().segments;
    else pieces.push_back({static_cast<Index>(offsets.size()), 1, length, depth});
    offsets.push_back(offset);
    depth += length;
  };
  for (const Segment& segment : segments) {
    const Index run = chunk < channels ? channels : segment.length;
    const Index step = size.chunk(run);
    for (Index start = 0; start < segment.length; start += run)
      for (Index first = 0; first < run; first += step)
        add(segment.offset + start + first, std::min(step, run - first));
  }
  if (chunk < channels)
    std::stable_sort(pieces.begin(), pieces.end(),
                     [=](const Piece& a, const Piece& b) { return a.depth % channels < b.depth % channels; });
  return pieces;
}

bool reaches_out(const Correlation& part, const Index (&first)[kAxes], const Index (&count)[kAxes]) noexcept {
  return std::any_of(part.taps.begin(), part.taps.end(), [&](const Tap& tap) {
    for (int axis = 0; axis < kAxes; ++axis) {
      const Index least = first[axis] * part.step[axis] + tap.offset[axis];
      if (least < 0 || least + (count[axis] - 1) * part.step[axis] >= part.source.extent[axis]) return true;
    }
    return false;
  });
}

bool has_padding_to_skip(const Correlation& part) noexcept {
  constexpr Index kLeastChannels = 64;
  return part.channels >= kLeastChannels && reaches_out(part, {0, 0, 0}, part.target.extent);
}

Index taps_inside(const Correlation& part) noexcept {
  Index sum = 0;
  for (const Tap& tap : part.taps) {
    Index pixels = part.batch;
    for (int axis = 0; axis < kAxes; ++axis) {
      Index inside = 0;
      for (Index i = 0; i < part.target.extent[axis]; ++i) {
        const Index place = i * part.step[axis] + tap.offset[axis];
        if (place >= 0 && place < part.source.extent[axis]) ++inside;
      }
      pixels *= inside;
    }
    sum += pixels;
  }
  return sum;
}

void find_reached(const Correlation& part, const PixelBox& box, TapSet* reached) noexcept {
  const Index positions = box.count[0] * box.count[1] * box.count[2];
  std::fill_n(reached, positions, kAllTaps);
  Index after = positions;  // positions that follow each other with the same one on this axis
  for (int axis = 0; axis < kAxes; ++axis) {
    after /= box.count[axis];
    for (Index i = 0; i < box.count[axis]; ++i) {
      const Index first = (box.first[axis] + i) * part.step[axis];
      TapSet taps = 0;
      for (std::size_t tap = 0; tap < part.taps.size(); ++tap) {
        const Index place = first + part.taps[tap].offset[axis];
        if (place >= 0 && place < part.source.extent[axis]) taps |= tap_set(static_cast<Index>(tap));
      }
      for (Index start = i * after; start < positions; start += box.count[axis] * after)
        for (Index position = start; position < start + after; ++position) reached[position] &= taps;
    }
  }
}

void find_met(const BoxPixels& pixels, Index rows, const TapSet* reached, TapSet* met) noexcept {
  for (Index pixel = 0, tile = 0; pixel < pixels.count; pixel += rows, ++tile) {
    const Index stop = std::min(pixel + rows, pixels.count);
    TapSet taps = 0;
    for (Index position = pixel / pixels.images; position * pixels.images < stop; ++position) taps |= reached[position];
    met[tile] = taps == 0 ? kAllTaps : taps;
  }
}

}  // namespace convpool
