// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/multi_head_mask.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

TEST(MultiHeadMaskTest, HoldsOneMaskAHead) {
  const Mask causal = Mask::Causal({4, 6});
  const MultiHeadMask mask(causal, 3);
  EXPECT_EQ(3, mask.num_heads());
  EXPECT_EQ((Shape{4, 6}), mask.shape());
  EXPECT_EQ(mask, MultiHeadMask({causal, causal, causal}));
  EXPECT_EQ(mask.Hash(), MultiHeadMask({causal, Mask::Causal({4, 6}), causal}).Hash());
  EXPECT_FALSE(mask == MultiHeadMask({causal, causal}));
}

TEST(MultiHeadMaskTest, RefusesNoHeadsTooManyAndMixedShapes) {
  const Mask causal = Mask::Causal({4, 6});
  ExpectError(ErrorCode::kInvalidArgument, "[mask] expected 1 to 1048576 heads, got 0",
              [] { MultiHeadMask(std::vector<Mask>{}); });
  ExpectError(ErrorCode::kInvalidArgument, "[mask] expected 1 to 1048576 heads, got -1",
              [&] { MultiHeadMask(causal, -1); });
  ExpectError(ErrorCode::kInvalidArgument, "[mask] expected 1 to 1048576 heads, got 1048577",
              [&] { MultiHeadMask(causal, kMaxHeads + 1); });
  ExpectError(ErrorCode::kInvalidArgument,
              "[mask] expected every head to have shape (4, 6), got (4, 7) at head 1", [&] {
                MultiHeadMask({causal, Mask::Causal({4, 7})});
              });
}

}  // namespace
}  // namespace splashmask
