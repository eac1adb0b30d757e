// SPDX-License-Identifier: Apache-2.0
// Whether dq and dkv tables say the same, in blocks of one shape or of two.

#include "splashmask/kernels/fast/same_pairs.h"

#include <gtest/gtest.h>

#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask {
namespace {

Plan CompileBoth(const MultiHeadMask& mask, BlockShape dq, BlockShape dkv, bool simplify = false) {
  CompileOptions options;
  options.dq = dq;
  options.dkv = dkv;
  options.plan.simplify = simplify;
  return Compile(mask, options);
}

const Shape kShape{96, 192};
const std::vector<BlockShape> kBlocks{{8, 8}, {32, 48}, {48, 64}, {96, 192}, {16, 24}};

std::vector<Mask> Masks() {
  const Mask causal = Mask::Causal(kShape, 70);
  return {Mask::Full(kShape),
          Mask::Empty(kShape),
          causal,
          causal & Mask::Local(kShape, 20, 90),
          Mask::Stride(kShape, 3) | Mask::Prefix(kShape, 17),
          Mask::Documents(kShape, {10, 40, 30}),
          causal.Reorder(Positions::Zigzag(3))};
}

TEST(SamePairsTest, TablesOfOneMaskInBlocksOfTwoShapes) {
  for (const Mask& mask : Masks()) {
    for (const BlockShape dq : kBlocks) {
      for (const BlockShape dkv : kBlocks) {
        for (const bool simplify : {false, true}) {
          SCOPED_TRACE(ToString(mask));
          EXPECT_TRUE(fast::DqAndDkvSeeTheSame(CompileBoth(
              MultiHeadMask({mask, Mask::Causal(kShape), mask, mask}), dq, dkv, simplify)));
        }
      }
    }
  }
}

TEST(SamePairsTest, TablesOfTwoMasks) {
  const std::vector<Mask> masks = Masks();
  for (size_t i = 0; i < masks.size(); ++i) {
    for (size_t j = 0; j < masks.size(); ++j) {
      for (const BlockShape block_dkv : {BlockShape{32, 48}, BlockShape{48, 64}}) {
        for (const bool simplify : {false, true}) {
          const Mask first = Mask::Causal(kShape);
          Plan plan = CompileBoth(MultiHeadMask({first, masks[i]}), {32, 48}, block_dkv, simplify);
          plan.dkv =
              CompileBoth(MultiHeadMask({first, masks[j]}), {32, 48}, block_dkv, simplify).dkv;
          EXPECT_EQ(i == j, fast::DqAndDkvSeeTheSame(plan))
              << ToString(masks[i]) << " and " << ToString(masks[j]);
        }
      }
    }
  }
}

TEST(SamePairsTest, EveryEntryAndBitCounts) {
  for (const BlockShape block_dkv : {BlockShape{32, 48}, BlockShape{16, 64}}) {
    const Mask mask = Mask::Stride(kShape, 3) & Mask::Causal(kShape, 70);
    const Plan plan = CompileBoth(MultiHeadMask({mask, Mask::Full(kShape)}), {32, 48}, block_dkv);
    ASSERT_TRUE(fast::DqAndDkvSeeTheSame(plan));
    int64_t altered = 0;
    for (const Pass pass : {Pass::kDq, Pass::kDkv}) {
      for (int64_t i = 0; i < plan.pass(pass)->info.block_mask->size(); ++i) {
        const int32_t now = plan.pass(pass)->info.block_mask->At(i);
        if (now == 0) continue;
        Plan other = plan;
        MaskInfo& info = (pass == Pass::kDq ? other.dq : other.dkv)->info;
        info.block_mask = info.block_mask->Clone();
        info.block_mask->Set(i, now == 2 ? 0 : 2);
        EXPECT_FALSE(fast::DqAndDkvSeeTheSame(other)) << PassName(pass) << " entry " << i;
        ++altered;
      }
      const PartialMaskBlocks& blocks = *plan.pass(pass)->info.partial_mask_blocks;
      for (int64_t id = 0; id < blocks.count(); ++id) {
        for (int64_t row = 0; row < blocks.rows(); ++row) {
          for (int64_t column = 0; column < blocks.columns(); column += 5) {
            Plan other = plan;
            MaskInfo& info = (pass == Pass::kDq ? other.dq : other.dkv)->info;
            info.partial_mask_blocks = info.partial_mask_blocks->Clone();
            info.partial_mask_blocks->Flip(id, row, column);
            ASSERT_FALSE(fast::DqAndDkvSeeTheSame(other)) << PassName(pass) << " block " << id;
            ++altered;
          }
        }
      }
    }
    EXPECT_GT(altered, 500);
  }
}

TEST(SamePairsTest, BlocksThatEndWithinAByteAreNotLookedAt) {
  const Shape shape{60, 60};
  const MultiHeadMask mask(Mask::Causal(shape) & Mask::Stride(shape, 2), 1);
  EXPECT_TRUE(fast::DqAndDkvSeeTheSame(CompileBoth(mask, {15, 20}, {15, 20})));
  EXPECT_FALSE(fast::DqAndDkvSeeTheSame(CompileBoth(mask, {15, 20}, {30, 20})));
}

}  // namespace
}  // namespace splashmask
