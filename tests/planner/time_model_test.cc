// SPDX-License-Identifier: Apache-2.0
// What any time must obey; how close it is to measured ones is tested in
// tests/python/time_model_test.py.

#include "splashmask/planner/cost/time_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "splashmask/masks/mask.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/planner/plans.h"

namespace splashmask {
namespace {

constexpr int64_t kLength = 4096;

AttentionConfig Config(int64_t block, int64_t heads = 8) {
  AttentionConfig config;
  config.heads = config.kv_heads = heads;
  config.q_len = config.kv_len = kLength;
  BlockSizes& sizes = config.block_sizes;
  sizes.block_q = sizes.block_kv = sizes.block_kv_compute = block;
  sizes.block_q_dq = sizes.block_kv_dq = block;
  sizes.block_q_dkv = sizes.block_kv_dkv = sizes.block_kv_dkv_compute = block;
  return config;
}

// A grid of full blocks without a mask.
StepCounts FullGrid(const AttentionConfig& config, int64_t block, Pass pass) {
  const Mask mask = Mask::Full({config.q_len, config.kv_len});
  const MultiHeadMask heads(std::vector<Mask>(static_cast<size_t>(config.heads), mask));
  return CountSteps(Compile(heads, AllPasses({block, block})), pass, config.kv_heads).at(0);
}

// Products of one kernel, 2 flops each, over logits and a head dimension of 128.
double Flops(TpuKernel kernel, const AttentionConfig& config) {
  const int products = kernel == TpuKernel::kDq      ? 3
                       : kernel == TpuKernel::kDkv   ? 4
                       : kernel == TpuKernel::kFused ? 5
                                                     : 2;
  return 2.0 * products * 128 * static_cast<double>(config.batch * config.heads) * kLength *
         kLength;
}

TEST(TimeModelTest, NeverFasterThanMatrixUnitsOrMemory) {
  for (const TpuSpec& spec : AllTpuSpecs()) {
    for (const TpuKernel kernel : kAllTpuKernels) {
      for (const int64_t block : {128, 512, 1024}) {
        SCOPED_TRACE(std::string(spec.name) + " " + std::string(TpuKernelName(kernel)));
        const AttentionConfig config = Config(block);
        const StepCounts counts = FullGrid(config, block, PassOf(kernel));
        const KernelTime time = PredictTime(spec, kernel, config, counts);
        const double cores = PassOf(kernel) == Pass::kFwd ? 1 : 1.0 / spec.cores_per_device;
        const double peak = spec.bf16_flops_per_second_of_device() * cores;
        EXPECT_GE(time.mxu, Flops(kernel, config) / peak * 0.999);
        EXPECT_GE(time.kernel, time.mxu);
        EXPECT_GE(time.kernel, time.hbm);
        // q, k, v once, of 2 bytes: less nobody can read.
        EXPECT_GE(time.hbm, 3.0 * 8 * kLength * 128 * 2 / spec.hbm_bytes_per_second_of_device());
        EXPECT_TRUE(std::isfinite(time.total()));
        EXPECT_GT(time.overhead, 0);
      }
    }
  }
}

// 4096 x 4096 logits, two products, 128 padded to the matrix unit's 256: 2^24 * 2 * 256 products at
// 9.2e14 / 2 a second are 18.67 us a head.
TEST(TimeModelTest, MatrixTimeByHand) {
  const AttentionConfig config = Config(512, 1);
  const StepCounts counts = FullGrid(config, 512, Pass::kFwd);
  const KernelTime time = PredictTime(FindTpuSpec("v6e"), TpuKernel::kFwd, config, counts);
  EXPECT_NEAR(time.mxu, 18.67e-6, 0.01e-6);
  // On v5p matrix units have 128 rows, and head dimensions of 64 take as long as those of 128.
  AttentionConfig small = config;
  small.head_dim = small.head_dim_v = 64;
  const TpuSpec& v5p = FindTpuSpec("v5p");
  EXPECT_EQ(PredictTime(v5p, TpuKernel::kFwd, small, counts).mxu,
            PredictTime(v5p, TpuKernel::kFwd, config, counts).mxu);
}

TEST(TimeModelTest, GrowsWithWork) {
  const TpuSpec& spec = FindTpuSpec("tpu7x");
  for (const TpuKernel kernel : kAllTpuKernels) {
    SCOPED_TRACE(TpuKernelName(kernel));
    const AttentionConfig config = Config(512);
    StepCounts counts = FullGrid(config, 512, PassOf(kernel));
    const auto kernel_time = [&](const AttentionConfig& c) {
      return PredictTime(spec, kernel, c, counts).kernel;
    };
    const double whole = kernel_time(config);
    AttentionConfig more = config;
    more.batch = 3;
    EXPECT_NEAR(kernel_time(more), 3 * whole, 1e-9 * whole);
    more = config;
    more.head_dim = more.head_dim_v = 256;
    EXPECT_GE(kernel_time(more), whole);
    more = config;
    more.segments = true;
    EXPECT_GE(kernel_time(more), whole);
    counts.full -= 64;
    const double fewer = kernel_time(config);
    EXPECT_LT(fewer, whole);
    counts.skipped += 64;  // Which cost something, but less.
    EXPECT_GE(kernel_time(config), fewer);
    EXPECT_LT(kernel_time(config), whole);
  }
}

// v5p has two cores in a device: they share heads of the forward pass, and of the backward pass,
// which sums over heads, sequences alone.
TEST(TimeModelTest, CoresShareWhatIsParallel) {
  const TpuSpec& spec = FindTpuSpec("v5p");
  const auto kernel_time = [&](TpuKernel kernel, int64_t heads, int64_t batch) {
    AttentionConfig config = Config(1024, heads);
    config.batch = batch;
    return PredictTime(spec, kernel, config, FullGrid(config, 1024, PassOf(kernel))).kernel;
  };
  const double one = kernel_time(TpuKernel::kFwd, 1, 1);
  EXPECT_NEAR(kernel_time(TpuKernel::kFwd, 2, 1), one, 1e-3 * one);
  EXPECT_NEAR(kernel_time(TpuKernel::kFwd, 3, 1), 2 * one, 2e-3 * one);
  const double backward = kernel_time(TpuKernel::kDkv, 2, 1);
  EXPECT_NEAR(kernel_time(TpuKernel::kDkv, 2, 2), backward, 1e-3 * backward);
  EXPECT_NEAR(kernel_time(TpuKernel::kDkv, 2, 3), 2 * backward, 2e-3 * backward);
}

TEST(TimeModelTest, SaysWhatItExtrapolates) {
  const AttentionConfig config = Config(512);
  StepCounts counts = FullGrid(config, 512, Pass::kFwd);
  const CallOptions tokamax{.library = SplashLibrary::kTokamax};
  const auto predict = [&](const char* chip, TpuKernel kernel, const AttentionConfig& c,
                           const CallOptions& options) {
    return PredictTime(FindTpuSpec(chip), kernel, c, counts, options);
  };
  for (const char* chip : {"v5p", "v6e", "tpu7x"}) {
    EXPECT_FALSE(predict(chip, TpuKernel::kFwd, config, tokamax).is_extrapolated()) << chip;
  }
  EXPECT_FALSE(predict("tpu7x", TpuKernel::kFused, config, tokamax).is_extrapolated());
  EXPECT_TRUE(predict("v6e", TpuKernel::kFused, config, tokamax).has(TimeCaveat::kBackward));
  EXPECT_TRUE(predict("v4", TpuKernel::kFwd, config, tokamax).has(TimeCaveat::kChip));
  EXPECT_TRUE(predict("v5e", TpuKernel::kFwd, config, {}).has(TimeCaveat::kChip));
  EXPECT_TRUE(predict("v6e", TpuKernel::kFwd, config, {}).has(TimeCaveat::kKernel));

  const double timed = predict("v6e", TpuKernel::kFwd, config, tokamax).relative_uncertainty;
  const auto extrapolates = [&](const AttentionConfig& c, TimeCaveat caveat) {
    const KernelTime time = predict("v6e", TpuKernel::kFwd, c, tokamax);
    EXPECT_EQ(time.caveats, 1u << static_cast<int>(caveat));
    EXPECT_GT(time.relative_uncertainty, timed);
    EXPECT_EQ(DescribeCaveats(time).size(), 1u);
  };
  AttentionConfig other = config;
  other.head_dim = 512;
  extrapolates(other, TimeCaveat::kHeadDim);
  other = config;
  other.head_dim_v = 32;
  extrapolates(other, TimeCaveat::kHeadDim);
  other = config;
  other.dtype = OperandDType::kFloat32;
  extrapolates(other, TimeCaveat::kDType);
  other = config;
  other.soft_cap = true;
  extrapolates(other, TimeCaveat::kOperands);
  other = config;
  other.block_sizes.block_q = 128;
  extrapolates(other, TimeCaveat::kBlocks);
  other = config;
  other.q_len = 32768;
  extrapolates(other, TimeCaveat::kLength);
  counts.stores_mask = true;
  extrapolates(config, TimeCaveat::kOperands);
}

// Operands of [batch, length, heads, dim] are rearranged; those of the kernel's own are not.
TEST(TimeModelTest, OnlyLengthMajorOperandsAreRearranged) {
  const AttentionConfig config = Config(512);
  const StepCounts counts = FullGrid(config, 512, Pass::kFwd);
  const TpuSpec& spec = FindTpuSpec("v6e");
  CallOptions options{.library = SplashLibrary::kTokamax};
  const KernelTime own = PredictTime(spec, TpuKernel::kFwd, config, counts, options);
  options.is_length_major = true;
  const KernelTime rearranged = PredictTime(spec, TpuKernel::kFwd, config, counts, options);
  EXPECT_EQ(own.kernel, rearranged.kernel);
  // q, k, v and out, read and written, at best at the full bandwidth.
  EXPECT_GE(rearranged.transposes - own.transposes,
            4.0 * 2 * 8 * kLength * 128 * 2 / spec.hbm_bytes_per_second);
}

}  // namespace
}  // namespace splashmask
