// SPDX-License-Identifier: Apache-2.0
// Steps and copies counted at once against kernels/trace.h, which walks the grid.

#include "splashmask/planner/cost/step_counts.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "splashmask/kernels/trace.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/mask.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/tokamax.h"
#include "tests/planner/plans.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

int64_t CopiesOf(const GridTrace& trace, const std::string& name) {
  for (const OperandCopies& operand : trace.operands) {
    if (operand.name == name) return operand.copies;
  }
  return 0;
}

void ExpectEqualsTrace(const Plan& plan, Pass pass, int64_t kv_heads) {
  SCOPED_TRACE(std::string(PassName(pass)) + " kv_heads " + std::to_string(kv_heads));
  const KernelCall call{.kv_heads = kv_heads, .has_segment_ids = true};
  const std::vector<GridTrace> expected = TraceGrid(plan, pass, call);
  const std::vector<StepCounts> got = CountSteps(plan, pass, kv_heads);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].grid, expected[i].grid);
    EXPECT_EQ(got[i].steps(), expected[i].steps);
    EXPECT_EQ(got[i].skipped, expected[i].skipped);
    EXPECT_EQ(got[i].partial, expected[i].partial);
    EXPECT_EQ(got[i].full, expected[i].full);
    EXPECT_EQ(got[i].q_copies, CopiesOf(expected[i], "q"));
    EXPECT_EQ(got[i].kv_copies, CopiesOf(expected[i], "k"));
    EXPECT_EQ(got[i].q_only_copies, CopiesOf(expected[i], "q_segment_ids"));
    EXPECT_EQ(got[i].kv_only_copies, CopiesOf(expected[i], "kv_segment_ids"));
    EXPECT_EQ(got[i].partial_copies, CopiesOf(expected[i], "partial_mask_blocks"));
    EXPECT_EQ(got[i].outputs, CopiesOf(expected[i], pass == Pass::kFwd  ? "out"
                                                    : pass == Pass::kDq ? "dq"
                                                                        : "dk"));
  }
}

TEST(StepCountsTest, RandomPlansCountAsTheTraceWalks) {
  for (uint64_t seed = 0; seed < SampleSize(600); ++seed) {
    const RandomCase c = MakeRandomCase(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Plan plan = Compile(c.mask, c.options);
    const int64_t heads = plan.mask.num_heads(), shards = plan.options.head_shards;
    for (const Pass pass : kAllPasses) {
      if (!plan.pass(pass)) continue;
      for (int64_t kv_heads = 1; kv_heads <= heads; ++kv_heads) {
        if (heads % kv_heads != 0 || (kv_heads > 1 && kv_heads % shards != 0)) continue;
        ExpectEqualsTrace(plan, pass, kv_heads);
      }
    }
    if (HasFailure()) return;
  }
}

// Four q blocks of a causal mask, two heads: 1 + 2 + 3 + 4 steps each; k stays where a row's last
// block is the next row's first.
TEST(StepCountsTest, CausalByHand) {
  const MultiHeadMask mask({Mask::Causal({512, 512}), Mask::Causal({512, 512})});
  const Plan plan = Compile(mask, AllPasses({128, 128}));
  const StepCounts fwd = CountSteps(plan, Pass::kFwd, 2).at(0);
  EXPECT_EQ(fwd.grid, (std::array<int64_t, 3>{2, 4, 4}));
  EXPECT_EQ(fwd.partial, 8);
  EXPECT_EQ(fwd.full, 12);
  EXPECT_EQ(fwd.skipped, 12);
  EXPECT_EQ(fwd.outputs, 8);
  EXPECT_EQ(fwd.q_copies, 8);
  // Row 0 visits block 0 and prefetches row 1's, which is block 0 as well; then 1 | 0 1 2 | 0 to 3.
  EXPECT_EQ(fwd.kv_copies, 2 * (1 + 1 + 3 + 4));
  EXPECT_EQ(CountSteps(plan, Pass::kFwd, 1).at(0).kv_copies, fwd.kv_copies);
  EXPECT_EQ(fwd.partial_copies, 0);
  const StepCounts dkv = CountSteps(plan, Pass::kDkv, 1).at(0);
  EXPECT_EQ(dkv.outputs, 4);
  EXPECT_EQ(dkv.kv_copies, 4);
}

Plan TokamaxPlan(const Mask& mask, int heads) {
  Plan plan{MultiHeadMask(std::vector<Mask>(static_cast<size_t>(heads), mask)), {}, {}, {}, {}};
  TokamaxOptions options;
  options.block = {128, 128};
  plan.tokamax_fwd = CompileTokamax(mask, options);
  options.is_dkv = true;
  plan.tokamax_dkv = CompileTokamax(mask, options);
  return plan;
}

// Visits of a head: q block 0 sees kv block 0, 1 sees 0 and 1, and so on; a block stays where it
// is the next step's, too.
TEST(StepCountsTest, TokamaxCausalByHand) {
  const Plan plan = TokamaxPlan(Mask::Causal({512, 512}), 4);
  const StepCounts fwd = CountTokamaxSteps(plan, Pass::kFwd, 2).at(0);
  EXPECT_EQ(fwd.grid, (std::array<int64_t, 3>{4, 10, 1}));
  EXPECT_EQ(fwd.partial, 4 * 4);
  EXPECT_EQ(fwd.full, 4 * 6);
  EXPECT_EQ(fwd.skipped, 0);
  EXPECT_EQ(fwd.outputs, 4 * 4);
  EXPECT_EQ(fwd.q_copies, 4 * 4);
  EXPECT_EQ(fwd.kv_copies, 4 * (1 + 1 + 3 + 4));
  EXPECT_TRUE(fwd.computes_mask);
  EXPECT_FALSE(fwd.is_static);
  // kv block 0 is seen by q blocks 0 to 3, 1 by 1 to 3, 2 by 2 and 3, 3 by 3, which is there.
  const StepCounts dkv = CountTokamaxSteps(plan, Pass::kDkv, 2).at(0);
  EXPECT_EQ(dkv.q_copies, 4 * (4 + 3 + 2));
  EXPECT_EQ(dkv.kv_copies, 4 * 4);
  EXPECT_EQ(dkv.outputs, 4 * 4);
}

TEST(StepCountsTest, TokamaxVisitsAllOfAFullMaskWithoutLists) {
  const Plan plan = TokamaxPlan(Mask::Full({512, 512}), 4);
  const StepCounts fwd = CountTokamaxSteps(plan, Pass::kFwd, 2).at(0);
  EXPECT_TRUE(fwd.is_static);
  EXPECT_FALSE(fwd.computes_mask);
  EXPECT_EQ(fwd.full, 4 * 16);
  EXPECT_EQ(fwd.kv_copies, 4 * 16);
  const StepCounts dkv = CountTokamaxSteps(plan, Pass::kDkv, 2).at(0);
  EXPECT_EQ(dkv.grid, (std::array<int64_t, 3>{4, 4, 4}));
  EXPECT_EQ(dkv.q_copies, 4 * 16);
  EXPECT_EQ(dkv.kv_copies, 2 * 4);
  EXPECT_EQ(dkv.outputs, 2 * 4);
}

// One block: heads share kv heads, which stay in VMEM.
TEST(StepCountsTest, TokamaxSingleBlock) {
  const Plan plan = TokamaxPlan(Mask::Causal({128, 128}), 4);
  const StepCounts fwd = CountTokamaxSteps(plan, Pass::kFwd, 2).at(0);
  EXPECT_EQ(fwd.steps(), 4);
  EXPECT_EQ(fwd.q_copies, 4);
  EXPECT_EQ(fwd.q_only_copies, 1);
  EXPECT_EQ(fwd.kv_copies, 2);
  EXPECT_EQ(fwd.kv_only_copies, 1);
}

TEST(StepCountsTest, SaysWhatIsMissing) {
  CompileOptions options;
  options.fwd = BlockShape{128, 128};
  const MultiHeadMask mask({Mask::Causal({256, 256}), Mask::Causal({256, 256})});
  const Plan plan = Compile(mask, options);
  const auto text = [&](Pass pass, int64_t kv_heads) -> std::string {
    try {
      CountSteps(plan, pass, kv_heads);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(text(Pass::kDq, 1), "[plan] expected a plan with the pass dq");
  EXPECT_EQ(text(Pass::kFwd, 3),
            "[plan] expected kv_heads (3) to divide the heads of the mask (2)");
}

}  // namespace
}  // namespace splashmask
