// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace splashmask {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr BlockClass kEmpty = BlockClass::kEmpty, kPartial = BlockClass::kPartial,
                     kFull = BlockClass::kFull;

BlockClassGrid Grid(int64_t q_blocks, int64_t kv_blocks,
                    const std::function<BlockClass(int64_t, int64_t)>& block) {
  BlockClassGrid grid{q_blocks, kv_blocks, {}};
  for (int64_t q = 0; q < q_blocks; ++q) {
    for (int64_t kv = 0; kv < kv_blocks; ++kv) grid.classes.push_back(block(q, kv));
  }
  return grid;
}

BlockClassGrid Causal(int64_t blocks) {
  return Grid(blocks, blocks, [](int64_t q, int64_t kv) {
    return q == kv ? kPartial : q > kv ? kFull : kEmpty;
  });
}

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Characters of a line, without colours.
size_t Width(const std::string& line) {
  size_t width = 0;
  bool in_colour = false;
  for (const char byte : line) {
    if (byte == '\x1b') in_colour = true;
    const bool starts_character = (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
    if (!in_colour && starts_character) ++width;
    if (byte == 'm') in_colour = false;
  }
  return width;
}

TEST(PictureTest, DrawsTwoBlocksAcrossAsGolden) {
  EXPECT_EQ(DrawPicture(Causal(2), {512, 512}, {}),
            R"(    kv  0      512  1,024
     q ┌┴───────┴───────┐
     0 ┤▒▒▒▒▒▒▒▒········│
       │▒▒▒▒▒▒▒▒········│
       │▒▒▒▒▒▒▒▒········│
       │▒▒▒▒▒▒▒▒········│
   512 ┤████████▒▒▒▒▒▒▒▒│
       │████████▒▒▒▒▒▒▒▒│
       │████████▒▒▒▒▒▒▒▒│
       │████████▒▒▒▒▒▒▒▒│
 1,024 └────────────────┘
· empty  ░▒▓ in part  █ full   one character: 128 q x 64 kv
)");
}

TEST(PictureTest, MergesBlocksThatDoNotFit) {
  const std::vector<std::string> lines = Lines(DrawPicture(Causal(256), {512, 512}, {}));
  ASSERT_EQ(lines.size(), 2u + 32u + 2u);
  EXPECT_THAT(lines[0],
              HasSubstr("0            32,768          65,536          98,304       131,072"));
  EXPECT_THAT(lines[2], HasSubstr("      0 ┤▓░····"));
  EXPECT_THAT(lines[10], HasSubstr(" 32,768 ┤████████████████▓░··"));
  EXPECT_THAT(lines[33], HasSubstr("███▓░│"));
  EXPECT_THAT(lines[35], HasSubstr("one character: 4,096 q x 2,048 kv"));
}

TEST(PictureTest, FullAndEmptyAreNeverRounded) {
  // One block of a million that differs: it still shows.
  const auto picture = [](BlockClass most, BlockClass one) {
    return DrawPicture(
        Grid(1024, 1024, [&](int64_t q, int64_t kv) { return q == 500 && kv == 500 ? one : most; }),
        {512, 512}, {});
  };
  const auto body = [](const std::string& text) { return text.substr(0, text.find("└")); };
  EXPECT_THAT(body(picture(kEmpty, kPartial)), HasSubstr("░"));
  EXPECT_THAT(body(picture(kEmpty, kFull)), HasSubstr("░"));
  EXPECT_THAT(body(picture(kFull, kPartial)), HasSubstr("▓"));
  EXPECT_THAT(body(picture(kFull, kEmpty)), HasSubstr("▓"));
  EXPECT_THAT(body(picture(kFull, kFull)), Not(HasSubstr("▓")));
  EXPECT_THAT(body(picture(kEmpty, kEmpty)), Not(HasSubstr("░")));
}

// The legend's lines do not shrink any further.
constexpr size_t kLegendWidth = 40;

TEST(PictureTest, NeverWiderThanAskedNorTallerThanHalfThat) {
  for (const int width : {20, 33, 80, 200}) {
    for (const Colours colours : {Colours::kNone, Colours::kPalette, Colours::kTrueColour}) {
      for (const auto& [q, kv] : std::vector<std::pair<int64_t, int64_t>>{
               {1, 1}, {1, 300}, {300, 1}, {3, 5}, {7, 7}, {71, 71}, {2048, 16}, {16, 2048}}) {
        SCOPED_TRACE(testing::Message() << width << ": " << q << " x " << kv);
        const auto lines = Lines(DrawPicture(Grid(q, kv, [](int64_t, int64_t) { return kPartial; }),
                                             {512, 512}, {width, colours}));
        EXPECT_LE(lines.size(), static_cast<size_t>(width / 2) + 5);
        EXPECT_GE(lines.size(), 5u);
        for (const std::string& line : lines) {
          EXPECT_LE(Width(line), std::max(static_cast<size_t>(width), kLegendWidth)) << line;
        }
      }
    }
  }
}

TEST(PictureTest, EqualLengthsLookEqualWhateverTheBlocks) {
  const auto grid = [](int64_t q, int64_t kv) {
    return Grid(q, kv, [](int64_t, int64_t) { return kFull; });
  };
  const auto size = [](const std::string& text) {
    const auto lines = Lines(text);
    return std::pair(lines.size() - 4, Width(lines[2]));
  };
  const auto square = size(DrawPicture(grid(64, 64), {512, 512}, {}));
  EXPECT_EQ(square.first, 32u);
  EXPECT_EQ(size(DrawPicture(grid(16, 64), {2048, 512}, {})), square);
  EXPECT_EQ(size(DrawPicture(grid(256, 64), {128, 512}, {})), square);
  // Twice as long is not twice as many lines, but half as wide.
  const auto tall = size(DrawPicture(grid(128, 64), {512, 512}, {}));
  EXPECT_EQ(tall.first, 32u);
  EXPECT_EQ(square.second - tall.second, 32u);
}

TEST(PictureTest, ColoursHoldTwoRowsInACharacter) {
  const BlockClassGrid grid =
      Grid(32, 32, [](int64_t q, int64_t) { return q % 2 == 0 ? kFull : kEmpty; });
  const std::string text = DrawPicture(grid, {512, 512}, {45, Colours::kTrueColour});
  // Upper cell full, lower cell empty, through the whole line: one colour change, then a reset.
  EXPECT_THAT(text, HasSubstr("┤\x1b[38;2;79;134;247;48;2;38;42;51m▀▀▀"));
  EXPECT_THAT(text, HasSubstr("▀▀\x1b[0m│\n"));
  EXPECT_THAT(text, Not(HasSubstr("·")));
  const std::string palette = DrawPicture(grid, {512, 512}, {45, Colours::kPalette});
  EXPECT_THAT(palette, HasSubstr("┤\x1b[38;5;69;48;5;236m▀▀▀"));
  EXPECT_THAT(palette, HasSubstr("\x1b[38;5;215m██\x1b[0m partial"));
  EXPECT_THAT(palette, Not(HasSubstr(";2;")));
  EXPECT_THAT(DrawPicture(grid, {512, 512}, {45, Colours::kNone}), Not(HasSubstr("\x1b")));
}

TEST(PictureTest, AnOddLastRowHasNoLowerHalf) {
  const BlockClassGrid grid = Grid(3, 31, [](int64_t, int64_t) { return kFull; });
  const std::string text = DrawPicture(grid, {512, 512}, {40, Colours::kTrueColour});
  const auto lines = Lines(text);
  ASSERT_EQ(lines.size(), 2u + 2u + 3u);
  EXPECT_THAT(lines[2], HasSubstr("48;2;79;134;247m"));
  EXPECT_THAT(lines[3], HasSubstr("38;2;79;134;247;49m"));
}

}  // namespace
}  // namespace splashmask
