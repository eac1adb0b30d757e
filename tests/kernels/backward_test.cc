// SPDX-License-Identifier: Apache-2.0
// The backward pass in fast mode against the reference in double.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fast/same_pairs.h"
#include "splashmask/kernels/reference.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/kernels/problem.h"
#include "tests/kernels/random_inputs.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

// What the backward pass writes, beside its own input.
struct Gradients {
  OwnedTensor d_out, dq, dk, dv;
  std::vector<float> sinks;

  AttentionGradients view() { return {dq.view, dk.view, dv.view, sinks}; }
};

Gradients MakeGradients(std::mt19937_64& random, const Problem& p, const Sizes& s, FloatType type,
                        Layout layout) {
  Gradients g;
  g.d_out = RandomTensor(random, type, layout, s.batch, s.heads, s.q_len, s.dim_v);
  g.dq = MakeTensor(type, layout, s.batch, s.heads, s.q_len, s.dim);
  g.dk = MakeTensor(type, layout, s.batch, s.kv_heads, s.kv_len, s.dim);
  g.dv = MakeTensor(type, layout, s.batch, s.kv_heads, s.kv_len, s.dim_v);
  for (const OwnedTensor* tensor : {&g.dq, &g.dk, &g.dv}) Fill(tensor->view, [] { return kNaN; });
  g.sinks.assign(p.sinks.size(), kNaN);
  return g;
}

// In bfloat16 weights and gradients of logits are rounded before they are summed: an error is
// measured by the largest number.
void ExpectNear(const std::vector<double>& expected, const Tensor& got, double tolerance,
                const char* name) {
  double largest = 0;
  for (const double x : expected) {
    const bool counts = got.type == FloatType::kBFloat16 && std::isfinite(x);
    if (counts) largest = std::max(largest, std::abs(x));
  }
  size_t i = 0;
  for (int64_t b = 0; b < got.batch; ++b) {
    for (int64_t h = 0; h < got.heads; ++h) {
      for (int64_t row = 0; row < got.length; ++row) {
        for (int64_t d = 0; d < got.dim; ++d, ++i) {
          ASSERT_TRUE(Near(expected[i], got.At(b, h, row, d),
                           tolerance * (1 + std::max(largest, std::abs(expected[i])))))
              << name << "[" << b << ", " << h << ", " << row << ", " << d << "]: expected "
              << expected[i] << ", got " << got.At(b, h, row, d);
        }
      }
    }
  }
}

void RunBoth(Problem& p, Gradients& g, const Plan& plan, int threads) {
  AttentionOptions options;
  options.attn_logits_soft_cap = p.soft_cap;
  options.threads = threads;
  const SplashAttention attention(plan, options);
  attention.Forward(p.inputs(), p.out.view, p.logsumexp);
  attention.Backward(p.inputs(), {p.out.view, p.logsumexp}, g.d_out.view, g.view());
}

void ExpectLikeReference(Problem& p, Gradients& g, const Plan& plan, double tolerance,
                         int threads = 1) {
  RunBoth(p, g, plan, threads);
  const VisiblePair visible = VisibleIn(plan.mask);
  const ReferenceGradients expected =
      ReferenceBackward(p.inputs(), visible, ReferenceForward(p.inputs(), visible, OptionsOf(p)),
                        g.d_out.view, BackwardForm::kFlash, OptionsOf(p));
  ASSERT_NO_FATAL_FAILURE(ExpectNear(expected.dq, g.dq.view, tolerance, "dq"));
  ASSERT_NO_FATAL_FAILURE(ExpectNear(expected.dk, g.dk.view, tolerance, "dk"));
  ASSERT_NO_FATAL_FAILURE(ExpectNear(expected.dv, g.dv.view, tolerance, "dv"));
  for (size_t h = 0; h < g.sinks.size(); ++h) {
    ASSERT_TRUE(Near(expected.sinks[h], g.sinks[h], tolerance * (1 + std::abs(expected.sinks[h]))))
        << "sinks[" << h << "]: expected " << expected.sinks[h] << ", got " << g.sinks[h];
  }
}

using BackwardTargetTest = TargetTest;
INSTANTIATE_TEST_SUITE_P(Targets, BackwardTargetTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(BackwardTargetTest, RandomMasksAndOptions) {
  for (uint64_t seed = 0; seed < SampleSize(400); ++seed) {
    RandomProblem r = MakeRandomProblem(seed);
    SCOPED_TRACE(r.trace);
    const Sizes& s = r.sizes;
    // In float32: what bfloat16 leaves of out decides the error of sum(out * d_out).
    r.problem.out = MakeTensor(FloatType::kFloat32, r.layout, s.batch, s.heads, s.q_len, s.dim_v);
    Gradients g = MakeGradients(r.random, r.problem, s, r.type, r.layout);
    const Plan plan = Compile(r.mask_case.mask, r.mask_case.options);
    ASSERT_NO_FATAL_FAILURE(ExpectLikeReference(r.problem, g, plan,
                                                r.type == FloatType::kFloat32 ? 5e-5 : 2e-2,
                                                static_cast<int>(seed % 3) + 1));
  }
}

// dq in blocks of another shape: computed apart where those end within a byte, else fused.
Plan CompileWithDq(const MultiHeadMask& mask, BlockShape block, BlockShape block_dq,
                   bool simplify) {
  CompileOptions options;
  options.fwd = options.dkv = block;
  options.dq = block_dq;
  options.plan.simplify = simplify;
  return Compile(mask, options);
}

TEST_P(BackwardTargetTest, BlocksOfManyTilesAndPanels) {
  int number = 0;
  const Shape shape{320, 600};
  std::mt19937_64 random(1);
  for (const Mask& mask :
       {Mask::Causal(shape, 200), Mask::Causal(shape, 300) & Mask::Stride(shape, 3),
        Mask::Documents(shape, {100, 50, 120, 30}), Mask::Empty(shape)}) {
    for (const BlockShape block : {BlockShape{320, 600}, BlockShape{64, 40}, BlockShape{160, 75}}) {
      for (const BlockShape block_dq : {block, BlockShape{80, 120}, BlockShape{20, 100}}) {
        for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
          const bool simplify = number % 3 == 0;
          if (IsLeftOut(number++)) continue;
          SCOPED_TRACE(ToString(mask) + " block " + std::to_string(block.q) + ", dq " +
                       std::to_string(block_dq.q) + ", case " + std::to_string(number - 1));
          const Sizes s{1, 2, 1, 320, 600, 48, 33};
          Problem p = MakeProblem(random, s, type);
          p.out = MakeTensor(FloatType::kFloat32, Layout::kHeadsLengthDim, 1, 2, 320, 33);
          Gradients g = MakeGradients(random, p, s, type, Layout::kHeadsLengthDim);
          ASSERT_NO_FATAL_FAILURE(ExpectLikeReference(
              p, g, CompileWithDq(MultiHeadMask(mask, 2), block, block_dq, simplify),
              type == FloatType::kFloat32 ? 5e-5 : 2e-2));
        }
      }
    }
  }
}

// One number that is not finite reaches the gradients of what it is paired with and no other.
void ExpectStaysAmongItsPairs(std::mt19937_64& random, const Mask& mask, const Plan& plan,
                              FloatType type, float value, char where) {
  const Sizes s{1, 1, 1, 96, 160, 8, 8};
  Problem p = MakeProblem(random, s, type);
  Gradients g = MakeGradients(random, p, s, type, Layout::kHeadsLengthDim);
  const int64_t at = 45;
  RunBoth(p, g, plan, 1);
  const Gradients before = [&] {
    Gradients copy = g;
    for (OwnedTensor* tensor : {&copy.dq, &copy.dk, &copy.dv}) {
      tensor->bytes = std::make_shared<std::vector<std::byte>>(*tensor->bytes);
      tensor->view.data = tensor->bytes->data();
    }
    return copy;
  }();
  (where == 'q'   ? p.q
   : where == 'k' ? p.k
   : where == 'v' ? p.v
                  : g.d_out)
      .view.Set(0, 0, at, 3, value);
  RunBoth(p, g, plan, 1);
  const bool is_row = where == 'q' || where == 'o';
  // Rows that are paired with it, and through them the positions that those see.
  std::vector<bool> rows(96), positions(160);
  for (int64_t q = 0; q < 96; ++q) {
    rows[static_cast<size_t>(q)] = is_row ? q == at : NaiveAt(mask, q, at);
    for (int64_t kv = 0; kv < 160; ++kv) {
      if (rows[static_cast<size_t>(q)] && NaiveAt(mask, q, kv)) {
        positions[static_cast<size_t>(kv)] = true;
      }
    }
  }
  const auto expect_kept = [&](const OwnedTensor& old, const OwnedTensor& got,
                               const std::vector<bool>& touched) {
    for (int64_t i = 0; i < got.view.length; ++i) {
      if (touched[static_cast<size_t>(i)]) continue;
      for (int64_t d = 0; d < 8; ++d) {
        ASSERT_EQ(old.view.At(0, 0, i, d), got.view.At(0, 0, i, d))
            << value << " in " << where << " reached " << i;
      }
    }
  };
  ASSERT_NO_FATAL_FAILURE(expect_kept(before.dq, g.dq, rows));
  ASSERT_NO_FATAL_FAILURE(expect_kept(before.dk, g.dk, positions));
  ASSERT_NO_FATAL_FAILURE(expect_kept(before.dv, g.dv, positions));
  if (!std::isnan(value)) return;
  const auto expect_reached = [&](const OwnedTensor& got, const std::vector<bool>& touched,
                                  std::vector<int64_t> dims) {
    for (int64_t i = 0; i < got.view.length; ++i) {
      for (const int64_t d : dims) {
        if (touched[static_cast<size_t>(i)]) {
          ASSERT_TRUE(std::isnan(got.view.At(0, 0, i, d)))
              << "NaN in " << where << " did not reach " << i;
        }
      }
    }
  };
  const std::vector<int64_t> all{0, 1, 2, 3, 4, 5, 6, 7};
  ASSERT_NO_FATAL_FAILURE(expect_reached(g.dq, rows, all));
  ASSERT_NO_FATAL_FAILURE(expect_reached(g.dk, positions, all));
  // Weights do not depend on v, nor on d_out.
  ASSERT_NO_FATAL_FAILURE(expect_reached(g.dv, positions,
                                         where == 'o'   ? std::vector<int64_t>{3}
                                         : where == 'v' ? std::vector<int64_t>{}
                                                        : all));
}

TEST_P(BackwardTargetTest, WhatIsNotFiniteStaysAmongItsPairs) {
  const Shape shape{96, 160};
  const Mask mask = Mask::Local(shape, 20, 7, 30);
  std::mt19937_64 random(4);
  for (const Mask& what : {mask, mask & Mask::Full(shape)}) {
    for (const BlockShape block_dq : {BlockShape{32, 80}, BlockShape{16, 40}, BlockShape{12, 20}}) {
      const Plan plan = CompileWithDq(MultiHeadMask(what, 1), {32, 80}, block_dq, false);
      ASSERT_EQ(block_dq.q != 12, fast::DqAndDkvSeeTheSame(plan));  // Both ways are gone.
      for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
        for (const float value : {kNaN, std::numeric_limits<float>::infinity()}) {
          for (const char where : {'q', 'k', 'v', 'o'}) {
            ASSERT_NO_FATAL_FAILURE(
                ExpectStaysAmongItsPairs(random, mask, plan, type, value, where));
          }
        }
      }
    }
  }
}

// A pair whose logit is -inf has no weight, also beside the rows that fill up a panel.
TEST_P(BackwardTargetTest, NoWeightIsNoWeight) {
  const Shape shape{3, 8};
  for (const int64_t block_q : {1, 3}) {
    for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
      std::mt19937_64 random(11);
      const Sizes s{1, 1, 1, 3, 8, 4, 4};
      Problem p = MakeProblem(random, s, type);
      Gradients g = MakeGradients(random, p, s, type, Layout::kHeadsLengthDim);
      for (int64_t q = 0; q < 3; ++q) p.q.view.Set(0, 0, q, 0, -1);
      p.k.view.Set(0, 0, 5, 0, std::numeric_limits<float>::infinity());
      RunBoth(p, g, CompileAll(MultiHeadMask(Mask::Full(shape), 1), {block_q, 8}), 1);
      for (int64_t d = 0; d < 4; ++d) {
        EXPECT_EQ(0, g.dk.view.At(0, 0, 5, d));
        EXPECT_EQ(0, g.dv.view.At(0, 0, 5, d));
        for (int64_t i = 0; i < 8; ++i) EXPECT_TRUE(std::isfinite(g.dv.view.At(0, 0, i, d)));
        for (int64_t q = 0; q < 3; ++q) EXPECT_TRUE(std::isfinite(g.dq.view.At(0, 0, q, d)));
      }
    }
  }
}

TEST(BackwardTest, ThreadsAndRunsDoNotChangeABit) {
  const Shape shape{512, 512};
  const Plan plan =
      CompileAll(MultiHeadMask(Mask::Causal(shape) & Mask::Stride(shape, 3), 2), {128, 128});
  std::mt19937_64 random(6);
  const Sizes s{1, 2, 1, 512, 512, 16, 16};
  for (const FloatType type : {FloatType::kFloat32, FloatType::kBFloat16}) {
    Problem p = MakeProblem(random, s, type);
    Gradients g = MakeGradients(random, p, s, type, Layout::kHeadsLengthDim);
    std::vector<std::vector<std::byte>> first;
    for (const int threads : {1, 2, 8, 1}) {
      RunBoth(p, g, plan, threads);
      const std::vector<std::vector<std::byte>> got{*g.dq.bytes, *g.dk.bytes, *g.dv.bytes};
      if (first.empty()) first = got;
      EXPECT_EQ(first, got);
    }
  }
}

// It obeys the tables: those of dq for dq, those of dkv for dk and dv.
TEST(BackwardTest, AlteredTablesChangeExactlyTheirGradients) {
  const Shape shape{64, 128};
  const Plan plan = CompileAll(MultiHeadMask(Mask::Stride(shape, 2), 1), {16, 32});
  std::mt19937_64 random(5);
  const Sizes s{1, 1, 1, 64, 128, 8, 8};
  Problem p = MakeProblem(random, s);
  const Gradients given = MakeGradients(random, p, s, FloatType::kFloat32, Layout::kHeadsLengthDim);
  const auto run = [&](const Plan& what) {
    Gradients g = given;
    for (OwnedTensor* tensor : {&g.dq, &g.dk, &g.dv}) {
      tensor->bytes = std::make_shared<std::vector<std::byte>>(*tensor->bytes);
      tensor->view.data = tensor->bytes->data();
    }
    RunBoth(p, g, what, 1);
    return g;
  };
  const auto changed = [](const OwnedTensor& a, const OwnedTensor& b) {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < a.view.length; ++i) {
      for (int64_t d = 0; d < a.view.dim; ++d) {
        // What is computed in one pass or two may differ in the last bits.
        if (std::abs(a.view.At(0, 0, i, d) - b.view.At(0, 0, i, d)) < 1e-4f) continue;
        rows.push_back(i);
        break;
      }
    }
    return rows;
  };
  const auto range = [](int64_t begin, int64_t end) {
    std::vector<int64_t> rows(static_cast<size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), begin);
    return rows;
  };
  const std::vector<int64_t> none;
  const Gradients right = run(plan);
  Plan altered = plan;
  altered.dq->info.block_mask = plan.dq->info.block_mask->Clone();
  altered.dq->info.block_mask->Set(1 * 4 + 2, 0);
  Gradients got = run(altered);
  EXPECT_EQ(range(16, 32), changed(right.dq, got.dq));
  EXPECT_EQ(none, changed(right.dk, got.dk));
  EXPECT_EQ(none, changed(right.dv, got.dv));

  altered = plan;
  altered.dkv->info.block_mask = plan.dkv->info.block_mask->Clone();
  altered.dkv->info.block_mask->Set(1 * 4 + 2, 0);
  got = run(altered);
  EXPECT_EQ(none, changed(right.dq, got.dq));
  EXPECT_EQ(range(64, 96), changed(right.dk, got.dk));
  EXPECT_EQ(range(64, 96), changed(right.dv, got.dv));

  altered = plan;
  altered.dkv->info.partial_mask_blocks = plan.dkv->info.partial_mask_blocks->Clone();
  altered.dkv->info.partial_mask_blocks->Flip(0, 9, 5);
  got = run(altered);
  EXPECT_EQ(none, changed(right.dq, got.dq));
  EXPECT_EQ((std::vector<int64_t>{9, 41, 73, 105}), changed(right.dk, got.dk));

  // The fused backward has one table for all three.
  CompileOptions fused;
  fused.fwd = fused.dkv = BlockShape{16, 32};
  fused.plan.use_fused_bwd_kernel = true;
  altered = Compile(MultiHeadMask(Mask::Stride(shape, 2), 1), fused);
  const Gradients by_fused = run(altered);
  EXPECT_EQ(none, changed(right.dq, by_fused.dq));
  EXPECT_EQ(none, changed(right.dk, by_fused.dk));
  altered.dkv->info.block_mask = altered.dkv->info.block_mask->Clone();
  altered.dkv->info.block_mask->Set(1 * 4 + 2, 0);
  got = run(altered);
  EXPECT_EQ(range(16, 32), changed(right.dq, got.dq));
  EXPECT_EQ(range(64, 96), changed(right.dk, got.dk));
  altered.dkv->info.data_next = altered.dkv->info.data_next->Clone();
  altered.dkv->info.data_next->Set(0, 1);
  ExpectError(ErrorCode::kDamaged,
              "[attention] dkv: expected unshrunk tables for the fused backward",
              [&] { SplashAttention{altered}; });
}

TEST(BackwardTest, BadInput) {
  const Shape shape{8, 12};
  const Plan plan = CompileAll(MultiHeadMask(Mask::Causal(shape), 2), {4, 4});
  std::mt19937_64 random(7);
  const Sizes s{1, 2, 1, 8, 12, 4, 4};
  Problem p = MakeProblem(random, s);
  const auto expect = [&](const std::string& text, const auto& change) {
    Gradients g = MakeGradients(random, p, s, FloatType::kFloat32, Layout::kHeadsLengthDim);
    AttentionGradients view = g.view();
    ForwardResult forward{p.out.view, p.logsumexp};
    ConstTensor d_out = g.d_out.view;
    change(view, forward, d_out);
    ExpectError(ErrorCode::kInvalidArgument, "[attention] " + text,
                [&] { SplashAttention(plan).Backward(p.inputs(), forward, d_out, view); });
  };
  expect("expected dq of shape [1, 2, 8, 4], got [1, 2, 8, 3]",
         [](auto& view, auto&, auto&) { view.dq.dim = 3; });
  expect("expected dk of shape [1, 1, 12, 4], got [1, 2, 12, 4]",
         [](auto& view, auto&, auto&) { view.dk.heads = 2; });
  expect("expected d_out of shape [1, 2, 8, 4], got [1, 2, 7, 4]",
         [](auto&, auto&, auto& d_out) { d_out.length = 7; });
  expect("expected logsumexp of 16 elements, got 0",
         [](auto&, auto& forward, auto&) { forward.logsumexp = {}; });
  expect("expected dk apart from dv, got both in one memory",
         [](auto& view, auto&, auto&) { view.dk.data = view.dv.data; });
  std::vector<float> sinks(2);
  expect("expected gradients of 0 sinks, got 2",
         [&](auto& view, auto&, auto&) { view.sinks = sinks; });
  CompileOptions fwd;
  fwd.fwd = BlockShape{4, 4};
  Gradients g = MakeGradients(random, p, s, FloatType::kFloat32, Layout::kHeadsLengthDim);
  ExpectError(ErrorCode::kInvalidArgument, "[attention] expected a plan with the passes dq and dkv",
              [&] {
                SplashAttention(Compile(MultiHeadMask(Mask::Causal(shape), 2), fwd))
                    .Backward(p.inputs(), {p.out.view, p.logsumexp}, g.d_out.view, g.view());
              });
}

}  // namespace
}  // namespace splashmask
