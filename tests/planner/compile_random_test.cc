// SPDX-License-Identifier: Apache-2.0
// Compile against the cell-by-cell reference: thousands of seeded random masks and options.

#include <gtest/gtest.h>

#include <cstdlib>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/support/naive_tables.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

std::string Describe(const RandomCase& c) {
  const PlanOptions& o = c.options.plan;
  std::string text = ToString(c.mask);
  text += " shape " + std::to_string(c.mask.shape().q_len) + "x" +
          std::to_string(c.mask.shape().kv_len);
  for (const auto& block : {c.options.fwd, c.options.dq, c.options.dkv}) {
    if (block) text += " block " + std::to_string(block->q) + "x" + std::to_string(block->kv);
  }
  return text + " head_shards " + std::to_string(o.head_shards) + " q_seq_shards " +
         std::to_string(o.q_seq_shards) + (o.shrink_grid ? " shrink" : "") +
         (o.downcast_smem_data ? " downcast" : "") + (o.use_fused_bwd_kernel ? " fused" : "");
}

void ExpectSamePass(const std::optional<CompiledPass>& expected,
                    const std::optional<CompiledPass>& got) {
  ASSERT_EQ(expected.has_value(), got.has_value());
  if (!expected) return;
  EXPECT_EQ(expected->block, got->block);
  EXPECT_TRUE(expected->info.data_next == got->info.data_next) << "data_next";
  EXPECT_TRUE(expected->info.mask_next == got->info.mask_next) << "mask_next";
  EXPECT_TRUE(expected->info.block_mask == got->info.block_mask) << "block_mask";
  EXPECT_TRUE(expected->info.partial_mask_blocks == got->info.partial_mask_blocks)
      << "partial_mask_blocks";
  EXPECT_TRUE(expected->info.q_sequence == got->info.q_sequence) << "q_sequence";
  EXPECT_TRUE(expected->mask_function == got->mask_function) << "mask_function";
}

struct Seeds {
  uint64_t first = 0, count = SampleSize(4000);
};

// SPLASHMASK_SEEDS=FIRST:COUNT looks at other cases than a usual run.
Seeds ChosenSeeds() {
  Seeds seeds;
  const char* text = std::getenv("SPLASHMASK_SEEDS");
  char* end = nullptr;
  if (text != nullptr) seeds.first = std::strtoull(text, &end, 10);
  if (end != nullptr && *end == ':') seeds.count = std::strtoull(end + 1, nullptr, 10);
  return seeds;
}

TEST(CompileRandomTest, EqualsTheCellByCellReferenceOnEveryField) {
  const auto [first, count] = ChosenSeeds();
  for (uint64_t seed = first; seed < first + count; ++seed) {
    RandomCase c = MakeRandomCase(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + Describe(c));
    const Plan expected = NaivePlan(c.mask, c.options);
    c.options.threads = static_cast<int>(seed % 3) + 1;
    const Plan got = Compile(c.mask, c.options);
    for (Pass pass : kAllPasses) {
      SCOPED_TRACE(PassName(pass));
      ExpectSamePass(expected.pass(pass), got.pass(pass));
    }
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace splashmask
