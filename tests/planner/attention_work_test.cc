// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/attention_work.h"

#include <gtest/gtest.h>

#include <limits>

#include "splashmask/masks/error.h"

namespace splashmask {
namespace {

constexpr AttentionShape kShape{96, 8, 128, 128, 512};

// One token that sees 32 positions, node by node: kq and kqv multiply 32 * 96 * 128 times each and
// read 32 * 128 * 8 numbers of two bytes; the softmax of 32 * 96 logits takes three
// multiplications, three additions and one exponential each.
TEST(AttentionWorkTest, CountsAsListingsDo) {
  EXPECT_EQ(AttentionWork(kShape, 32 * 96, 32 * 8),
            (Work{393'216 + 9'216 + 393'216, 9'216, 3'072, 2 * 65'536}));
  EXPECT_EQ(AttentionWork(kShape, 0, 0), Work());
}

TEST(AttentionWorkTest, AddsAndMultiplies) {
  const Work a{1, 2, 3, 4}, b{10, 20, 30, 40};
  EXPECT_EQ(a + b, (Work{11, 22, 33, 44}));
  EXPECT_EQ(a * 3, (Work{3, 6, 9, 12}));
}

TEST(AttentionWorkTest, RefusesWhatLeaves64Bits) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const auto refused = [](const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "[plan] expected work within 64 bits, got more");
      return error.code() == ErrorCode::kTooLarge;
    }
    return false;
  };
  EXPECT_TRUE(refused([&] { AttentionWork(kShape, kMost / 100, 0); }));
  EXPECT_TRUE(refused([&] { AttentionWork(kShape, 0, kMost / 100); }));
  EXPECT_TRUE(refused([&] { return Work{0, 0, 0, kMost} + Work{0, 0, 0, 1}; }));
  EXPECT_TRUE(refused([&] { return Work{kMost, 0, 0, 0} * 2; }));
}

}  // namespace
}  // namespace splashmask
