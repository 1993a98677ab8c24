// How the depth of a pixel tile is cut into pieces, and which pieces a tile can leave out.
#pragma once

#include <cstdint>
#include <vector>

#include "convolution/pixel_stage.hpp"

namespace convpool {

// Products summed in a register before they are added to the target: bounds the rounding error, and the weights of a
// tile and chunk lie in the first-level cache.
constexpr Index kDepthChunk = 128;

// A set of taps, by their number in a phase; several share a bit where there are many.
using TapSet = std::uint64_t;
constexpr TapSet kAllTaps = ~TapSet{0};

inline TapSet tap_set(Index tap) noexcept { return TapSet{1} << tap % 64; }

// Part of the depth that one call of a tile sums: `segments` runs of `length` elements.
struct Piece {
  Index first_segment, segments, length, depth;
  TapSet taps = kAllTaps;  // that it is of
  Index first_step = 0;    // among those of a phase, where products are of matrices

  Index elements() const noexcept { return segments * length; }
};

// How many elements a piece has: at most so many, and a multiple of `unit` where there are more.
struct PieceSize {
  Index most, unit;

  // Channels whose products one piece sums: all, or an even part of them.
  Index chunk(Index channels) const noexcept;
};

// Many channels are cut tap by tap, and the same ones of all taps follow each other: their weights are packed together.
// Few are summed together with those of the next taps. Adds where the pieces' runs begin to `offsets`.
std::vector<Piece> cut_depth(const std::vector<Segment>& segments, Index channels, Index depth, PieceSize size,
                             std::vector<Index>& offsets);

// Whether some taps reach beyond the source from positions [first, first + count).
bool reaches_out(const Correlation& part, const Index (&first)[kAxes], const Index (&count)[kAxes]) noexcept;

// Whether it pays to look which taps reach only padding: those of many channels, where some do.
bool has_padding_to_skip(const Correlation& part) noexcept;

// Pairs of a tap and a target pixel that do not meet in padding.
Index taps_inside(const Correlation& part) noexcept;

// Which taps of a phase reach the source from each position of a box.
void find_reached(const Correlation& part, const PixelBox& box, TapSet* reached) noexcept;

// The pixels of a phase in a box, and whether some of their taps reach out of the source.
struct BoxPixels {
  Index count, images;
  bool reach_out;
};

// What each tile of `rows` pixels has to sum: all taps, or those that reach the source from one of them. Where none
// does, all: the targets become the bias.
void find_met(const BoxPixels& pixels, Index rows, const TapSet* reached, TapSet* met) noexcept;

}  // namespace convpool
