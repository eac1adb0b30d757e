// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/distances.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <ostream>
#include <string>

#include "splashmask/masks/parse.h"
#include "tests/support/naive_mask.h"

namespace splashmask {

void PrintTo(const Progression& progression, std::ostream* os) {
  *os << "{" << progression.first << ", " << progression.last << ", " << progression.step << "}";
}

namespace {

Distances Of(const std::string& text, int64_t length) {
  return AttendedDistances(ParseMask(text, {length, length}));
}

TEST(DistancesTest, FewProgressions) {
  EXPECT_EQ((Distances{{0, 99, 1}}), Of("causal()", 100));
  EXPECT_EQ((Distances{{-7, 99, 1}}), Of("causal(7)", 100));
  EXPECT_EQ((Distances{{-99, 99, 1}}), Of("full()", 100));
  EXPECT_EQ((Distances{{-3, 9, 1}}), Of("local(9, 3)", 100));
  EXPECT_EQ((Distances{{-5, 7, 1}}), Of("local(9, 3, 2)", 100));
  EXPECT_EQ((Distances{{-96, 96, 8}}), Of("stride(8)", 100));
  EXPECT_EQ((Distances{{0, 0, 1}}), Of("stride(500)", 100));
  EXPECT_EQ((Distances{{0, 9, 1}}), Of("causal() & local(9, none)", 100));
  EXPECT_EQ((Distances{{0, 0, 1}}), Of("stride(8) & local(7, 7)", 100));
  EXPECT_EQ((Distances{{0, 96, 8}}), Of("causal() & stride(8)", 100));
  EXPECT_EQ((Distances{{-90, 90, 15}}), Of("stride(3) & stride(5)", 100));
  EXPECT_EQ((Distances{{0, 99, 1}, {-96, 96, 8}}), Of("causal() | stride(8)", 100));
  EXPECT_EQ((Distances{{0, 9, 1}, {16, 96, 8}}), Of("causal() & (local(9, 0) | stride(8))", 100));
  EXPECT_EQ((Distances{{-99, 99, 3}, {-97, 98, 3}}), Of("~stride(3, 1)", 100));
}

TEST(DistancesTest, EndsOfSixtyFourBits) {
  const std::string low = std::to_string(std::numeric_limits<int64_t>::min());
  const std::string high = std::to_string(std::numeric_limits<int64_t>::max());
  EXPECT_EQ((Distances{{-9, 9, 1}}), Of("causal(" + high + ")", 10));
  EXPECT_EQ((Distances{{-9, 9, 1}}), Of("local(" + high + ", " + high + ")", 10));
  EXPECT_EQ((Distances{{0, 0, 1}}), Of("stride(" + high + ")", 10));
  // Windows far away from every distance.
  EXPECT_EQ((Distances{{-9, 9, 1}}), Of("full() | local(0, 0, " + low + ")", 10));
  EXPECT_EQ((Distances{{-9, 9, 1}}), Of("full() | local(0, 0, " + high + ")", 10));
}

TEST(DistancesTest, UnionIsTheMask) {
  for (const char* text : {"~stride(3, 1)", "stride(2) ^ stride(3, 1)", "causal() - stride(4, 3)",
                           "stride(7) | stride(5)", "~(stride(4, 2) | local(30, 30) - local(3, 9))",
                           "stride(29) ^ stride(31, 4)"}) {
    const Mask mask = ParseMask(text, {60, 60});
    const Distances distances = AttendedDistances(mask);
    for (int64_t distance = -59; distance < 60; ++distance) {
      const bool expected =
          NaiveAt(mask, std::max<int64_t>(distance, 0), std::max<int64_t>(-distance, 0));
      bool found = false;
      for (const Progression& p : distances) found |= p.Meets(distance, distance);
      EXPECT_EQ(expected, found) << text << " at " << distance;
    }
  }
}

TEST(DistancesTest, MeetsAsksForAnyDistanceInBetween) {
  const Progression progression{-8, 16, 8};
  EXPECT_TRUE(progression.Meets(-20, -8));
  EXPECT_FALSE(progression.Meets(-7, -1));
  EXPECT_TRUE(progression.Meets(-7, 0));
  EXPECT_TRUE(progression.Meets(16, 16));
  EXPECT_FALSE(progression.Meets(17, 40));
  EXPECT_FALSE(progression.Meets(-30, -9));
}

}  // namespace
}  // namespace splashmask
