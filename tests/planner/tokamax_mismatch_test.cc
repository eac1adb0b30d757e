// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/tokamax_mismatch.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "splashmask/planner/compile/tokamax.h"
#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

const Shape kShape{8, 8};

// Both passes of a mask that the kernel cannot compute, or of one that it can.
Plan Compiled(const Mask& mask) {
  Plan plan{MultiHeadMask(mask, 2), {}, {}, {}, {}};
  TokamaxOptions options;
  options.block = {2, 4};
  plan.tokamax_fwd = CompileTokamax(mask, options);
  options.is_dkv = true;
  options.q_seq_shards = 2;
  plan.tokamax_dkv = CompileTokamax(mask, options);
  return plan;
}

Array Changed(const std::optional<Array>& list, size_t index, int32_t value) {
  std::vector<int32_t> values;
  for (int64_t entry : list->ToInt64()) values.push_back(static_cast<int32_t>(entry));
  values.at(index) = value;
  return Array::FromVector(values);
}

std::string Find(const Plan& plan) {
  const std::optional<TokamaxMismatch> mismatch = FindTokamaxMismatch(plan, /*threads=*/1);
  return mismatch ? mismatch->ToString() : "";
}

TEST(TokamaxMismatchTest, WhatTheCompilerMakesIsRight) {
  EXPECT_EQ("", Find(Compiled(Mask::Causal(kShape) & Mask::Stride(kShape, 2))));
  EXPECT_EQ("", Find(Compiled(Mask::Causal(kShape))));
  EXPECT_EQ("", Find(Compiled(Mask::Full(kShape))));
  EXPECT_EQ("", Find(Plan{MultiHeadMask(Mask::Full(kShape), 1), {}, {}, {}, {}}));
}

TEST(TokamaxMismatchTest, EveryFieldIsCompared) {
  Plan plan = Compiled(Mask::Causal(kShape) & Mask::Stride(kShape, 2));
  for (Pass pass : kTokamaxPasses) plan.tokamax_pass(pass)->options.downcast_smem_data = false;
  const auto anew = [&](Pass which) {
    TokamaxOptions options;
    static_cast<TokamaxPassOptions&>(options) = plan.tokamax_pass(which)->options;
    options.is_dkv = which == Pass::kDkv;
    return CompileTokamax(plan.mask.masks().front(), options);
  };
  for (Pass pass : kTokamaxPasses) plan.tokamax_pass(pass) = anew(pass);
  ASSERT_EQ("", Find(plan));
  const auto expect = [&](const std::string& text, const std::function<void(Plan&)>& change) {
    Plan changed = plan;
    change(changed);
    EXPECT_EQ(text, Find(changed));
  };
  expect("tokamax/fwd block_mask[1]: expected 1, got 7", [](Plan& p) {
    p.tokamax_fwd->info.block_mask = Changed(p.tokamax_fwd->info.block_mask, 1, 7);
  });
  expect("tokamax/dkv active_rows[2]: expected 1, got 7", [](Plan& p) {
    p.tokamax_dkv->info.active_rows = Changed(p.tokamax_dkv->info.active_rows, 2, 7);
  });
  expect("tokamax/fwd active_cols[0]: expected 0, got 7", [](Plan& p) {
    p.tokamax_fwd->info.active_cols = Changed(p.tokamax_fwd->info.active_cols, 0, 7);
  });
  expect("tokamax/dkv num_active_blocks[1]: expected 4, got 7", [](Plan& p) {
    p.tokamax_dkv->info.num_active_blocks = Changed(p.tokamax_dkv->info.num_active_blocks, 1, 7);
  });
  expect("tokamax/fwd mask_next[0]: expected 0, got 7", [](Plan& p) {
    p.tokamax_fwd->info.mask_next = Changed(p.tokamax_fwd->info.mask_next, 0, 7);
  });
  expect("tokamax/fwd mask_next: expected int32[6], got None",
         [](Plan& p) { p.tokamax_fwd->info.mask_next.reset(); });
  expect("tokamax/fwd partial_mask_blocks[1, 0, 2]: expected True, got False", [](Plan& p) {
    p.tokamax_fwd->info.partial_mask_blocks = p.tokamax_fwd->info.partial_mask_blocks->Clone();
    p.tokamax_fwd->info.partial_mask_blocks->Flip(1, 0, 2);
  });
  expect("tokamax/dkv q_sequence: expected None, got int32[2]", [](Plan& p) {
    p.tokamax_dkv->info.q_sequence = Array::FromVector(std::vector<int32_t>{0, 1});
  });
  expect("tokamax/dkv mask_function: expected None, got causal() of shape (8, 8)",
         [](Plan& p) { p.tokamax_dkv->mask_function = Mask::Causal(kShape); });
  expect("tokamax/fwd block_mask: expected int8[6], got int32[6]",
         [](Plan& p) { p.tokamax_fwd->options.downcast_smem_data = true; });
}

TEST(TokamaxMismatchTest, SeveralMasksAreRefused) {
  Plan plan = Compiled(Mask::Causal(kShape));
  plan.mask = MultiHeadMask({Mask::Causal(kShape), Mask::Full(kShape)});
  ExpectError(ErrorCode::kInvalidArgument,
              "[verify] expected one mask for all heads beside tokamax lists, got several",
              [&] { FindTokamaxMismatch(plan); });
}

}  // namespace
}  // namespace splashmask
