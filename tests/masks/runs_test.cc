// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/runs.h"

#include <gtest/gtest.h>

namespace splashmask {
namespace {

constexpr int kBits = 6;

Runs RunsOf(unsigned bits) {
  Runs runs;
  for (int i = 0; i < kBits; ++i) {
    if ((bits >> i) % 2 == 0) continue;
    if (!runs.empty() && runs.back().end == i) {
      runs.back().end = i + 1;
    } else {
      runs.push_back({i, i + 1});
    }
  }
  return runs;
}

TEST(RunsTest, EveryPairOfSixBitRowsCombines) {
  Runs out;
  for (unsigned a = 0; a < 1u << kBits; ++a) {
    ComplementRuns(RunsOf(a), {0, kBits}, &out);
    EXPECT_EQ(RunsOf(~a), out);
    for (unsigned b = 0; b < 1u << kBits; ++b) {
      CombineRuns(
          RunsOf(a), RunsOf(b), [](bool x, bool y) { return x && y; }, &out);
      EXPECT_EQ(RunsOf(a & b), out);
      CombineRuns(
          RunsOf(a), RunsOf(b), [](bool x, bool y) { return x || y; }, &out);
      EXPECT_EQ(RunsOf(a | b), out);
      CombineRuns(
          RunsOf(a), RunsOf(b), [](bool x, bool y) { return x != y; }, &out);
      EXPECT_EQ(RunsOf(a ^ b), out);
      CombineRuns(
          RunsOf(a), RunsOf(b), [](bool x, bool y) { return x && !y; }, &out);
      EXPECT_EQ(RunsOf(a & ~b), out);
    }
  }
}

}  // namespace
}  // namespace splashmask
