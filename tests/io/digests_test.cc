// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>

#include "splashmask/io/plan_file.h"
#include "tests/io/sample_plans.h"

namespace splashmask {
namespace {

// Expects each change to alter that digest: the content of tables no other, options not
// mask_digest.
enum class Digest { kPlan, kContent };
void ExpectEachChanges(Digest digest, const Plan& plan,
                       const std::vector<std::function<void(Plan&)>>& changes) {
  const PlanDigests before = ComputeDigests(plan);
  for (size_t i = 0; i < changes.size(); ++i) {
    Plan changed = plan;
    changes[i](changed);
    const PlanDigests after = ComputeDigests(changed);
    EXPECT_EQ(after.mask_digest, before.mask_digest) << i;
    if (digest == Digest::kPlan) {
      EXPECT_NE(after.plan_digest, before.plan_digest) << i;
    } else {
      EXPECT_EQ(after.plan_digest, before.plan_digest) << i;
      EXPECT_NE(after.content_digest, before.content_digest) << i;
    }
  }
}

// The recipes of docs/plan-format.md. These values were computed by the Python code there.
TEST(DigestsTest, RecipesAreFrozen) {
  const auto expect = [](const std::string& name, const PlanDigests& digests) {
    const PlanDigests got = ComputeDigests(SamplePlanNamed(name));
    EXPECT_EQ(got.mask_digest, digests.mask_digest) << name;
    EXPECT_EQ(got.plan_digest, digests.plan_digest) << name;
    EXPECT_EQ(got.content_digest, digests.content_digest) << name;
  };
  expect("tables", {"bbd9479b5f9043d0e0fdc2653cbaba8c3aa1a5f9766cc7bfabd7c72127d2d645",
                    "8400997f0eeb5a72584d27efcbeffc975a295722f25d488df05ae8bffcb94c0f",
                    "9dd76f9eeefd23c0a4c06499d34f8cc46d31612d4d3f152e8295eaeec0e5c44c"});
  expect("none", {"1435d14e247307f89a39c7af5b946e1bb77fe58e0f7e1beabc52e162f50a53fa",
                  "c4f1229ba56eb473e86efc19b79d41c6a71ec62b53ac7b2d81de6be1bddc8461",
                  "76b989f487355fb73c8c3ae1a21a1396f8e5c0717d9d6db9ef7006383d4fa364"});
  expect("nodes", {"fe1b97904337ebfb4e92ccd9fc9b4a108eff1eaf1c02e5c4b04c556e6bee08c7",
                   "09c14b4ccb775019529eeced1f95cdaaa78c928441b9a004c1a19988e08451c5",
                   "76b989f487355fb73c8c3ae1a21a1396f8e5c0717d9d6db9ef7006383d4fa364"});
  expect("positions_int32", {"d2422cba77a74b5c61fb173ab1191ac74ddcdb155d522461d9af596c6759c5e4",
                             "fbbc5383731b7a3952283d508191f7ba0e81dbf2a442b05ecee972c09b058e39",
                             "f45970f2fc3ed9144669ef964596a5ecb62198f0a97366301853af5cfad7a987"});
}

TEST(DigestsTest, EveryOptionAndBlockChangesThePlanDigest) {
  const Plan plan = SamplePlanNamed("tables");
  const std::vector<std::function<void(Plan&)>> changes = {
      [](Plan& p) { p.options.head_shards = 4; },
      [](Plan& p) { p.options.q_seq_shards = 3; },
      [](Plan& p) { p.options.downcast_smem_data = true; },
      [](Plan& p) { p.options.shrink_grid = true; },
      [](Plan& p) { p.options.use_fused_bwd_kernel = true; },
      [](Plan& p) { p.options.simplify = true; },
      [](Plan& p) { p.fwd->block.q = 12; },
      [](Plan& p) { p.dkv->block.kv = 8; },
      [](Plan& p) { p.dq.reset(); },
  };
  ExpectEachChanges(Digest::kPlan, plan, changes);
}

TEST(DigestsTest, EveryFieldChangesTheContentDigestAlone) {
  const Plan plan = SamplePlanNamed("tables");
  const auto flip = [](std::optional<Table>& table) {
    table = table->Clone();
    table->Set(0, table->At(0) + 1);
  };
  const std::vector<std::function<void(Plan&)>> changes = {
      [&](Plan& p) { flip(p.fwd->info.data_next); },
      [&](Plan& p) { flip(p.fwd->info.mask_next); },
      [&](Plan& p) { flip(p.dkv->info.block_mask); },
      [](Plan& p) {
        p.dkv->info.partial_mask_blocks = p.dkv->info.partial_mask_blocks->Clone();
        p.dkv->info.partial_mask_blocks->Flip(2, 11, 3);
      },
      [](Plan& p) { p.fwd->info.q_sequence = Array::FromVector(std::vector<int64_t>(24)); },
      [](Plan& p) {
        p.dkv->mask_function = Mask::Causal({24, 24});
      },
      [](Plan& p) { p.dkv->info.mask_next.reset(); },
      [](Plan& p) { std::swap(p.fwd->info.partial_mask_blocks, p.dq->info.partial_mask_blocks); },
  };
  ExpectEachChanges(Digest::kContent, plan, changes);
}

TEST(DigestsTest, EveryTokamaxOptionChangesThePlanDigest) {
  const Plan plan = SamplePlanNamed("tokamax");
  const std::vector<std::function<void(Plan&)>> changes = {
      [](Plan& p) { p.tokamax_fwd->options.block.q = 3; },
      [](Plan& p) { p.tokamax_fwd->options.block.kv = 4; },
      [](Plan& p) { p.tokamax_fwd->options.q_seq_shards = 3; },
      [](Plan& p) { p.tokamax_dkv->options.kv_seq_shards = 2; },
      [](Plan& p) { p.tokamax_dkv->options.downcast_smem_data = false; },
      [](Plan& p) { p.tokamax_dkv->options.return_dynamic_grid = true; },
      [](Plan& p) { p.tokamax_dkv->options.simplify = true; },
      [](Plan& p) { p.tokamax_dkv.reset(); },
      [](Plan& p) { std::swap(p.tokamax_fwd, p.tokamax_dkv); },
  };
  ExpectEachChanges(Digest::kPlan, plan, changes);
}

TEST(DigestsTest, EveryTokamaxFieldChangesTheContentDigestAlone) {
  const Plan plan = SamplePlanNamed("both_dialects");
  const auto other = Array::FromVector(std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  const std::vector<std::function<void(Plan&)>> changes = {
      [&](Plan& p) { p.tokamax_dkv->info.mask_next = other; },
      [&](Plan& p) { p.tokamax_dkv->info.active_rows = other; },
      [&](Plan& p) { p.tokamax_dkv->info.active_cols = other; },
      [&](Plan& p) { p.tokamax_dkv->info.block_mask = other; },
      [&](Plan& p) { p.tokamax_dkv->info.num_active_blocks = other; },
      [](Plan& p) {
        p.tokamax_dkv->info.partial_mask_blocks = p.tokamax_dkv->info.partial_mask_blocks->Clone();
        p.tokamax_dkv->info.partial_mask_blocks->Flip(2, 11, 3);
      },
      [](Plan& p) { p.tokamax_dkv->info.q_sequence.reset(); },
      [](Plan& p) { p.tokamax_dkv->mask_function.reset(); },
      [](Plan& p) { std::swap(p.tokamax_dkv->info.mask_next, p.tokamax_dkv->info.active_cols); },
  };
  ExpectEachChanges(Digest::kContent, plan, changes);
}

}  // namespace
}  // namespace splashmask
