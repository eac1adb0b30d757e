// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/position_segments.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

// Long steady stretches, with odd positions inside and between them.
std::vector<int64_t> RandomPositions(std::mt19937_64& random) {
  std::vector<int64_t> positions;
  const auto pieces = 1 + random() % 4;
  for (uint64_t piece = 0; piece < pieces; ++piece) {
    // Some steps lead around all 64-bit integers.
    const uint64_t step = random() % 5 == 0 ? (random() % 16) << 60 : random() % 5 - 2;
    uint64_t position = random() % 2000 - 1000;
    for (uint64_t i = 0, count = 1 + random() % 300; i < count; ++i, position += step) {
      positions.push_back(static_cast<int64_t>(position));
    }
  }
  for (uint64_t odd = random() % 4; odd > 0; --odd) {
    const auto at = positions.begin() + static_cast<int64_t>(random() % positions.size());
    *at = random() % 3 == 0 ? int64_t{1} << 62 : *at / 2;
  }
  return positions;
}

TEST(PositionSegmentsTest, HoldEveryPosition) {
  for (uint64_t seed = 0; seed < SampleSize(2000); ++seed) {
    std::mt19937_64 random(seed);
    const std::vector<int64_t> positions = RandomPositions(random);
    const auto size = std::ssize(positions);
    const PositionSegments segments(Array::FromVector(positions));
    ASSERT_EQ(size, segments.size());
    int64_t count = 0;
    for (int64_t i = 0; i < size;) {
      const Rows part = segments.Part(i, size - 1);
      ASSERT_GE(part.count, 1) << "seed " << seed;
      ++count;
      for (int64_t k = 0; k < part.count; ++k, ++i) {
        ASSERT_LT(i, size) << "seed " << seed;
        ASSERT_EQ(positions[i], part.first + k * part.step) << "seed " << seed << " at " << i;
        ASSERT_EQ(positions[i], segments[i]) << "seed " << seed << " at " << i;
      }
    }
    EXPECT_EQ(count, segments.CountIn(0, size - 1)) << "seed " << seed;
    for (int k = 0; k < 20; ++k) {
      const auto first = static_cast<int64_t>(random() % static_cast<uint64_t>(size));
      const auto last =
          first + static_cast<int64_t>(random() % static_cast<uint64_t>(size - first));
      const auto [least, greatest] =
          std::minmax_element(positions.begin() + first, positions.begin() + last + 1);
      const auto bounds = segments.Bounds(first, last);
      EXPECT_EQ(*least, bounds.min) << "seed " << seed << ": " << first << " to " << last;
      EXPECT_EQ(*greatest, bounds.max) << "seed " << seed << ": " << first << " to " << last;
    }
  }
}

TEST(PositionSegmentsTest, SteadyPositionsAreFewSegments) {
  std::vector<int64_t> positions(1000);
  for (int64_t i = 0; i < 1000; ++i) positions[i] = i < 600 ? 3 * i : 5000 - i;
  const PositionSegments segments(Array::FromVector(positions));
  EXPECT_EQ(2, segments.CountIn(0, 999));
  EXPECT_EQ(600, segments.Part(0, 999).count);
  EXPECT_EQ(-1, segments.Part(600, 999).step);
}

}  // namespace
}  // namespace splashmask
