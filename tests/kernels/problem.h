// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of attention share: everything that one pass is asked, the reference's answer, and
// every SIMD target.

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/reference.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/kernels/random_inputs.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Everything that one forward pass is asked, with memory of its own.
struct Problem {
  OwnedTensor q, k, v, out;
  std::vector<float> logsumexp;
  std::vector<int32_t> q_ids, kv_ids;
  std::vector<float> sinks;
  std::optional<float> soft_cap;

  AttentionInputs inputs() const {
    AttentionInputs inputs{q.view, k.view, v.view, {}, {}};
    if (!q_ids.empty()) inputs.segment_ids = AttentionSegmentIds{q_ids, kv_ids};
    inputs.sinks = sinks;
    return inputs;
  }
};

struct Sizes {
  int64_t batch = 1, heads = 1, kv_heads = 1, q_len = 0, kv_len = 0, dim = 0, dim_v = 0;
};

inline Problem MakeProblem(std::mt19937_64& random, const Sizes& s,
                           FloatType type = FloatType::kFloat32,
                           Layout layout = Layout::kHeadsLengthDim) {
  Problem p;
  const float scale = 1 / std::sqrt(static_cast<float>(s.dim));
  p.q = RandomTensor(random, type, layout, s.batch, s.heads, s.q_len, s.dim, 2 * scale);
  p.k = RandomTensor(random, type, layout, s.batch, s.kv_heads, s.kv_len, s.dim);
  p.v = RandomTensor(random, type, layout, s.batch, s.kv_heads, s.kv_len, s.dim_v);
  p.out = MakeTensor(type, layout, s.batch, s.heads, s.q_len, s.dim_v);
  Fill(p.out.view, [] { return kNaN; });  // Nothing may be left as it was.
  p.logsumexp.assign(static_cast<size_t>(s.batch * s.heads * s.q_len), kNaN);
  return p;
}

/// A seeded mask, how to compile it, and what attention over it is asked: everything varies.
struct RandomProblem {
  RandomCase mask_case;
  Sizes sizes;
  FloatType type = FloatType::kFloat32;
  Layout layout = Layout::kHeadsLengthDim;
  Problem problem;
  std::mt19937_64 random;
  std::string trace;
};

inline RandomProblem MakeRandomProblem(uint64_t seed) {
  RandomProblem r{MakeRandomCase(seed), {}, {}, {}, {}, std::mt19937_64(seed), {}};
  const auto pick = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[r.random() % sizeof...(values)];
  };
  Sizes& s = r.sizes;
  s.batch = pick(1, 1, 2);
  s.heads = r.mask_case.mask.num_heads();
  s.kv_heads =
      s.heads % 2 == 0 ? pick(int64_t{1}, s.heads / 2, s.heads) : pick(int64_t{1}, s.heads);
  s.q_len = r.mask_case.mask.shape().q_len;
  s.kv_len = r.mask_case.mask.shape().kv_len;
  s.dim = pick(1, 5, 16, 40);
  s.dim_v = pick(s.dim, s.dim, int64_t{1}, int64_t{7}, int64_t{24});
  r.type = pick(FloatType::kFloat32, FloatType::kFloat32, FloatType::kBFloat16);
  r.layout = static_cast<Layout>(r.random() % 3);
  Problem& p = r.problem;
  p = MakeProblem(r.random, s, r.type, r.layout);
  if (r.random() % 3 == 0) {
    const auto id = [&] { return static_cast<int32_t>(r.random() % 3); };
    // The same for every sequence, or each its own.
    const int64_t q_sequences = pick(int64_t{1}, s.batch), kv_sequences = pick(int64_t{1}, s.batch);
    for (int64_t i = 0; i < q_sequences * s.q_len; ++i) p.q_ids.push_back(id());
    for (int64_t i = 0; i < kv_sequences * s.kv_len; ++i) p.kv_ids.push_back(id());
  }
  if (r.random() % 3 == 0) {
    for (int64_t h = 0; h < s.heads; ++h) p.sinks.push_back(static_cast<float>(r.random() % 5) - 2);
  }
  if (r.random() % 3 == 0) p.soft_cap = pick(0.5f, 3.0f, 30.0f);
  r.mask_case.options.plan.simplify = r.random() % 2 == 0;
  r.trace = "seed " + std::to_string(seed) + ": " + ToString(r.mask_case.mask) + " shape " +
            std::to_string(s.q_len) + "x" + std::to_string(s.kv_len);
  return r;
}

inline Plan CompileFwd(const MultiHeadMask& mask, BlockShape block, bool simplify = false) {
  CompileOptions options;
  options.fwd = block;
  options.plan.simplify = simplify;
  return Compile(mask, options);
}

inline Plan CompileAll(const MultiHeadMask& mask, BlockShape block, bool simplify = false) {
  CompileOptions options;
  options.fwd = options.dq = options.dkv = block;
  options.plan.simplify = simplify;
  return Compile(mask, options);
}

/// Whether a number is the expected one, NaN and infinities included.
inline bool Near(double expected, float got, double tolerance) {
  if (std::isnan(expected)) return std::isnan(got);
  if (std::isinf(expected)) return expected == static_cast<double>(got);
  return std::abs(expected - static_cast<double>(got)) <= tolerance;
}

/// The visible pairs of a mask, cell by cell.
inline VisiblePair VisibleIn(const MultiHeadMask& mask) {
  std::vector<std::vector<uint8_t>> cells;
  for (const Mask& head : mask.masks()) cells.push_back(NaiveCells(head));
  return [cells, kv_len = mask.shape().kv_len](int64_t head, int64_t q, int64_t kv) {
    return cells[static_cast<size_t>(head)][static_cast<size_t>(q * kv_len + kv)] != 0;
  };
}

inline ReferenceOptions OptionsOf(const Problem& p) {
  ReferenceOptions options;
  if (p.soft_cap) options.attn_logits_soft_cap = *p.soft_cap;
  return options;
}

/// Whether a case of a series is left out: a sanitizer sees every eighth.
inline bool IsLeftOut(int number) { return number % static_cast<int>(8 / SampleSize(8)) != 0; }

/// On every SIMD target that this machine has.
class TargetTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    hwy::SetSupportedTargetsForTest(GetParam());
    ASSERT_STREQ(hwy::TargetName(GetParam()), fast::TargetName());
  }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

}  // namespace splashmask
