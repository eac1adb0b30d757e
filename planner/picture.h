// SPDX-License-Identifier: Apache-2.0
#pragma once
// Draws a grid of blocks with characters.

#include <cstdint>
#include <string>

#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan_statistics.h"

namespace splashmask {

enum class Colours : uint8_t {
  kNone,       ///< Shades of one colour: · ░ ▒ ▓ █
  kPalette,    ///< The 256 colours of xterm.
  kTrueColour  ///< 24 bits.
};

struct PictureOptions {
  int width = 80;  ///< Characters that a line may have, labels included; at least 20.
  Colours colours = Colours::kNone;
};

/// The picture, lines that end in '\n': a frame with q positions down the left, kv positions along
/// the top, and a legend below. A character is taken to be twice as tall as wide, so that equal
/// lengths look equal; very long shapes are squeezed, and the legend tells the scale. With colours
/// a character holds two cells of the picture, one above the other; without, the mean of both.
std::string DrawPicture(const BlockClassGrid& grid, BlockShape block,
                        const PictureOptions& options);

}  // namespace splashmask
