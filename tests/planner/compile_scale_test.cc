// SPDX-License-Identifier: Apache-2.0
// No analytic mask, nor any composition of them, makes the compiler look at S x S cells.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

constexpr int64_t kLength = int64_t{1} << 20;

Mask AnalyticLeaf(std::mt19937_64& random, Shape shape) {
  const int64_t length = shape.q_len;
  switch (random() % 9) {
    case 0:
      return Mask::Causal(shape, Uniform(random, -length / 4, length / 4));
    case 1:
      return Mask::Local(shape, Uniform(random, 0, length / 8), Uniform(random, 0, 4096));
    case 2:
      return Mask::ChunkedCausal(shape, Uniform(random, 1000, length));
    case 3:
      return Mask::Prefix(shape, Uniform(random, 0, length));
    case 4:
      return Mask::QRange(shape, Uniform(random, 0, length / 2), Uniform(random, 0, length));
    case 5:
      return Mask::KvRange(shape, Uniform(random, 0, length / 2), Uniform(random, 0, length));
    case 6: {
      // Powers of two, as dilated attention has: their keys repeat along every diagonal.
      const int64_t step = int64_t{1} << Uniform(random, 1, 12);
      return Mask::Stride(shape, step, Uniform(random, 0, step - 1));
    }
    case 7: {
      std::vector<int64_t> lengths;
      for (int64_t left = length; left > 0; left -= lengths.back()) {
        lengths.push_back(std::min(left, Uniform(random, 2000, 60000)));
      }
      return Mask::Documents(shape, lengths);
    }
    default:
      return Mask::Causal(shape);
  }
}

Mask Composition(std::mt19937_64& random, Shape shape, int leaves) {
  Mask mask = AnalyticLeaf(random, shape);
  for (int i = 1; i < leaves; ++i) {
    const Mask other = AnalyticLeaf(random, shape);
    switch (random() % 5) {
      case 0:
        mask = mask & other;
        break;
      case 1:
        mask = mask | other;
        break;
      case 2:
        mask = mask ^ other;
        break;
      case 3:
        mask = mask - other;
        break;
      default:
        mask = ~mask | other;
        break;
    }
  }
  if (random() % 6 == 0)
    mask = mask.Reorder(Positions::Zigzag(int64_t{1} << Uniform(random, 1, 6)));
  return mask;
}

CompileStats StatsOf(uint64_t seed, int64_t length, std::string* text) {
  std::mt19937_64 random(seed);
  const Mask mask = Composition(random, {length, length}, static_cast<int>(Uniform(random, 2, 4)));
  *text = ToString(mask).substr(0, 300);
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{512, 512};
  CompileStats stats;
  Compile(MultiHeadMask(mask, 1), options, &stats);
  return stats;
}

TEST(CompileScaleTest, TwoHundredCompositionsAtAMillionPositionsStayLinear) {
  // Documents cut blocks along the diagonal, a handful a block row; everything else repeats. Each
  // drawn block has 512 x 512 cells, so c drawn blocks a block row are 512 c cells a position.
  constexpr int64_t kBlocks = kLength / 512;
  constexpr int64_t kDrawnABlockRow = 16;
  int64_t most_drawn = 0, most_rectangles = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::string text;
    const CompileStats stats = StatsOf(seed, kLength, &text);
    ASSERT_LE(stats.cells, kDrawnABlockRow * kBlocks * 512 * 512) << seed << ": " << text;
    ASSERT_EQ(stats.cells, stats.blocks_drawn * 512 * 512);
    ASSERT_LE(stats.runs, 8 * kLength) << seed << ": " << text;
    // At worst two rectangles for each block of the answer, which has that many entries, and those
    // of eight blocks or more are asked twice.
    ASSERT_LE(stats.rectangles, (2 * 8 + 2) * kBlocks * kBlocks / 8) << seed << ": " << text;
    most_drawn = std::max(most_drawn, stats.blocks_drawn);
    most_rectangles = std::max(most_rectangles, stats.rectangles);
  }
  RecordProperty("most_blocks_drawn", std::to_string(most_drawn));
  RecordProperty("most_rectangles", std::to_string(most_rectangles));
  EXPECT_GT(most_drawn, 0);
}

// Twice the length, at most about twice the cells: measured on masks whose blocks all differ.
TEST(CompileScaleTest, CellsGrowWithTheLengthNotItsSquare) {
  const auto cells = [](int64_t length) {
    std::mt19937_64 random(11);
    std::vector<int64_t> lengths;
    for (int64_t left = length; left > 0; left -= lengths.back()) {
      lengths.push_back(std::min(left, Uniform(random, 300, 3000)));
    }
    const Shape shape{length, length};
    const Mask mask = Mask::Causal(shape) & Mask::Documents(shape, lengths);
    CompileOptions options;
    options.fwd = BlockShape{512, 512};
    CompileStats stats;
    Compile(MultiHeadMask(mask, 1), options, &stats);
    return stats.cells + stats.rectangles + stats.runs;
  };
  const int64_t quarter = cells(kLength / 8), half = cells(kLength / 4);
  EXPECT_LT(half, quarter * 22 / 10);
  EXPECT_GT(half, quarter);
}

}  // namespace
}  // namespace splashmask
