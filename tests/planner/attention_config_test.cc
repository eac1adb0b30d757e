// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/attention_config.h"

#include <gtest/gtest.h>

#include <functional>

#include "splashmask/masks/error.h"

namespace splashmask {
namespace {

AttentionConfig Usual() {
  AttentionConfig config{.heads = 8, .kv_heads = 2, .q_len = 4096, .kv_len = 3072};
  config.block_sizes = {.block_q = 512,
                        .block_kv = 1024,
                        .block_kv_compute = 512,
                        .block_q_dkv = 256,
                        .block_kv_dkv = 512,
                        .block_kv_dkv_compute = 512,
                        .block_q_dq = 1024,
                        .block_kv_dq = 384};
  return config;
}

TEST(AttentionConfigTest, KernelsReadTheirOwnSizes) {
  const BlockSizes sizes = Usual().block_sizes;
  EXPECT_EQ(BlocksOf(sizes, TpuKernel::kFwd), (KernelBlocks{512, 1024, 512}));
  EXPECT_EQ(BlocksOf(sizes, TpuKernel::kFwdResiduals), (KernelBlocks{512, 1024, 512}));
  EXPECT_EQ(BlocksOf(sizes, TpuKernel::kDq), (KernelBlocks{1024, 384, 384}));
  EXPECT_EQ(BlocksOf(sizes, TpuKernel::kDkv), (KernelBlocks{256, 512, 512}));
}

TEST(AttentionConfigTest, KernelsOfWhatIsAskedFor) {
  using Kernels = std::vector<TpuKernel>;
  EXPECT_EQ(KernelsOf(Usual().block_sizes),
            (Kernels{TpuKernel::kFwd, TpuKernel::kFwdResiduals, TpuKernel::kDq, TpuKernel::kDkv}));
  EXPECT_EQ(KernelsOf({.block_q = 128, .block_kv = 128, .block_kv_compute = 128}),
            Kernels{TpuKernel::kFwd});
  BlockSizes fused = Usual().block_sizes;
  fused.block_q_dq = fused.block_kv_dq = 0;
  fused.use_fused_bwd_kernel = true;
  EXPECT_EQ(KernelsOf(fused),
            (Kernels{TpuKernel::kFwd, TpuKernel::kFwdResiduals, TpuKernel::kFused}));
}

TEST(AttentionConfigTest, AcceptsWholeAxesOfQ) {
  AttentionConfig config = Usual();
  EXPECT_NO_THROW(CheckAttentionConfig(config));
  config.q_len = 100;
  config.block_sizes = {.block_q = 100, .block_kv = 128, .block_kv_compute = 128};
  EXPECT_NO_THROW(CheckAttentionConfig(config));
}

TEST(AttentionConfigTest, RefusesWithTheRuleAndTheNearest) {
  struct Case {
    const char* name;
    std::function<void(AttentionConfig&)> alter;
    const char* message;
  };
  const Case cases[] = {
      {"heads", [](AttentionConfig& c) { c.heads = 0; },
       "[plan] expected heads of at least 1, got 0"},
      {"kv_heads", [](AttentionConfig& c) { c.kv_heads = 3; },
       "[plan] expected kv_heads (3) to divide heads (8): nearest are 2 and 4"},
      {"q sublanes", [](AttentionConfig& c) { c.block_sizes.block_q = 4; },
       "[plan] expected block_q (4) to be a multiple of 8, as q positions lie in sublanes: nearest "
       "is 8"},
      {"q layout",
       [](AttentionConfig& c) {
         c.block_sizes.block_q = 64;
         c.block_sizes.q_layout = QkvLayout::kSeqMinor;
       },
       "[plan] expected block_q (64) to be a multiple of 128, as q positions lie in lanes there: "
       "nearest is 128"},
      {"q of dq", [](AttentionConfig& c) { c.block_sizes.block_q_dq = 64; },
       "[plan] expected block_q_dq (64) to be a multiple of 128, as q positions lie in lanes "
       "there: "
       "nearest is 128"},
      {"kv", [](AttentionConfig& c) { c.block_sizes.block_kv = 1000; },
       "[plan] expected block_kv (1000) to divide kv_len (3072): nearest are 768 and 1024"},
      {"kv lanes", [](AttentionConfig& c) { c.block_sizes.block_kv_dq = 96; },
       "[plan] expected block_kv_dq (96) to be a multiple of 128, as kv positions lie in lanes: "
       "nearest is 128"},
      {"no kv",
       [](AttentionConfig& c) {
         c.kv_len = 1000;
         c.block_sizes = {.block_q = 512, .block_kv = 1000, .block_kv_compute = 1000};
       },
       "[plan] expected block_kv (1000) to be a multiple of 128, as kv positions lie in lanes: "
       "1000 has no such divisor"},
      {"compute", [](AttentionConfig& c) { c.block_sizes.block_kv_compute = 768; },
       "[plan] expected block_kv_compute (768) to divide block_kv (1024): nearest are 512 and "
       "1024"},
      {"no compute", [](AttentionConfig& c) { c.block_sizes.block_kv_dkv_compute = 0; },
       "[plan] expected block_kv_dkv_compute of at least 1, got 0"},
      {"fused", [](AttentionConfig& c) { c.block_sizes.use_fused_bwd_kernel = true; },
       "[plan] expected no block sizes for dq with the fused backward kernel"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    AttentionConfig config = Usual();
    each.alter(config);
    try {
      CheckAttentionConfig(config);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_STREQ(error.what(), each.message);
    }
  }
}

TEST(AttentionConfigTest, RefusesWhatLeaves64Bits) {
  const auto message_with = [](const std::function<void(AttentionConfig&)>& alter) {
    AttentionConfig config = Usual();
    alter(config);
    try {
      CheckAttentionConfig(config);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kTooLarge);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const int64_t huge = int64_t{1} << 62;
  EXPECT_EQ(message_with([&](AttentionConfig& c) { c.head_dim = huge; }),
            "[plan] expected q of less than 2^56 bytes, got 6.23e+23");
  EXPECT_EQ(message_with([&](AttentionConfig& c) { c.batch = huge; }),
            "[plan] expected q of less than 2^56 bytes, got 3.19e+26");
  EXPECT_EQ(message_with([&](AttentionConfig& c) {
              c.kv_len = huge;
              c.block_sizes = {.block_q = 512, .block_kv = huge, .block_kv_compute = 128};
            }),
            "[plan] expected a block of less than 2^56 bytes, got 1.89e+22");
  EXPECT_EQ(message_with([&](AttentionConfig& c) {
              c.kv_len = int64_t{1} << 50;
              c.block_sizes = {.block_q = 512, .block_kv = 1024, .block_kv_compute = 128};
            }),
            "[plan] expected k and v of less than 2^56 bytes, got 4.61e+18");
}

TEST(AttentionConfigTest, NamesOfKernels) {
  for (const TpuKernel kernel : kAllTpuKernels) {
    EXPECT_EQ(TpuKernelFromName(TpuKernelName(kernel)), kernel);
  }
  try {
    TpuKernelFromName("bwd");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "[plan] expected a kernel fwd, fwd_residuals, dq, dkv or fused, got 'bwd'");
  }
}

TEST(AttentionConfigTest, NamesOfDTypes) {
  EXPECT_EQ(OperandDTypeFromName("float32"), OperandDType::kFloat32);
  EXPECT_EQ(OperandDTypeName(OperandDTypeFromName("bfloat16")), "bfloat16");
  EXPECT_THROW(OperandDTypeFromName("int8"), Error);
}

}  // namespace
}  // namespace splashmask
