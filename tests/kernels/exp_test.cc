// SPDX-License-Identifier: Apache-2.0
// exp of what is at most 0, on every SIMD target that this machine has, against double.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/exp_test.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/highway.h>

#include "splashmask/kernels/fast/exp-inl.h"
#include "tests/support/sample_size.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {

// `count` is a multiple of every vector's lanes.
void ExpOfAll(const float* in, int64_t count, float* out) {
  const hn::ScalableTag<float> d;
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(ExpOfNegative(d, hn::LoadU(d, in + i)), d, out + i);
  }
}

// Whether a product's own rounding is spared.
bool MultiplyAddIsFused() {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, 1 + 0x1p-20f);
  return hn::GetLane(hn::MulSub(x, x, hn::Set(d, 1 + 0x1p-19f))) != 0;
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask::fast {

HWY_EXPORT(ExpOfAll);
HWY_EXPORT(MultiplyAddIsFused);

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> ExpOf(std::vector<float> x) {
  const size_t count = x.size();
  x.resize((count + 63) / 64 * 64);
  std::vector<float> result(x.size());
  HWY_DYNAMIC_DISPATCH(ExpOfAll)(x.data(), static_cast<int64_t>(x.size()), result.data());
  result.resize(count);
  return result;
}

class ExpTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

TEST_P(ExpTest, WithinItsBound) {
  // Every 61st float (fewer under a sanitizer) from -0 down to where the result leaves the normal
  // floats.
  constexpr auto kStep = static_cast<uint32_t>(61 * 8 / SampleSize(8));
  const auto least = std::bit_cast<uint32_t>(-87.33f);
  std::vector<float> x;
  for (uint32_t bits = 0x80000000; bits < least; bits += kStep)
    x.push_back(std::bit_cast<float>(bits));
  const std::vector<float> got = ExpOf(x);
  const double slope = HWY_DYNAMIC_DISPATCH(MultiplyAddIsFused)() ? 0.25 : 1.25;
  double worst = 0;  // Of the bound.
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = std::exp(static_cast<double>(x[i]));
    int exponent;
    std::frexp(expected, &exponent);
    const double unit = std::ldexp(1.0, exponent - std::numeric_limits<float>::digits);
    const double error = std::abs(expected - static_cast<double>(got[i])) / unit;
    worst = std::max(worst, error / (1.5 + slope * std::abs(static_cast<double>(x[i]))));
  }
  std::printf("%s: at worst %.3f of the bound\n", hwy::TargetName(GetParam()), worst);
  EXPECT_GT(x.size(), SampleSize(10'000'000));
  EXPECT_LE(worst, 1);
}

TEST_P(ExpTest, WhatIsNoNumberAndWhatIsNothing) {
  const std::vector<float> got =
      ExpOf({0.0f, -0.0f, -kInfinity, -87.34f, -1e30f, std::nanf("1"), -1e-30f});
  EXPECT_EQ((std::vector<float>{1, 1, 0, 0, 0}), std::vector<float>(got.begin(), got.begin() + 5));
  EXPECT_TRUE(std::isnan(got[5]));
  EXPECT_EQ(1, got[6]);
}

INSTANTIATE_TEST_SUITE_P(Targets, ExpTest, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

}  // namespace
}  // namespace splashmask::fast
#endif  // HWY_ONCE
