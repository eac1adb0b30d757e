// SPDX-License-Identifier: Apache-2.0
// The reference itself: numbers worked out by hand, and gradients against finite differences.

#include "splashmask/kernels/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/kernels/random_inputs.h"

namespace splashmask {
namespace {

ConstTensor View(const std::vector<float>& values, int64_t heads, int64_t length, int64_t dim) {
  return ConstTensor::Contiguous(values.data(), FloatType::kFloat32, 1, heads, length, dim);
}

TEST(ReferenceTest, TwoPositionsByHand) {
  // Logits 0 and ln 3: weights 1/4 and 3/4.
  const std::vector<float> q{1}, k{0, static_cast<float>(std::log(3.0))}, v{8, 16};
  const AttentionInputs in{View(q, 1, 1, 1), View(k, 1, 2, 1), View(v, 1, 2, 1), {}, {}};
  const auto all = [](int64_t, int64_t, int64_t) { return true; };
  const ReferenceOutput both = ReferenceForward(in, all);
  EXPECT_NEAR(14, both.out[0], 1e-6);
  EXPECT_NEAR(std::log(4.0), both.logsumexp[0], 1e-6);
  const ReferenceOutput first =
      ReferenceForward(in, [](int64_t, int64_t, int64_t kv) { return kv == 0; });
  EXPECT_DOUBLE_EQ(8, first.out[0]);
  EXPECT_DOUBLE_EQ(0, first.logsumexp[0]);
}

TEST(ReferenceTest, RowsThatSeeNothing) {
  const std::vector<float> q{1}, k{0, 1}, v{8, 16}, sink{3};
  AttentionInputs in{View(q, 1, 1, 1), View(k, 1, 2, 1), View(v, 1, 2, 1), {}, {}};
  const auto none = [](int64_t, int64_t, int64_t) { return false; };
  const ReferenceOutput empty = ReferenceForward(in, none);
  EXPECT_EQ(0, empty.out[0]);
  EXPECT_EQ(-std::numeric_limits<double>::infinity(), empty.logsumexp[0]);
  // With a number for what is not seen, as JAX has it: the mean of v.
  EXPECT_DOUBLE_EQ(12, ReferenceForward(in, none, {{}, -1e30}).out[0]);
  in.sinks = sink;
  const ReferenceOutput with_sink = ReferenceForward(in, none);
  EXPECT_EQ(0, with_sink.out[0]);
  EXPECT_EQ(3, with_sink.logsumexp[0]);
}

TEST(ReferenceTest, SegmentsAndSinks) {
  const std::vector<float> q{1}, k{0, 0}, v{8, 16}, sink{0};
  const std::vector<int32_t> q_id{1}, kv_id{1, 2};
  AttentionInputs in{View(q, 1, 1, 1), View(k, 1, 2, 1), View(v, 1, 2, 1), {}, sink};
  const auto all = [](int64_t, int64_t, int64_t) { return true; };
  EXPECT_DOUBLE_EQ(8, ReferenceForward(in, all).out[0]);  // A third of the weight is the sink's.
  in.segment_ids = AttentionSegmentIds{q_id, kv_id};
  EXPECT_DOUBLE_EQ(4, ReferenceForward(in, all).out[0]);
}

// sum(out * do), for gradients by finite differences.
double Loss(const AttentionInputs& in, const VisiblePair& visible, const ReferenceOptions& options,
            const ConstTensor& d_out) {
  const ReferenceOutput forward = ReferenceForward(in, visible, options);
  double loss = 0;
  size_t i = 0;
  for (int64_t b = 0; b < d_out.batch; ++b) {
    for (int64_t h = 0; h < d_out.heads; ++h) {
      for (int64_t q = 0; q < d_out.length; ++q) {
        for (int64_t d = 0; d < d_out.dim; ++d) loss += forward.out[i++] * d_out.At(b, h, q, d);
      }
    }
  }
  return loss;
}

TEST(ReferenceTest, GradientsAreFiniteDifferences) {
  std::mt19937_64 random(1);
  const auto make = [&](int64_t heads, int64_t length, int64_t dim) {
    return RandomTensor(random, FloatType::kFloat32, Layout::kHeadsLengthDim, 2, heads, length,
                        dim);
  };
  OwnedTensor q = make(4, 5, 3), k = make(2, 6, 3), v = make(2, 6, 2), d_out = make(4, 5, 2);
  std::vector<float> sinks{0.5f, -1, 0, 1};
  const std::vector<int32_t> q_ids{0, 0, 1, 1, 2}, kv_ids{0, 0, 1, 1, 0, 1};  // Row 4 sees nothing.
  const auto visible = [](int64_t head, int64_t row, int64_t kv) {
    return (row + kv + head) % 3 != 0;
  };
  for (const bool with_sinks : {false, true}) {
    for (const bool capped : {false, true}) {
      for (const BackwardForm form : {BackwardForm::kFlash, BackwardForm::kVanilla}) {
        AttentionInputs in{q.view, k.view, v.view, AttentionSegmentIds{q_ids, kv_ids}, {}};
        if (with_sinks) in.sinks = sinks;
        ReferenceOptions options;
        if (capped) options.attn_logits_soft_cap = 1.5;
        const ReferenceGradients got = ReferenceBackward(
            in, visible, ReferenceForward(in, visible, options), d_out.view, form, options);
        const auto check = [&](const std::vector<double>& gradient, float* values, size_t count) {
          ASSERT_EQ(count, gradient.size());
          for (size_t i = 0; i < count; ++i) {
            const float before = values[i];
            const float step = 1.0f / 256;
            values[i] = before + step;
            const double up = Loss(in, visible, options, d_out.view);
            const double above = values[i];
            values[i] = before - step;
            const double down = Loss(in, visible, options, d_out.view);
            const double below = values[i];
            values[i] = before;
            ASSERT_NEAR((up - down) / (above - below), gradient[i], 2e-4) << i;
          }
        };
        const auto floats = [](OwnedTensor& tensor) {
          return reinterpret_cast<float*>(tensor.bytes->data());
        };
        ASSERT_NO_FATAL_FAILURE(check(got.dq, floats(q), 2 * 4 * 5 * 3));
        ASSERT_NO_FATAL_FAILURE(check(got.dk, floats(k), 2 * 2 * 6 * 3));
        ASSERT_NO_FATAL_FAILURE(check(got.dv, floats(v), 2 * 2 * 6 * 2));
        ASSERT_NO_FATAL_FAILURE(check(got.sinks, sinks.data(), with_sinks ? 4 : 0));
      }
    }
  }
}

}  // namespace
}  // namespace splashmask
