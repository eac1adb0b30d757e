// SPDX-License-Identifier: Apache-2.0
// The forward pass in fast mode against the reference in double.

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/reference.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/kernels/problem.h"
#include "tests/kernels/random_inputs.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// v is a few units at most; weights and the result are rounded to eight bits.
constexpr double kOfBFloat16 = 2e-2;

// Runs the plan and compares every number; the last axis of the output is compared by its largest.
void ExpectLikeReference(Problem& p, const Plan& plan, double tolerance, int threads = 1) {
  const ReferenceOutput expected = ReferenceForward(p.inputs(), VisibleIn(plan.mask), OptionsOf(p));
  AttentionOptions options;
  options.attn_logits_soft_cap = p.soft_cap;
  options.threads = threads;
  const SplashAttention attention(plan, options);
  attention.Forward(p.inputs(), p.out.view, p.logsumexp);
  const Tensor& out = p.out.view;
  size_t i = 0;
  for (int64_t b = 0; b < out.batch; ++b) {
    for (int64_t h = 0; h < out.heads; ++h) {
      for (int64_t q = 0; q < out.length; ++q) {
        for (int64_t d = 0; d < out.dim; ++d, ++i) {
          ASSERT_TRUE(Near(expected.out[i], out.At(b, h, q, d), tolerance))
              << "out[" << b << ", " << h << ", " << q << ", " << d << "]: expected "
              << expected.out[i] << ", got " << out.At(b, h, q, d);
        }
      }
    }
  }
  for (i = 0; i < p.logsumexp.size(); ++i) {
    ASSERT_TRUE(
        Near(expected.logsumexp[i], p.logsumexp[i], 1e-5 * (1 + std::abs(expected.logsumexp[i]))))
        << "logsumexp[" << i << "]: expected " << expected.logsumexp[i] << ", got "
        << p.logsumexp[i];
  }
}

using ForwardTargetTest = TargetTest;
INSTANTIATE_TEST_SUITE_P(Targets, ForwardTargetTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(ForwardTargetTest, RandomMasksAndOptions) {
  for (uint64_t seed = 0; seed < SampleSize(400); ++seed) {
    RandomProblem r = MakeRandomProblem(seed);
    SCOPED_TRACE(r.trace);
    r.mask_case.options.dq.reset();
    r.mask_case.options.dkv.reset();
    const Plan plan = Compile(r.mask_case.mask, r.mask_case.options);
    ASSERT_NO_FATAL_FAILURE(ExpectLikeReference(r.problem, plan,
                                                r.type == FloatType::kFloat32 ? 2e-5 : kOfBFloat16,
                                                static_cast<int>(seed % 3) + 1));
  }
}

TEST_P(ForwardTargetTest, BlocksOfManyTilesAndPanels) {
  int number = 0;
  const Shape shape{320, 600};
  const std::vector<Mask> masks{
      Mask::Full(shape),
      Mask::Causal(shape, 200),
      Mask::Local(shape, 90, 10, 130),
      Mask::ChunkedCausal(shape, 100),
      Mask::Causal(shape, 300) & Mask::Stride(shape, 3),
      Mask::Documents(shape, {100, 50, 120, 30}),
      ~Mask::Causal(shape, -5),
      Mask::Causal(shape, 100).Reorder(Positions::Zigzag(4)),
      Mask::Empty(shape),
  };
  std::mt19937_64 random(1);
  for (const Mask& mask : masks) {
    for (const BlockShape block :
         {BlockShape{320, 600}, BlockShape{160, 200}, BlockShape{64, 40}}) {
      for (const bool simplify : {false, true}) {
        const auto type = random() % 2 == 0 ? FloatType::kFloat32 : FloatType::kBFloat16;
        if (IsLeftOut(number++)) continue;
        SCOPED_TRACE(ToString(mask) + " block " + std::to_string(block.q) + "x" +
                     std::to_string(block.kv));
        Problem p = MakeProblem(random, {1, 2, 1, 320, 600, 48, 32}, type);
        ASSERT_NO_FATAL_FAILURE(
            ExpectLikeReference(p, CompileFwd(MultiHeadMask(mask, 2), block, simplify),
                                type == FloatType::kFloat32 ? 2e-5 : kOfBFloat16));
      }
    }
  }
}

// Heads that share a kv head are computed together, in one panel where their rows are few.
TEST_P(ForwardTargetTest, FewRowsOfManyHeads) {
  std::mt19937_64 random(8);
  for (const int64_t q_len : {1, 2, 3, 7, 24}) {
    const Shape shape{q_len, 300};
    const Mask causal = Mask::Causal(shape, 250), local = Mask::Local(shape, 30, 100, 190);
    const Mask stored = causal & Mask::Stride(shape, 3);
    const std::vector<std::vector<Mask>> masks{
        {causal, causal, causal, causal, causal, causal, causal, causal, causal, causal, causal,
         causal},
        {causal, local, local, stored, stored, stored, causal, Mask::Empty(shape), local, local,
         causal, stored},
    };
    for (const std::vector<Mask>& heads : masks) {
      for (const int64_t kv_heads : {1, 2, 3, 12}) {
        for (const int64_t block_q : {int64_t{1}, q_len}) {
          const auto type = random() % 2 == 0 ? FloatType::kFloat32 : FloatType::kBFloat16;
          SCOPED_TRACE("q_len " + std::to_string(q_len) + ", kv heads " + std::to_string(kv_heads) +
                       ", block_q " + std::to_string(block_q));
          Problem p = MakeProblem(random, {2, 12, kv_heads, q_len, 300, 20, 12}, type);
          for (int64_t i = 0; i < q_len * 2; ++i) p.q_ids.push_back(static_cast<int32_t>(i % 2));
          for (int64_t i = 0; i < 300 * 2; ++i)
            p.kv_ids.push_back(static_cast<int32_t>(i / 77 % 2));
          for (int64_t h = 0; h < 12; ++h) p.sinks.push_back(static_cast<float>(h) / 4 - 1);
          ASSERT_NO_FATAL_FAILURE(
              ExpectLikeReference(p, CompileFwd(MultiHeadMask(heads), {block_q, 60}),
                                  type == FloatType::kFloat32 ? 2e-5 : kOfBFloat16));
        }
      }
    }
  }
}

// Tables may name blocks in any order.
TEST(ForwardTest, TablesInAnyOrder) {
  const Shape shape{64, 128};
  Plan plan = CompileFwd(MultiHeadMask(Mask::Full(shape), 1), {16, 32});
  std::mt19937_64 random(9);
  Problem p = MakeProblem(random, {1, 1, 1, 64, 128, 8, 8});
  Table next = plan.fwd->info.data_next->Clone();
  for (int64_t column = 0; column < 4; ++column) next.Set(2 * 4 + column, 3 - column);
  plan.fwd->info.data_next = next;
  ASSERT_NO_FATAL_FAILURE(ExpectLikeReference(p, plan, 2e-5));
}

TEST(ForwardTest, SegmentsOfManyTiles) {
  const Shape shape{512, 512};
  const Plan plan = CompileFwd(MultiHeadMask(Mask::Causal(shape), 1), {128, 256});
  std::mt19937_64 random(2);
  Problem p = MakeProblem(random, {2, 1, 1, 512, 512, 16, 16});
  for (int32_t i = 0; i < 512; ++i) p.q_ids.push_back(i / 150);
  p.kv_ids = p.q_ids;
  ExpectLikeReference(p, plan, 2e-5);
}

TEST(ForwardTest, LargeLogitsAndEqualRows) {
  const Shape shape{64, 192};
  const Plan plan = CompileFwd(MultiHeadMask(Mask::Causal(shape, 128), 1), {32, 64});
  std::mt19937_64 random(3);
  Problem p = MakeProblem(random, {1, 1, 1, 64, 192, 16, 16});
  Fill(p.q.view, [&, i = 0]() mutable { return (i++ % 2 ? 1e4f : -1e4f) / 16; });
  ExpectLikeReference(p, plan, 1e-3);
  Fill(p.q.view, [] { return 0.0f; });
  ExpectLikeReference(p, plan, 2e-5);
}

// One cell of k or v that is not finite reaches the rows that see it and no other.
TEST_P(ForwardTargetTest, WhatIsNotFiniteReachesWhoSeesIt) {
  const Shape shape{96, 160};
  const Mask mask = Mask::Local(shape, 20, 7, 30);
  const Plan stored = CompileFwd(MultiHeadMask(mask & Mask::Full(shape), 1), {32, 80});
  const Plan computed = CompileFwd(MultiHeadMask(mask, 1), {32, 80});
  ASSERT_TRUE(stored.fwd->info.partial_mask_blocks && computed.fwd->mask_function);
  std::mt19937_64 random(4);
  for (const Plan* plan : {&stored, &computed}) {
    for (const float value : {kNaN, kInfinity, -kInfinity}) {
      for (int number = 0; number < 4; ++number) {
        const bool in_v = number % 2 == 1;
        const auto type = number < 2 ? FloatType::kFloat32 : FloatType::kBFloat16;
        for (const int64_t kv : {0, 45, 79, 80, 159}) {
          Problem p = MakeProblem(random, {1, 1, 1, 96, 160, 8, 8}, type);
          const SplashAttention attention(*plan);
          attention.Forward(p.inputs(), p.out.view, p.logsumexp);
          const std::vector<std::byte> bytes_before = *p.out.bytes;
          (in_v ? p.v : p.k).view.Set(0, 0, kv, 3, value);
          attention.Forward(p.inputs(), p.out.view, p.logsumexp);
          const std::vector<std::byte> bytes = *p.out.bytes;
          const auto at = [&](const std::vector<std::byte>& of, int64_t q, int64_t d) {
            Tensor view = p.out.view;
            view.data = const_cast<std::byte*>(of.data());
            return view.At(0, 0, q, d);
          };
          for (int64_t q = 0; q < shape.q_len; ++q) {
            const bool sees = NaiveAt(mask, q, kv);
            for (int64_t d = 0; d < 8; ++d) {
              const float got = at(bytes, q, d), old = at(bytes_before, q, d);
              if (!sees) {
                ASSERT_EQ(old, got) << q << " does not see " << kv;
              } else if (in_v ? d == 3 : std::isnan(value)) {
                ASSERT_FALSE(std::isfinite(got)) << q << " sees " << kv;
              }
            }
          }
        }
      }
    }
  }
}

// It obeys the tables, not the text.
TEST(ForwardTest, AlteredTablesChangeExactlyTheirRows) {
  const Shape shape{64, 128};
  const Mask mask = Mask::Stride(shape, 2);
  const Plan plan = CompileFwd(MultiHeadMask(mask, 1), {16, 32});
  std::mt19937_64 random(5);
  Problem p = MakeProblem(random, {1, 1, 1, 64, 128, 8, 8});
  const auto run = [&](const Plan& what) {
    SplashAttention(what).Forward(p.inputs(), p.out.view);
    const auto* out = reinterpret_cast<const float*>(p.out.bytes->data());
    return std::vector<float>(out, out + 64 * 8);
  };
  const std::vector<float> right = run(plan);
  const auto changed_rows = [&](const Plan& what) {
    const std::vector<float> got = run(what);
    std::vector<int64_t> rows;
    for (int64_t q = 0; q < 64; ++q) {
      if (!std::equal(&got[static_cast<size_t>(q * 8)], &got[static_cast<size_t>(q * 8)] + 8,
                      &right[static_cast<size_t>(q * 8)])) {
        rows.push_back(q);
      }
    }
    return rows;
  };
  const auto block_rows = [](int64_t block) {
    std::vector<int64_t> rows(16);
    std::iota(rows.begin(), rows.end(), block * 16);
    return rows;
  };
  for (const int32_t block_class : {0, 2}) {
    Plan altered = plan;
    altered.fwd->info.block_mask = plan.fwd->info.block_mask->Clone();
    altered.fwd->info.block_mask->Set(1 * 4 + 2, block_class);
    EXPECT_EQ(block_rows(1), changed_rows(altered));
  }
  Plan altered = plan;
  altered.fwd->info.partial_mask_blocks = plan.fwd->info.partial_mask_blocks->Clone();
  altered.fwd->info.partial_mask_blocks->Flip(0, 5, 9);
  EXPECT_EQ((std::vector<int64_t>{5, 21, 37, 53}), changed_rows(altered));  // The one block of all.
}

TEST(ForwardTest, ThreadsAndRunsDoNotChangeABit) {
  const Shape shape{1024, 1024};
  const Mask mask = Mask::Causal(shape) & Mask::Local(shape, 300, 0);
  std::mt19937_64 random(6);
  for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
    for (const BlockShape block : {BlockShape{128, 128}, BlockShape{16, 64}}) {
      const Plan plan =
          CompileFwd(MultiHeadMask({mask, mask, Mask::Stride(shape, 3), mask}), block);
      Problem p = MakeProblem(random, {1, 4, 2, 1024, 1024, 16, 16}, type);
      std::vector<std::byte> first;
      for (const int threads : {1, 2, 8, 1, 8}) {
        AttentionOptions options;
        options.threads = threads;
        SplashAttention(plan, options).Forward(p.inputs(), p.out.view, p.logsumexp);
        if (first.empty()) first = *p.out.bytes;
        EXPECT_EQ(first, *p.out.bytes);
      }
    }
  }
}

// A row that sees nothing has the sink's logsumexp, whatever the sink is, and its neighbours see.
TEST_P(ForwardTargetTest, SinksOfRowsThatSeeNothing) {
  const Shape shape{32, 32};
  for (const int64_t block_q : {1, 32}) {
    for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
      for (const float sink : {kInfinity, -kInfinity, kNaN, 1e30f, 0.0f}) {
        const Plan plan = CompileAll(
            MultiHeadMask(Mask::Full(shape) - Mask::QRange(shape, 3, 9), 1), {block_q, 32});
        std::mt19937_64 random(12);
        Problem p = MakeProblem(random, {1, 1, 1, 32, 32, 4, 4}, type);
        p.sinks = {sink};
        for (int32_t i = 0; i < 32; ++i) {
          p.q_ids.push_back(i == 20 ? -1 : 0);
          p.kv_ids.push_back(0);
        }
        const SplashAttention attention(plan);
        attention.Forward(p.inputs(), p.out.view, p.logsumexp);
        for (const int64_t q : {3, 8, 20}) {
          for (int64_t d = 0; d < 4; ++d) EXPECT_EQ(0, p.out.view.At(0, 0, q, d)) << sink;
          EXPECT_TRUE(Near(static_cast<double>(sink), p.logsumexp[static_cast<size_t>(q)], 0))
              << sink;
        }
        // Beside a sink without bounds nothing counts.
        const float beside = p.logsumexp[0], out = p.out.view.At(0, 0, 0, 0);
        EXPECT_EQ(sink == kInfinity, beside == kInfinity && out == 0);
        EXPECT_EQ(std::isnan(sink), std::isnan(beside) && std::isnan(out));
      }
    }
  }
}

// What a weight of 0 meets does not count, whether a tile is seen whole or through a partial block.
TEST_P(ForwardTargetTest, WeightsThatAreNothing) {
  const Shape shape{16, 32};
  for (const bool is_stored : {false, true}) {
    const Plan plan = CompileFwd(
        MultiHeadMask(
            is_stored ? ~(Mask::Causal(shape, -99) & Mask::Full(shape)) : Mask::Full(shape), 1),
        {16, 32});
    for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
      std::mt19937_64 random(10);
      Problem p = MakeProblem(random, {1, 1, 1, 16, 32, 4, 4}, type);
      Fill(p.q.view, [] { return 1.0f; });
      for (int64_t d = 0; d < 4; ++d) {
        p.k.view.Set(0, 0, 7, d, -100);  // Its logit is so far below the others that exp gives 0.
        p.v.view.Set(0, 0, 7, d, kInfinity);
      }
      SplashAttention(plan).Forward(p.inputs(), p.out.view);
      for (int64_t q = 0; q < 16; ++q) {
        for (int64_t d = 0; d < 4; ++d) EXPECT_TRUE(std::isfinite(p.out.view.At(0, 0, q, d)));
      }
    }
  }
}

}  // namespace
}  // namespace splashmask
