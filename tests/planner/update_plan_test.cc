// SPDX-License-Identifier: Apache-2.0
// Plans brought up to date equal plans compiled anew, and block rows that nothing changed are not
// compiled again.

#include "splashmask/planner/compile/update_plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/changed_rows.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/tokamax.h"
#include "tests/planner/plans.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

// Updates a plan of `before`; returns how many block rows that compiled.
int64_t Update(const MultiHeadMask& before, const MultiHeadMask& now,
               const CompileOptions& options) {
  SCOPED_TRACE(ToString(before) + " -> " + ToString(now));
  const PlanUpdate update = UpdatePlan(Compile(before, options), now);
  ExpectSamePasses(NaivePlan(now, options), update.plan);
  EXPECT_EQ(update.plan.mask.masks(), now.masks());
  EXPECT_EQ(update.plan.options, options.plan);
  EXPECT_LE(update.compiled, update.block_rows);
  return update.compiled;
}

Array Ids(std::vector<int64_t> ids) { return Array::FromVector(ids); }

constexpr Shape kShape{64, 64};
constexpr BlockShape kBlock{8, 8};

int64_t UpdateOne(const Mask& before, const Mask& now) {
  return Update(MultiHeadMask(before, 1), MultiHeadMask(now, 1), AllPasses(kBlock));
}

TEST(UpdatePlanTest, AppendedDocumentsCompileTheirBlockRows) {
  const auto packed = [](std::vector<int64_t> lengths) {
    return Mask::Causal(kShape) & Mask::Documents(kShape, std::move(lengths));
  };
  EXPECT_EQ(0, UpdateOne(packed({20, 12}), packed({20, 12})));
  EXPECT_EQ(0, UpdateOne(packed({20, 12}), packed({20, 0, 12, 0})));
  EXPECT_EQ(1, UpdateOne(packed({20, 12}), packed({20, 12, 5})));      // Rows 32 to 36.
  EXPECT_EQ(4, UpdateOne(packed({20, 12}), packed({20, 12, 5, 27})));  // Rows 32 to 63.
  EXPECT_EQ(2, UpdateOne(packed({20, 12, 9}), packed({20, 12})));      // Rows 32 to 40.
  EXPECT_EQ(5, UpdateOne(packed({20, 20, 9}), packed({24, 16, 9})));   // Rows 0 to 39.
  EXPECT_EQ(8, UpdateOne(packed({20, 12}), Mask::Causal(kShape)));
}

TEST(UpdatePlanTest, BlocksThatAreAllTheSameShareMemory) {
  const auto blocks = [](const Plan& plan, Pass pass) {
    return plan.pass(pass)->info.partial_mask_blocks->owner();
  };
  const auto documents = [](std::vector<int64_t> lengths) {
    return MultiHeadMask(Mask::Causal(kShape) & Mask::Documents(kShape, std::move(lengths)), 1);
  };
  const Plan before = Compile(documents({20, 12}), AllPasses(kBlock));
  const Plan same = UpdatePlan(before, documents({20, 12})).plan;
  const Plan other = UpdatePlan(before, documents({20, 12, 5})).plan;
  for (const Pass pass : kAllPasses) {
    EXPECT_EQ(blocks(before, pass), blocks(same, pass)) << PassName(pass);
    EXPECT_NE(blocks(before, pass), blocks(other, pass)) << PassName(pass);
  }
}

// A damaged plan that somebody loaded all the same.
TEST(UpdatePlanTest, NumbersWithoutBlocksAreNotBelieved) {
  const MultiHeadMask mask(Mask::Causal(kShape) & Mask::Documents(kShape, {20, 12, 25}), 1);
  const Plan compiled = Compile(mask, AllPasses(kBlock));
  for (const Pass pass : kAllPasses) {
    for (const int32_t number : {-2, -1, 6, 100}) {
      Plan before = Compile(mask, AllPasses(kBlock));
      MaskInfo& info = before.pass(pass)->info;
      ASSERT_EQ(info.partial_mask_blocks->count(), 6);
      int64_t entry = info.block_mask->size() - 1;
      while (info.block_mask->At(entry) != static_cast<int32_t>(BlockClass::kPartial)) --entry;
      info.mask_next->Set(entry, number);
      // The tables of a pass serve for all passes that have its block shape.
      if (pass != Pass::kFwd) before.fwd.reset();
      if (pass == Pass::kDkv) before.dq.reset();
      const PlanUpdate update = UpdatePlan(before, mask);
      EXPECT_GT(update.compiled, 0) << PassName(pass) << " with " << number;
      for (const Pass again : kAllPasses) {
        if (!before.pass(again)) continue;
        EXPECT_EQ(update.plan.pass(again), compiled.pass(again)) << PassName(again);
      }
    }
  }
}

TEST(UpdatePlanTest, IdsAndCellsThatChangeCompileTheirRows) {
  std::vector<int64_t> q(64), kv(64);
  for (int64_t i = 0; i < 64; ++i) q[i] = kv[i] = i / 10;
  std::vector<int64_t> other_q = q, other_kv = kv;
  other_q[17] = 50;
  EXPECT_EQ(1, UpdateOne(Mask::Segments(kShape, Ids(q), Ids(kv)),
                         Mask::Segments(kShape, Ids(other_q), Ids(kv))));
  other_kv[35] = 6;  // Rows of id 3, 30 to 39, and of id 6, 60 to 63.
  EXPECT_EQ(3, UpdateOne(Mask::Segments(kShape, Ids(q), Ids(kv)),
                         Mask::Segments(kShape, Ids(q), Ids(other_kv))));
  EXPECT_EQ(8, UpdateOne(Mask::Segments(kShape, Ids(q), Ids(kv)),
                         Mask::Segments(kShape, Ids(q), Ids(kv), 2)));

  const auto bools = [](int64_t n, int64_t flipped) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(n * n));
    for (size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = i * i % 11 < 4;
    if (flipped >= 0) (*bytes)[static_cast<size_t>(flipped)] ^= 1;
    return Array(DType::kBool, {n, n}, std::shared_ptr<const void>(bytes, bytes->data()));
  };
  EXPECT_EQ(1, UpdateOne(Mask::Dense(kShape, bools(64, -1)), Mask::Dense(kShape, bools(64, 1000))));
  EXPECT_EQ(3, UpdateOne(Mask::Blocks(kShape, bools(5, -1), 13),  // Rows 13 to 25.
                         Mask::Blocks(kShape, bools(5, 7), 13)));
  EXPECT_EQ(
      8, UpdateOne(Mask::Blocks(kShape, bools(5, -1), 13), Mask::Blocks(kShape, bools(4, -1), 16)));
}

TEST(UpdatePlanTest, LongerSequencesCompileTheNewRows) {
  const Shape longer{96, 96};
  const auto grow = [&](const std::function<Mask(Shape)>& make) {
    return UpdateOne(make(kShape), make(longer));
  };
  EXPECT_EQ(4, grow([](Shape s) { return Mask::Causal(s) - Mask::Stride(s, 3); }));
  EXPECT_EQ(4, grow([](Shape s) { return Mask::Full(s) ^ Mask::Local(s, 9, 30); }));
  EXPECT_EQ(4, grow([](Shape s) { return Mask::Where(s, "q % 7 == kv % 5"); }));
  EXPECT_EQ(12, grow([](Shape s) { return Mask::Where(s, "q_len - q > kv"); }));
  EXPECT_EQ(4, grow([](Shape s) { return Mask::Documents(s, {7, 30, 20}) | Mask::Prefix(s, 3); }));
  // Shorter ones, too.
  EXPECT_EQ(0, UpdateOne(~Mask::Stride(longer, 5), ~Mask::Stride(kShape, 5)));
  // The kernel computes these: there is nothing to draw, but there are tables.
  EXPECT_EQ(4, grow([](Shape s) { return Mask::Local(s, 20, 0); }));
}

TEST(UpdatePlanTest, OrdersCompileTheRowsThatMove) {
  std::vector<int64_t> order(64), moved;
  for (int64_t i = 0; i < 64; ++i) order[i] = (i + 24) % 64;
  moved = order;
  std::swap(moved[3], moved[60]);
  const auto reorder = [](const Mask& mask, const std::vector<int64_t>& q) {
    return mask.Reorder(Positions::FromArray(Ids(q)));
  };
  const Mask mask = Mask::Causal(kShape) & Mask::Documents(kShape, {20, 30});
  EXPECT_EQ(0, UpdateOne(reorder(mask, order), reorder(mask, order)));
  EXPECT_EQ(2, UpdateOne(reorder(mask, order), reorder(mask, moved)));
  // Rows 50 and on come at index 26, 40 and on at 16.
  const Mask appended = Mask::Causal(kShape) & Mask::Documents(kShape, {20, 30, 6});
  EXPECT_EQ(1, UpdateOne(reorder(mask, order), reorder(appended, order)));
  const auto columns = [](const Mask& of, const std::vector<int64_t>& kv) {
    return of.Reorder(std::nullopt, Positions::FromArray(Ids(kv)));
  };
  EXPECT_EQ(0, UpdateOne(columns(mask, order), columns(mask, order)));
  EXPECT_EQ(8, UpdateOne(columns(mask, order), columns(mask, moved)));
}

TEST(UpdatePlanTest, EveryPassAloneAndOptionsOfAllKinds) {
  const Mask a = Mask::Causal(kShape) & Mask::Documents(kShape, {20, 12, 13});
  const Mask b = Mask::Causal(kShape) & Mask::Documents(kShape, {20, 12, 25});
  const Mask c = Mask::Stride(kShape, 5) | Mask::Prefix(kShape, 9);
  for (int which = 0; which < 4; ++which) {
    for (int flags = 0; flags < 16; ++flags) {
      CompileOptions options;
      if (which == 0) options.fwd = kBlock;
      if (which == 1) options.dq = BlockShape{4, 16};
      if (which == 2) options.dkv = BlockShape{16, 4};
      if (which == 3) options.fwd = options.dkv = BlockShape{16, 8};
      options.plan.shrink_grid = (flags & 1) != 0;
      options.plan.q_seq_shards = (flags & 2) != 0 ? 2 : 1;
      options.plan.simplify = (flags & 4) != 0;
      options.plan.head_shards = (flags & 8) != 0 ? 2 : 1;
      Update(MultiHeadMask({a, a, c, c}), MultiHeadMask({b, b, c, c}), options);
      Update(MultiHeadMask({a, c, a, c}), MultiHeadMask({a, c, b, ~~c}), options);
      Update(MultiHeadMask(a, 2), MultiHeadMask({b, a, c, b}), options);
      Update(MultiHeadMask({b, a, c, b}), MultiHeadMask(a, 2), options);
      if (HasFailure()) return;
    }
  }
}

// Any mask after any other, and the same mask again.
TEST(UpdatePlanTest, RandomMasks) {
  for (uint64_t seed = 0; seed < SampleSize(600); ++seed) {
    RandomCase c = MakeRandomCase(seed);
    std::mt19937_64 random(seed);
    std::vector<Mask> heads = c.mask.masks();
    const Plan plan = Compile(c.mask, c.options);
    const PlanUpdate same = UpdatePlan(plan, c.mask, 1);
    ExpectSamePasses(plan, same.plan);
    EXPECT_EQ(same.compiled, 0);
    for (Mask& head : heads) {
      const Mask other = RandomMask(random, c.mask.shape(), 2);
      if (random() % 2 == 0) head = random() % 2 == 0 ? other : head & other;
    }
    const MultiHeadMask now(heads);
    ExpectSamePasses(Compile(now, c.options), UpdatePlan(plan, now, 1).plan);
    ASSERT_FALSE(HasFailure()) << "seed " << seed << ": " << ToString(c.mask) << " -> "
                               << ToString(now);
  }
}

TEST(UpdatePlanTest, TokamaxPassesAreCompiledAnew) {
  const Mask a = Mask::Causal(kShape) & Mask::Documents(kShape, {20, 12});
  const Mask b = Mask::Causal(kShape) & Mask::Documents(kShape, {20, 12, 25});
  Plan plan{MultiHeadMask(a, 2), {}, {}, {}, {}};
  TokamaxOptions options;
  options.block = kBlock;
  plan.tokamax_fwd = CompileTokamax(a, options);
  options.is_dkv = true;
  plan.tokamax_dkv = CompileTokamax(a, options);
  const PlanUpdate update = UpdatePlan(plan, MultiHeadMask(b, 2), 1);
  EXPECT_EQ(update.plan.tokamax_dkv, CompileTokamax(b, options));
  options.is_dkv = false;
  EXPECT_EQ(update.plan.tokamax_fwd, CompileTokamax(b, options));
  ExpectError(ErrorCode::kInvalidArgument,
              "[update] expected one mask for all heads beside tokamax lists, got several", [&] {
                UpdatePlan(plan, MultiHeadMask({a, b}));
              });
}

TEST(UpdatePlanTest, RefusesWhatCompileRefuses) {
  const Plan plan = Compile(MultiHeadMask(~Mask::Causal(kShape), 1), AllPasses(kBlock));
  ExpectError(ErrorCode::kInvalidArgument,
              "[compile] expected block_q (8) to divide q_len (60): nearest are 6 and 10", [&] {
                UpdatePlan(plan, MultiHeadMask(~Mask::Causal({60, 64}), 1));
              });
}

// Rows that are said to be the same are.
TEST(ChangedRowsTest, UnchangedRowsHoldTheSameCells) {
  int64_t unchanged = 0;
  for (uint64_t seed = 0; seed < SampleSize(3000); ++seed) {
    std::mt19937_64 random(seed);
    const Shape shape{static_cast<int64_t>(random() % 20 + 1),
                      static_cast<int64_t>(random() % 20 + 1)};
    const Shape next{static_cast<int64_t>(random() % 20 + 1),
                     static_cast<int64_t>(random() % 20 + 1)};
    const uint64_t masks = random();
    // The same generator on both shapes makes masks that are alike in many leaves.
    std::mt19937_64 one(masks), two(masks);
    const Mask before = RandomMask(one, shape, 2),
               now = RandomMask(two, seed % 2 ? next : shape, 2);
    const std::vector<uint8_t> changed = ChangedRows(before, now);
    ASSERT_EQ(std::ssize(changed), std::min(before.shape().q_len, now.shape().q_len));
    for (int64_t q = 0; q < std::ssize(changed); ++q) {
      if (changed[q] != 0) continue;
      ++unchanged;
      for (int64_t kv = 0; kv < std::min(before.shape().kv_len, now.shape().kv_len); ++kv) {
        ASSERT_EQ(NaiveAt(before, q, kv), NaiveAt(now, q, kv))
            << ToString(before) << " -> " << ToString(now) << " at " << q << ", " << kv;
      }
    }
  }
  EXPECT_GT(unchanged, 100);
}

}  // namespace
}  // namespace splashmask
