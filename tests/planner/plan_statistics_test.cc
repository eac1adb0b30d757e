// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/plan_statistics.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"
#include "tests/support/naive_tokamax.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

BlockClass ClassOf(const std::vector<uint8_t>& cells, Shape shape, BlockShape block,
                   int64_t q_block, int64_t kv_block) {
  int64_t set = 0;
  for (int64_t q = q_block * block.q; q < (q_block + 1) * block.q; ++q) {
    for (int64_t kv = kv_block * block.kv; kv < (kv_block + 1) * block.kv; ++kv) {
      set += cells[static_cast<size_t>(q * shape.kv_len + kv)];
    }
  }
  return set == 0                    ? BlockClass::kEmpty
         : set == block.q * block.kv ? BlockClass::kFull
                                     : BlockClass::kPartial;
}

void ExpectError(ErrorCode code, const std::string& text, const std::function<void()>& call) {
  try {
    call();
    FAIL() << "expected an error with: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

Plan LocalPlan(bool shrink) {
  CompileOptions options;
  options.fwd = options.dq = options.dkv = BlockShape{4, 4};
  options.plan.shrink_grid = shrink;
  return NaivePlan(MultiHeadMask(Mask::Local({32, 32}, 5, 0), 2), options);
}

// Whatever the shrinking, the shards and the heads: the classes are those of the mask itself.
TEST(PlanStatisticsTest, LaysOutAndCountsTheBlocksOfTheMask) {
  for (uint64_t seed = 0; seed < SampleSize(300); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const RandomCase random_case = MakeRandomCase(seed);
    const Plan plan = NaivePlan(random_case.mask, random_case.options);
    const Shape shape = plan.mask.shape();
    for (const Pass pass : kAllPasses) {
      if (!plan.pass(pass)) continue;
      const BlockShape block = plan.pass(pass)->block;
      const std::vector<BlockCounts> counts = CountBlocks(plan, pass);
      ASSERT_EQ(static_cast<int64_t>(counts.size()), plan.mask.num_heads());
      for (int64_t head = 0; head < plan.mask.num_heads(); ++head) {
        const auto cells = NaiveCells(plan.mask.masks()[static_cast<size_t>(head)]);
        const BlockClassGrid grid = LayOutBlocks(plan, pass, head);
        ASSERT_EQ(grid.q_blocks, shape.q_len / block.q);
        ASSERT_EQ(grid.kv_blocks, shape.kv_len / block.kv);
        BlockCounts expected;
        for (int64_t q = 0; q < grid.q_blocks; ++q) {
          for (int64_t kv = 0; kv < grid.kv_blocks; ++kv) {
            const BlockClass block_class = ClassOf(cells, shape, block, q, kv);
            ASSERT_EQ(grid.At(q, kv), block_class)
                << PassName(pass) << " head " << head << " block " << q << ", " << kv;
            expected.empty += block_class == BlockClass::kEmpty;
            expected.partial += block_class == BlockClass::kPartial;
            expected.full += block_class == BlockClass::kFull;
          }
        }
        EXPECT_EQ(CountBlocks(grid), expected);
        EXPECT_EQ(counts[static_cast<size_t>(head)], expected) << PassName(pass) << " " << head;
      }
    }
  }
}

TEST(PlanStatisticsTest, DensityIsTheVisitedShare) {
  const BlockCounts counts = CountBlocks(LocalPlan(true), Pass::kFwd)[0];
  EXPECT_EQ(counts.full, 0);
  EXPECT_EQ(counts.partial, 8 + 7 + 6);  // The diagonal and the two beside it that 5 back reaches.
  EXPECT_EQ(counts.empty, 64 - 21);
  EXPECT_DOUBLE_EQ(counts.density(), 21.0 / 64.0);
  EXPECT_EQ(BlockCounts().density(), 0);
}

TEST(PlanStatisticsTest, RefusesWhatThePlanDoesNotHave) {
  Plan plan = LocalPlan(true);
  ExpectError(ErrorCode::kInvalidArgument, "expected a head in 0..1, got 2",
              [&] { LayOutBlocks(plan, Pass::kFwd, 2); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a head in 0..1, got -1",
              [&] { LayOutBlocks(plan, Pass::kFwd, -1); });
  plan.dq.reset();
  ExpectError(ErrorCode::kInvalidArgument,
              "expected a plan with the pass dq, got one with fwd, dkv",
              [&] { CountBlocks(plan, Pass::kDq); });
}

TEST(PlanStatisticsTest, NamesTablesThatContradictThePlan) {
  Plan plan = LocalPlan(false);
  plan.fwd->info.block_mask = plan.fwd->info.block_mask->Clone();
  plan.fwd->info.block_mask->Set(9, 3);
  ExpectError(ErrorCode::kDamaged, "expected 0, 1 or 2 in block_mask, got 3",
              [&] { CountBlocks(plan, Pass::kFwd); });
  ExpectError(ErrorCode::kDamaged, "at [0, 1, 1], got class 3",
              [&] { LayOutBlocks(plan, Pass::kFwd, 0); });

  plan = LocalPlan(true);
  plan.dkv->info.data_next = plan.dkv->info.data_next->Clone();
  plan.dkv->info.data_next->Set(plan.dkv->info.data_next->size() - 1, 99);
  ExpectError(ErrorCode::kDamaged, "a block of 0..7 at [0, 2, 7], got class 1 and block 99",
              [&] { LayOutBlocks(plan, Pass::kDkv, 1); });

  plan = LocalPlan(true);
  plan.fwd->info.data_next.reset();
  ExpectError(ErrorCode::kDamaged, "expected block_mask and data_next",
              [&] { CountBlocks(plan, Pass::kFwd); });

  plan = LocalPlan(true);
  plan.fwd->info.data_next = Table(DType::kInt8, {1, 8, 2});
  ExpectError(ErrorCode::kDamaged, "data_next [1, 8, 2]", [&] { CountBlocks(plan, Pass::kFwd); });

  plan = LocalPlan(true);
  plan.fwd->block.q = 5;
  ExpectError(ErrorCode::kDamaged, "expected blocks that divide 32 x 32, got 5 x 4",
              [&] { CountBlocks(plan, Pass::kFwd); });
}

Plan TokamaxPlan(const Mask& mask, bool dynamic_grid) {
  Plan plan{MultiHeadMask(mask, 2), {}, {}, {}, {}};
  TokamaxOptions options;
  options.block = {2, 3};
  options.q_seq_shards = 2;
  options.return_dynamic_grid = dynamic_grid;
  plan.tokamax_fwd = NaiveTokamax(mask, options);
  options.is_dkv = true;
  options.kv_seq_shards = 4;
  plan.tokamax_dkv = NaiveTokamax(mask, options);
  return plan;
}

TEST(PlanStatisticsTest, LaysOutTheListsOfTokamax) {
  const Shape shape{12, 24};
  std::mt19937_64 random(3);
  for (uint64_t i = 0; i < SampleSize(300); ++i) {
    const Mask mask = i == 0 ? Mask::Full(shape) : RandomMask(random, shape, 2);
    const std::vector<uint8_t> cells = NaiveCells(mask);
    const Plan plan = TokamaxPlan(mask, i % 2 == 0);
    for (const Pass pass : kTokamaxPasses) {
      const PassGrid shown = LayOutBlocks(plan, "tokamax/" + std::string(PassName(pass)), 1);
      EXPECT_EQ((BlockShape{2, 3}), shown.block);
      ASSERT_EQ(6, shown.grid.q_blocks);
      ASSERT_EQ(8, shown.grid.kv_blocks);
      for (int64_t q = 0; q < 6; ++q) {
        for (int64_t kv = 0; kv < 8; ++kv) {
          ASSERT_EQ(ClassOf(cells, shape, {2, 3}, q, kv), shown.grid.At(q, kv)) << q << ", " << kv;
        }
      }
    }
  }
}

TEST(PlanStatisticsTest, RefusesTokamaxListsThatContradictThePlan) {
  const Mask mask = Mask::Causal({12, 24});
  const auto expect = [&](ErrorCode code, const std::string& text, bool dynamic_grid,
                          const std::function<void(TokamaxPass&)>& change) {
    Plan plan = TokamaxPlan(mask, dynamic_grid);
    change(*plan.tokamax_fwd);
    ExpectError(code, text, [&] { LayOutTokamaxBlocks(plan, Pass::kFwd); });
  };
  const auto changed = [](const std::optional<Array>& list, int32_t value) {
    std::vector<int64_t> values = list->ToInt64();
    values[1] = value;
    return Array::FromVector(values);
  };
  const auto damaged = [&](const std::string& text, bool dynamic_grid,
                           const std::function<void(TokamaxPass&)>& change) {
    expect(ErrorCode::kDamaged, "fwd: expected " + text + " in tokamax's lists", dynamic_grid,
           change);
  };
  damaged("shards and blocks that divide the mask", true,
          [](TokamaxPass& pass) { pass.options.q_seq_shards = 5; });
  damaged("shards and blocks that divide the mask", true,
          [](TokamaxPass& pass) { pass.options.block.kv = 0; });
  damaged("an entry for every visit", false, [](TokamaxPass& pass) {
    pass.info.block_mask = Array::FromVector(std::vector{0, 0});
  });
  damaged("an entry for every visit", true,
          [](TokamaxPass& pass) { pass.info.active_cols = Array::FromVector(std::vector{0}); });
  damaged("no other list without block_mask", true,
          [](TokamaxPass& pass) { pass.info.block_mask.reset(); });
  damaged("as many visits as num_active_blocks says", true, [&](TokamaxPass& pass) {
    pass.info.num_active_blocks = changed(pass.info.num_active_blocks, 99);
  });
  damaged("each block once", true, [&](TokamaxPass& pass) {
    pass.info.active_cols = changed(pass.info.active_cols, 0);
    pass.info.active_rows = changed(pass.info.active_rows, 0);
  });
  damaged("a class of -1..2", true,
          [&](TokamaxPass& pass) { pass.info.block_mask = changed(pass.info.block_mask, 3); });
  for (int32_t block : {-1, 8}) {
    damaged("blocks of the shard", true, [&](TokamaxPass& pass) {
      pass.info.active_cols = changed(pass.info.active_cols, block);
    });
    damaged("blocks of the shard", true, [&](TokamaxPass& pass) {
      pass.info.active_rows = changed(pass.info.active_rows, block);
    });
  }
}

// As small files can claim it.
TEST(PlanStatisticsTest, RefusesMoreBlocksThanThereCanBe) {
  const int64_t length = int64_t{1} << 32;
  Plan plan{MultiHeadMask(Mask::Full({length, length}), 1), {}, {}, {}, {}};
  plan.tokamax_fwd.emplace().options.block = {1, 1};
  const std::string beyond = "expected blocks that 64 bits count, got 4294967296 x 4294967296";
  ExpectError(ErrorCode::kTooLarge, beyond, [&] { LayOutTokamaxBlocks(plan, Pass::kFwd); });
  ExpectError(ErrorCode::kTooLarge, beyond, [&] { CountTokamaxBlocks(plan, Pass::kFwd); });
  plan.tokamax_fwd->options.block = {1, 1 << 10};
  EXPECT_EQ(int64_t{1} << 54, CountTokamaxBlocks(plan, Pass::kFwd).full);
  ExpectError(ErrorCode::kTooLarge, "expected a grid of blocks that fits in memory",
              [&] { LayOutTokamaxBlocks(plan, Pass::kFwd); });
  plan.fwd.emplace().block = {1, 1};
  plan.mask = MultiHeadMask(Mask::Full({4, int64_t{1} << 62}), 1);
  Table table(DType::kInt8, {1, 4, 1});
  for (int64_t i = 0; i < 4; ++i) table.Set(i, 0);
  plan.fwd->info.block_mask = plan.fwd->info.data_next = table;
  const std::string also = "expected blocks that 64 bits count, got 4 x 4611686018427387904";
  ExpectError(ErrorCode::kTooLarge, also, [&] { CountBlocks(plan, Pass::kFwd); });
  ExpectError(ErrorCode::kTooLarge, also, [&] { LayOutBlocks(plan, Pass::kFwd, 0); });
}

TEST(PlanStatisticsTest, NamesOfPasses) {
  const Plan jax = LocalPlan(true), tokamax = TokamaxPlan(Mask::Causal({12, 24}), true);
  EXPECT_EQ((std::vector<std::string>{"fwd", "dq", "dkv"}), PassPaths(jax));
  ExpectError(ErrorCode::kInvalidArgument, "the pass tokamax/fwd, got one with fwd, dq, dkv",
              [&] { LayOutBlocks(jax, "tokamax/fwd", 0); });
  ExpectError(ErrorCode::kInvalidArgument, "the pass fwd, got one with tokamax/fwd, tokamax/dkv",
              [&] { LayOutBlocks(tokamax, "fwd", 0); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a head in 0..1, got 2",
              [&] { LayOutBlocks(tokamax, "tokamax/dkv", 2); });
  for (const char* name : {"", "tokamax/dq", "dkvs"}) {
    ExpectError(ErrorCode::kInvalidArgument,
                "expected a pass fwd, dq, dkv, tokamax/fwd or tokamax/dkv, got ",
                [&] { LayOutBlocks(jax, name, 0); });
  }
  const PassGrid shown = LayOutBlocks(jax, "dkv", 1);
  EXPECT_EQ(jax.dkv->block, shown.block);
  EXPECT_EQ(LayOutBlocks(jax, Pass::kDkv, 1).classes, shown.grid.classes);
}

}  // namespace
}  // namespace splashmask
