// SPDX-License-Identifier: Apache-2.0
// What attention refuses, and what a tensor is.

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "splashmask/kernels/attention.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/kernels/random_inputs.h"
#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

TEST(TensorTest, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(1.0f, FromBFloat16(ToBFloat16(1.0f)));
  EXPECT_EQ(1.0f, FromBFloat16(ToBFloat16(1.0f + 0x1p-8f)));                // A tie, to even.
  EXPECT_EQ(1.0f + 0x1p-6f, FromBFloat16(ToBFloat16(1.0f + 3 * 0x1p-8f)));  // A tie, to even.
  EXPECT_EQ(1.0f + 0x1p-7f, FromBFloat16(ToBFloat16(1.0f + 0x1p-8f + 0x1p-20f)));
  EXPECT_TRUE(std::isnan(FromBFloat16(ToBFloat16(std::nanf("1")))));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(-infinity, FromBFloat16(ToBFloat16(-infinity)));
  EXPECT_EQ(infinity, FromBFloat16(ToBFloat16(std::numeric_limits<float>::max())));
}

class AttentionInputsTest : public testing::Test {
 protected:
  static constexpr Shape kShape{8, 12};

  AttentionInputsTest() {
    std::mt19937_64 random(1);
    const auto make = [&](int64_t heads, int64_t length, int64_t dim) {
      return RandomTensor(random, FloatType::kFloat32, Layout::kHeadsLengthDim, 2, heads, length,
                          dim);
    };
    q_ = make(4, 8, 5);
    k_ = make(2, 12, 5);
    v_ = make(2, 12, 3);
    out_ = make(4, 8, 3);
    logsumexp_.resize(2 * 4 * 8);
  }

  static Plan MakePlan() {
    CompileOptions options;
    options.fwd = BlockShape{4, 4};
    return Compile(MultiHeadMask(Mask::Causal(kShape), 4), options);
  }

  // What Forward says of the arguments after a change.
  void ExpectRefused(const std::string& message,
                     const std::function<void(AttentionInputs&)>& change) {
    AttentionInputs inputs{q_.view, k_.view, v_.view, {}, {}};
    change(inputs);
    ExpectError(ErrorCode::kInvalidArgument, "[attention] " + message,
                [&] { SplashAttention(MakePlan()).Forward(inputs, out_.view, logsumexp_); });
  }

  OwnedTensor q_, k_, v_, out_;
  std::vector<float> logsumexp_;
};

TEST_F(AttentionInputsTest, WrongShapes) {
  ExpectRefused("expected q, as the plan has it, of shape [2, 4, 8, 5], got [2, 4, 7, 5]",
                [](AttentionInputs& in) { in.q.length = 7; });
  ExpectRefused("expected q, as the plan has it, of shape [2, 4, 8, 5], got [2, 3, 8, 5]",
                [](AttentionInputs& in) { in.q.heads = 3; });
  ExpectRefused("expected k, as the plan and q have it, of shape [2, 2, 12, 5], got [2, 2, 11, 5]",
                [](AttentionInputs& in) { in.k.length = 11; });
  ExpectRefused("expected k, as the plan and q have it, of shape [2, 2, 12, 5], got [1, 2, 12, 5]",
                [](AttentionInputs& in) { in.k.batch = 1; });
  ExpectRefused("expected k, as the plan and q have it, of shape [2, 2, 12, 5], got [2, 2, 12, 4]",
                [](AttentionInputs& in) { in.k.dim = 4; });
  ExpectRefused("expected v, as the plan and k have it, of shape [2, 2, 12, 3], got [2, 1, 12, 3]",
                [](AttentionInputs& in) { in.v.heads = 1; });
  ExpectRefused("expected the heads of k (3) to divide those of q (4)",
                [](AttentionInputs& in) { in.k.heads = in.v.heads = 3; });
  ExpectRefused("expected out of shape [2, 4, 8, 2], got [2, 4, 8, 3]",
                [](AttentionInputs& in) { in.v.dim = 2; });
  ExpectRefused("expected q of at least one element, got shape [0, 4, 8, 5]",
                [](AttentionInputs& in) { in.q.batch = 0; });
}

TEST_F(AttentionInputsTest, WrongMemory) {
  ExpectRefused("expected data for k, got none", [](AttentionInputs& in) { in.k.data = nullptr; });
  ExpectRefused("expected v aligned to its elements of 4 bytes",
                [](AttentionInputs& in) { in.v.data = static_cast<const char*>(in.v.data) + 1; });
  ExpectRefused("expected out apart from q, got both in one memory",
                [&](AttentionInputs& in) { in.q.data = out_.view.data; });
  ExpectRefused("expected out apart from v, got both in one memory", [&](AttentionInputs& in) {
    in.v.data = static_cast<const float*>(out_.view.data) + 2 * 4 * 8 * 3 - 1;
  });
}

TEST_F(AttentionInputsTest, WrongExtras) {
  const std::vector<int32_t> eight(8), seven(7), twelve(12);
  ExpectRefused("expected segment ids for 8 q positions, or as many for each of 2 sequences, got 7",
                [&](AttentionInputs& in) {
                  in.segment_ids = AttentionSegmentIds{seven, twelve};
                });
  ExpectRefused(
      "expected segment ids for 12 kv positions, or as many for each of 2 sequences, got 8",
      [&](AttentionInputs& in) {
        in.segment_ids = AttentionSegmentIds{eight, eight};
      });
  const std::vector<float> sinks(3);
  ExpectRefused("expected a sink for each of 4 heads, got 3",
                [&](AttentionInputs& in) { in.sinks = sinks; });
  logsumexp_.resize(5);
  ExpectRefused("expected logsumexp of 64 elements, got 5", [](AttentionInputs&) {});
}

TEST_F(AttentionInputsTest, WrongPlansAndOptions) {
  CompileOptions dkv;
  dkv.dkv = BlockShape{4, 4};
  ExpectError(ErrorCode::kInvalidArgument,
              "[attention] expected a plan with the pass fwd, or those of the backward pass",
              [&] { SplashAttention(Compile(MultiHeadMask(Mask::Causal(kShape), 4), dkv)); });
  dkv.dq = BlockShape{4, 4};
  const SplashAttention backward(Compile(MultiHeadMask(Mask::Causal(kShape), 4), dkv));
  ExpectError(ErrorCode::kInvalidArgument, "[attention] expected a plan with the pass fwd", [&] {
    backward.Forward({q_.view, k_.view, v_.view, {}, {}}, out_.view, logsumexp_);
  });
  AttentionOptions options;
  for (const auto& [cap, text] :
       {std::pair{0.0f, "0"}, {-1.0f, "-1"}, {INFINITY, "inf"}, {NAN, "nan"}, {1e-40f, "1e-40"}}) {
    options.attn_logits_soft_cap = cap;
    ExpectError(ErrorCode::kInvalidArgument,
                std::string("[attention] expected a positive attn_logits_soft_cap, got ") + text,
                [&] { SplashAttention(MakePlan(), options); });
  }
}

// Tables are obeyed, so they must be such as can be.
TEST_F(AttentionInputsTest, TablesThatCannotBeWalked) {
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{4, 4};
  const Mask mask = Mask::Causal(kShape) & Mask::Stride(kShape, 2);
  const auto expect = [&](const std::string& text, const std::function<void(Plan&)>& change) {
    Plan plan = Compile(MultiHeadMask(mask, 4), options);
    for (CompiledPass* pass : {&*plan.fwd, &*plan.dkv}) {
      pass->info.block_mask = pass->info.block_mask->Clone();
      pass->info.data_next = pass->info.data_next->Clone();
      pass->info.mask_next = pass->info.mask_next->Clone();
    }
    change(plan);
    ExpectError(ErrorCode::kDamaged, "[attention] " + text,
                [&] { SplashAttention attention(plan); });
  };
  expect("fwd: expected classes of 0..2 in block_mask",
         [](Plan& plan) { plan.fwd->info.block_mask->Set(0, 3); });
  expect("fwd: expected blocks of the mask in data_next",
         [](Plan& plan) { plan.fwd->info.data_next->Set(0, 3); });
  expect("dkv: expected blocks of the mask in data_next", [](Plan& plan) {
    for (int64_t i = 0; i < plan.dkv->info.data_next->size(); ++i) {
      plan.dkv->info.data_next->Set(i, 2);
    }
  });
  expect("fwd: expected stored blocks in mask_next",
         [](Plan& plan) { plan.fwd->info.mask_next->Set(0, 100); });
  expect("fwd: expected stored blocks in mask_next",
         [](Plan& plan) { plan.fwd->info.mask_next->Set(0, -1); });
  expect("fwd: expected partial blocks where block_mask is 1",
         [](Plan& plan) { plan.fwd->info.partial_mask_blocks.reset(); });
  expect("fwd: expected partial blocks of its block shape, and mask_next",
         [](Plan& plan) { plan.fwd->info.mask_next.reset(); });
  expect("fwd: expected partial blocks of its block shape, and mask_next",
         [](Plan& plan) { plan.fwd->info.partial_mask_blocks = PartialMaskBlocks({1}, 4, 5); });
  expect("fwd: expected block_mask and data_next",
         [](Plan& plan) { plan.fwd->info.data_next.reset(); });
  expect("fwd: expected tables for its heads and blocks",
         [](Plan& plan) { plan.fwd->block.q = 2; });
  expect("fwd: expected blocks and shards that divide the mask",
         [](Plan& plan) { plan.fwd->block.kv = 5; });
  expect("fwd: expected a mask function and the positions of all rows", [&](Plan& plan) {
    plan.fwd->mask_function = Mask::Causal(kShape);
    plan.fwd->info.q_sequence = Array::FromVector(std::vector<int32_t>{0, 1});
  });
}

TEST_F(AttentionInputsTest, StopsWhenTold) {
  const std::atomic<bool> stop = true;
  Progress progress;
  progress.stop = &stop;
  try {
    SplashAttention(MakePlan())
        .Forward({q_.view, k_.view, v_.view, {}, {}}, out_.view, {}, progress);
    ADD_FAILURE() << "expected to be stopped";
  } catch (const Error& error) {
    EXPECT_EQ(ErrorCode::kCancelled, error.code());
  }
}

// k and v that all sequences and heads share are strides of 0.
TEST_F(AttentionInputsTest, SharedKeysAreStridesOfZero) {
  AttentionInputs inputs{q_.view, k_.view, v_.view, {}, {}};
  inputs.k.strides.batch = inputs.k.strides.heads = 0;
  inputs.v.strides.batch = inputs.v.strides.heads = 0;
  const SplashAttention attention(MakePlan());
  attention.Forward(inputs, out_.view);
  const std::vector<std::byte> grouped = *out_.bytes;
  inputs.k.heads = inputs.v.heads = 1;
  attention.Forward(inputs, out_.view);
  EXPECT_EQ(grouped, *out_.bytes);
}

}  // namespace
}  // namespace splashmask
