// SPDX-License-Identifier: Apache-2.0
// Tables of coarse blocks made from finer ones, against those that are compiled.

#include "splashmask/planner/compile/coarse_plans.h"
#include "splashmask/planner/compile/plans_of_blocks.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

constexpr int64_t kAnyBytes = int64_t{1} << 40;

CompiledPass Compiled(const MultiHeadMask& mask, Pass pass, BlockShape block, PlanOptions plan) {
  CompileOptions options;
  options.plan = plan;
  options.block(pass) = block;
  return *Compile(mask, options).pass(pass);
}

// All fields, and of partial_mask_blocks its shape.
void ExpectSameTables(const CompiledPass& expected, const CompiledPass& got) {
  EXPECT_EQ(expected.block, got.block);
  EXPECT_EQ(expected.mask_function, got.mask_function);
  EXPECT_TRUE(expected.info.data_next == got.info.data_next);
  EXPECT_TRUE(expected.info.block_mask == got.info.block_mask);
  EXPECT_TRUE(expected.info.mask_next == got.info.mask_next);
  EXPECT_TRUE(expected.info.q_sequence == got.info.q_sequence);
  const auto &bits = expected.info.partial_mask_blocks, &none = got.info.partial_mask_blocks;
  ASSERT_EQ(bits.has_value(), none.has_value());
  if (!bits) return;
  EXPECT_EQ(bits->leading(), none->leading());
  EXPECT_EQ(bits->rows(), none->rows());
  EXPECT_EQ(bits->columns(), none->columns());
  EXPECT_EQ(none->data(), nullptr);
}

TEST(CoarsePlansTest, RandomMasksHaveTheTablesThatAreCompiled) {
  std::mt19937_64 random(1);
  int64_t with_partial_blocks = 0, with_several_masks = 0;
  for (size_t i = 0; i < SampleSize(1500); ++i) {
    const BlockShape finest{Uniform(random, 1, 4), Uniform(random, 1, 5)};
    PlanOptions plan;
    plan.q_seq_shards = Uniform(random, 1, 3);
    const int64_t pieces_q = Uniform(random, 1, 12), pieces_kv = Uniform(random, 1, 12);
    const Shape shape{finest.q * pieces_q * plan.q_seq_shards, finest.kv * pieces_kv};
    const Mask first = RandomMask(random, shape, static_cast<int>(Uniform(random, 0, 3)));
    const Mask second = RandomMask(random, shape, static_cast<int>(Uniform(random, 0, 3)));
    std::vector<Mask> heads(2, first);
    if (Uniform(random, 0, 2) == 0) heads = {first, second, first, second};
    const MultiHeadMask mask(heads);
    plan.head_shards = Uniform(random, 1, 2);
    plan.downcast_smem_data = Uniform(random, 0, 3) > 0;
    plan.shrink_grid = Uniform(random, 0, 3) > 0;
    plan.simplify = Uniform(random, 0, 3) == 0;
    SCOPED_TRACE(::testing::Message() << "case " << i << ": " << ToString(mask));
    CoarsePlans plans(mask, finest, plan, 1);
    for (int64_t q = 1; q <= pieces_q; ++q) {
      for (int64_t kv = 1; kv <= pieces_kv; ++kv) {
        if (pieces_q % q != 0 || pieces_kv % kv != 0 || Uniform(random, 0, 2) == 0) continue;
        const BlockShape block{finest.q * q, finest.kv * kv};
        for (const Pass pass : kAllPasses) {
          const auto found = plans.Find(pass, block, false, kAnyBytes);
          ASSERT_TRUE(found);
          EXPECT_EQ(found->options, plan);
          ExpectSameTables(Compiled(mask, pass, block, plan), *found->pass(pass));
          with_partial_blocks += found->pass(pass)->info.partial_mask_blocks.has_value();
        }
        PlanOptions fused = plan;
        fused.use_fused_bwd_kernel = true;
        const auto found = plans.Find(Pass::kDkv, block, true, kAnyBytes);
        EXPECT_EQ(found->options, fused);
        ExpectSameTables(Compiled(mask, Pass::kDkv, block, fused), *found->dkv);
        with_several_masks += found->dkv->info.block_mask->shape()[0] == 4;
      }
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(with_partial_blocks, 1000 * SampleSize(1500) / 1500);
  EXPECT_GT(with_several_masks, 100 * SampleSize(1500) / 1500);
}

TEST(CoarsePlansTest, TablesThatTakeMoreAreNotMade) {
  const MultiHeadMask mask(std::vector<Mask>(1, Mask::Causal({4096, 4096})));
  CoarsePlans plans(mask, {128, 128}, {});
  // data_next and block_mask of 8 x 8 int8 entries.
  EXPECT_TRUE(plans.Find(Pass::kFwd, {512, 512}, false, 128));
  EXPECT_FALSE(plans.Find(Pass::kFwd, {512, 512}, false, 127));
  EXPECT_FALSE(plans.Find(Pass::kDkv, {128, 128}, false, 2047));
  EXPECT_TRUE(plans.Find(Pass::kDkv, {128, 128}, false, 2048));
}

int64_t TableBytes(const MaskInfo& info) {
  return info.data_next->size_bytes() + info.block_mask->size_bytes() +
         (info.mask_next ? info.mask_next->size_bytes() : 0);
}

// However few blocks are easy to look at, whatever the order of questions.
TEST(CoarsePlansTest, EveryBlockWhoseTablesAreSmallEnoughIsFound) {
  std::mt19937_64 random(2);
  int64_t found_ones = 0, large_ones = 0;
  for (size_t i = 0; i < SampleSize(400); ++i) {
    const BlockShape least{Uniform(random, 1, 3), Uniform(random, 1, 3)};
    UsableOptions options;
    options.plan.q_seq_shards = Uniform(random, 1, 2);
    options.plan.head_shards = Uniform(random, 1, 2);
    options.threads = 1;
    options.easy_blocks = Uniform(random, 1, 40);
    options.most_bytes = Uniform(random, 8, 400);
    constexpr std::array<int64_t, 6> kPieces{1, 6, 8, 12, 15, 30};
    const auto pieces = [&] { return kPieces[static_cast<size_t>(Uniform(random, 0, 5))]; };
    const int64_t pieces_q = pieces(), pieces_kv = pieces();
    const Shape shape{least.q * pieces_q * options.plan.q_seq_shards, least.kv * pieces_kv};
    const int depth = static_cast<int>(Uniform(random, 0, 2));
    std::vector<Mask> heads(2, RandomMask(random, shape, depth));
    if (Uniform(random, 0, 2) == 0) heads[1] = RandomMask(random, shape, depth);
    const MultiHeadMask mask(heads);
    SCOPED_TRACE(::testing::Message() << "case " << i << ": " << ToString(mask));
    const auto plans = PlansOfBlocks(mask, least, options);
    for (int question = 0; question < 30; ++question) {
      const int64_t q = Uniform(random, 1, pieces_q), kv = Uniform(random, 1, pieces_kv);
      if (pieces_q % q != 0 || pieces_kv % kv != 0) continue;
      const BlockShape block{least.q * q, least.kv * kv};
      const Pass pass = Uniform(random, 0, 1) == 0 ? Pass::kFwd : Pass::kDkv;
      PlanOptions plan = options.plan;
      plan.use_fused_bwd_kernel = pass == Pass::kDkv && Uniform(random, 0, 1) == 0;
      const CompiledPass expected = Compiled(mask, pass, block, plan);
      const auto found = plans(pass, block, plan.use_fused_bwd_kernel);
      const bool is_small = TableBytes(expected.info) <= options.most_bytes;
      ASSERT_EQ(found.has_value(), is_small) << block.q << " x " << block.kv;
      (is_small ? found_ones : large_ones) += 1;
      if (found) ExpectSameTables(expected, *found->pass(pass));
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(found_ones, 500 * SampleSize(400) / 400);
  EXPECT_GT(large_ones, 300 * SampleSize(400) / 400);
}

TEST(CoarsePlansTest, OptionsOfTheFusedKernelDoNotCount) {
  const MultiHeadMask mask(std::vector<Mask>(1, Mask::Local({1024, 1024}, 100, 0)));
  PlanOptions fused;
  fused.use_fused_bwd_kernel = true;
  CoarsePlans plans(mask, {128, 128}, fused);
  const auto shrunk = plans.Find(Pass::kDkv, {128, 128}, false, kAnyBytes);
  EXPECT_FALSE(shrunk->options.use_fused_bwd_kernel);
  EXPECT_EQ(shrunk->dkv->info.block_mask->shape()[1], 2);
  EXPECT_EQ(plans.Find(Pass::kDkv, {128, 128}, true, kAnyBytes)->dkv->info.block_mask->shape()[1],
            8);
}

TEST(CoarsePlansTest, BlocksThatDoNotDivide) {
  const MultiHeadMask mask(std::vector<Mask>(1, Mask::Causal({1024, 1024})));
  CoarsePlans plans(mask, {128, 256}, {});
  ExpectError(ErrorCode::kInvalidArgument,
              "[compile] expected block_q (384) to divide q_len (1024): nearest are 256 and 512",
              [&] {
                (void)plans.Find(Pass::kFwd, {384, 256}, false, kAnyBytes);
              });
  ExpectError(ErrorCode::kInvalidArgument,
              "[compile] expected block_kv (128) to be a multiple of the finest (256)", [&] {
                (void)plans.Find(Pass::kFwd, {128, 128}, false, kAnyBytes);
              });
  ExpectError(ErrorCode::kInvalidArgument,
              "[compile] expected block_q (100) to divide q_len (1024): nearest are 64 and 128",
              [&] {
                CoarsePlans(mask, {100, 128}, {});
              });
}

}  // namespace
}  // namespace splashmask
