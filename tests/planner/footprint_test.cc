// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/footprint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "splashmask/planner/cost/nearest_fit.h"

namespace splashmask {
namespace {

// The calls whose sizes libtpu 0.0.51 gave: 32 heads, 16,384 positions, causal.
AttentionConfig Measured(const KernelBlocks& blocks, TpuKernel kernel = TpuKernel::kFwd) {
  AttentionConfig config{.heads = 32, .kv_heads = 32, .q_len = 16384, .kv_len = 16384};
  config.block_sizes = WithBlocks({}, kernel, blocks);
  config.block_sizes.use_fused_bwd_kernel = kernel == TpuKernel::kFused;
  return config;
}

PassTables Causal() {
  PassTables tables;
  tables.data_next = tables.block_mask = TableOperand{DType::kInt8, {1, 32, 32}};
  tables.has_q_sequence = true;
  return tables;
}

int64_t WindowBytes(const VmemUse& use, std::string_view name) {
  const auto it = std::find_if(use.windows.begin(), use.windows.end(),
                               [&](const KernelWindow& window) { return window.name == name; });
  return it == use.windows.end() ? 0 : it->bytes();
}

// A v6e's compiler kept q_sequence in VMEM there and gave the kernel 2,828 KiB: 1,835,008 bytes of
// windows, the rest for temporaries.
TEST(FootprintTest, WindowsAreTheCompilersOwn) {
  const TpuSpec& v6e = FindTpuSpec("v6e");
  const VmemUse use =
      FootprintOf(v6e, TpuKernel::kFwd, Measured({512, 512, 512}), Causal(), 32 << 20).vmem;
  EXPECT_EQ(WindowBytes(use, "q_sequence"), 2 * 512 * 128 * 4);
  EXPECT_EQ(use.window_bytes - WindowBytes(use, "q_sequence"), 1835008);
  EXPECT_LE(use.total.least, 2828 << 10);
  EXPECT_GE(use.total.most, 2828 << 10);
  EXPECT_EQ(use.fit, Fit::kFits);
}

TEST(FootprintTest, EveryKernelHasItsOperands) {
  const TpuSpec& v5p = FindTpuSpec("v5p");
  const auto names = [&](TpuKernel kernel, const AttentionConfig& config) {
    std::string text;
    for (const KernelWindow& window : KernelWindows(kernel, config, Causal())) {
      text += (text.empty() ? "" : " ") + std::string(window.name);
    }
    return text;
  };
  const KernelBlocks blocks{512, 1024, 512};
  EXPECT_EQ(names(TpuKernel::kFwd, Measured(blocks)), "q k v q_sequence m l o out");
  EXPECT_EQ(names(TpuKernel::kFwdResiduals, Measured(blocks)),
            "q k v q_sequence m l o out logsumexp");
  EXPECT_EQ(names(TpuKernel::kDq, Measured(blocks, TpuKernel::kDq)),
            "q k v logsumexp do di q_sequence dq_sum dq");
  EXPECT_EQ(names(TpuKernel::kDkv, Measured(blocks, TpuKernel::kDkv)),
            "q k v logsumexp do di q_sequence dk_sum dv_sum dk dv");
  EXPECT_EQ(names(TpuKernel::kFused, Measured(blocks, TpuKernel::kFused)),
            "q k v logsumexp do di q_sequence dq_sum dk_sum dv_sum dq dk dv");
  EXPECT_EQ(names(TpuKernel::kFused, Measured({512, 512, 512}, TpuKernel::kFused)),
            "q k v logsumexp do di q_sequence dk_sum dv_sum dq dk dv");
  AttentionConfig segmented = Measured(blocks);
  segmented.segments = true;
  EXPECT_EQ(names(TpuKernel::kFwd, segmented),
            "q k v q_segment_ids kv_segment_ids q_sequence m l o out");
  EXPECT_EQ(v5p.scoped_vmem_bytes, 16 << 20);
}

// Narrow heads take whole lanes; where the sequence is the fastest axis they do not.
TEST(FootprintTest, BlocksArePaddedToTiles) {
  AttentionConfig config = Measured({512, 512, 512});
  config.head_dim = 64;
  const auto bytes_of_k = [&] {
    return KernelWindows(TpuKernel::kFwd, config, Causal())[1].bytes();
  };
  EXPECT_EQ(bytes_of_k(), 2 * 512 * 128 * 2);
  config.block_sizes.k_layout = QkvLayout::kSeqMinor;
  EXPECT_EQ(bytes_of_k(), 2 * 64 * 512 * 2);
  config.head_dim = 72;  // Sixteen rows of bfloat16 a tile.
  EXPECT_EQ(bytes_of_k(), 2 * 80 * 512 * 2);
}

// Under vmap what was one block in the whole grid is one for each sequence: libtpu 0.0.51 gave such
// kernels a second buffer of each accumulator.
TEST(FootprintTest, AccumulatorsOfABatchHaveTwoBuffers) {
  const auto bytes_of = [](TpuKernel kernel, std::string_view name, int64_t batch) {
    AttentionConfig config = Measured({512, 512, 512}, kernel);
    config.batch = batch;
    const TpuSpec& v6e = FindTpuSpec("v6e");
    return WindowBytes(FootprintOf(v6e, kernel, config, Causal(), 32 << 20).vmem, name);
  };
  EXPECT_EQ(bytes_of(TpuKernel::kFwd, "m", 1), 512 * 128 * 4);
  EXPECT_EQ(bytes_of(TpuKernel::kFwd, "m", 4), 2 * 512 * 128 * 4);
  EXPECT_EQ(bytes_of(TpuKernel::kDkv, "dk_sum", 1), 512 * 128 * 4);
  EXPECT_EQ(bytes_of(TpuKernel::kDkv, "dk_sum", 4), 2 * 512 * 128 * 4);
}

// How much of the windows may be missing, where XLA keeps operands in the rest of VMEM; a v4 has
// another memory for them.
TEST(FootprintTest, OperandsMayLieInTheRestOfVmem) {
  AttentionConfig config = Measured({512, 512, 512});
  const auto spread = [&](const char* chip, int64_t limit) {
    const VmemUse use =
        FootprintOf(FindTpuSpec(chip), TpuKernel::kFwd, config, Causal(), limit).vmem;
    return use.total.most - use.total.least - (use.temporaries.most - use.temporaries.least);
  };
  const int64_t q_sequence = 2 * 512 * 128 * 4, q = 2 * 512 * 128 * 2;
  config.block_sizes.k_layout = QkvLayout::kSeqMinor;
  EXPECT_EQ(spread("v4", 8 << 20), 0);
  EXPECT_EQ(spread("v6e", 128 << 20), 0);
  EXPECT_EQ(spread("v6e", 119 << 20), q_sequence);  // Which takes 8 MiB,
  EXPECT_EQ(spread("v6e", 121 << 20), 0);           // not left there.
  config.heads = config.kv_heads = 1;               // q, k, v and out take 4 MiB each.
  EXPECT_EQ(spread("v6e", 119 << 20), q * 9 / 4);   // As many as fit.
  EXPECT_EQ(spread("v6e", 48 << 20), 2 * q);        // q_sequence, k and v are there for certain.
  config.batch = 4;                                 // Each takes 16 MiB.
  EXPECT_EQ(spread("v6e", 48 << 20), 4 * q);
  EXPECT_EQ(spread("v6e", 88 << 20), 2 * q);  // Of results less than a third of what is left.
}

// Before the first kernel nothing can be copied, except on a tpu7x, only computed; on two cores not
// even that.
TEST(FootprintTest, TheFirstKernelFindsLittleInVmem) {
  AttentionConfig config = Measured({512, 512, 512});
  config.heads = config.kv_heads = 1;
  const auto kept = [&](const char* chip, int64_t limit) {
    const VmemUse use =
        FootprintOf(FindTpuSpec(chip), TpuKernel::kFwd, config, Causal(), limit).vmem;
    return std::pair(use.window_bytes + use.temporaries.most - use.total.most,
                     use.window_bytes + use.temporaries.least - use.total.least);
  };
  const int64_t q_sequence = 2 * 512 * 128 * 4, q = 2 * 512 * 128 * 2, out = q, kv = 2 * q;
  EXPECT_EQ(kept("v6e", 48 << 20), std::pair(q_sequence, q_sequence + out));
  EXPECT_EQ(kept("tpu7x", 16 << 20), std::pair(q_sequence + kv, q_sequence + kv + q + out));
  EXPECT_EQ(kept("v5p", 16 << 20), std::pair(int64_t{0}, int64_t{0}));
  config.head_dim = config.head_dim_v = 64;  // Which is padded before.
  EXPECT_EQ(kept("v6e", 48 << 20), std::pair(q_sequence + kv, q_sequence + kv + q + out));
}

TEST(FootprintTest, OperandsThatLieInVmemHaveNoWindow) {
  AttentionConfig config = Measured({512, 512, 512});
  const auto missing = [&](const char* chip, TpuKernel kernel, int64_t limit) {
    config.block_sizes = WithBlocks(config.block_sizes, kernel, {512, 512, 512});
    const VmemUse use = FootprintOf(FindTpuSpec(chip), kernel, config, Causal(), limit).vmem;
    return use.window_bytes + use.temporaries.most - use.total.most;
  };
  const int64_t q_sequence = 2 * 512 * 128 * 4;
  EXPECT_EQ(missing("v6e", TpuKernel::kFwd, 101 << 20), q_sequence);  // 8 MiB of 27.
  EXPECT_EQ(missing("v6e", TpuKernel::kFwd, 102 << 20), 0);
  EXPECT_EQ(missing("v6e", TpuKernel::kDq, 88 << 20), q_sequence);  // A fifth of 40 MiB.
  EXPECT_EQ(missing("v6e", TpuKernel::kDq, 89 << 20), 0);
  EXPECT_EQ(missing("v5p", TpuKernel::kFwd, 16 << 20), 0);
  EXPECT_EQ(missing("v5p", TpuKernel::kDq, 16 << 20), q_sequence);
}

TEST(FootprintTest, TablesTakeWholeTilesOfSmem) {
  PassTables tables = Causal();
  tables.data_next = TableOperand{DType::kInt16, {1, 33, 129}};
  tables.block_mask = TableOperand{DType::kInt8, {8, 33, 129}};
  tables.mask_next = TableOperand{DType::kInt32, {1, 33, 129}};
  const SmemUse use =
      FootprintOf(FindTpuSpec("v5e"), TpuKernel::kFwd, Measured({512, 512, 512}), tables, 1 << 24)
          .smem;
  ASSERT_EQ(use.tables.size(), 3u);
  EXPECT_EQ(use.tables[0].bytes, 34 * 256 * 2);
  EXPECT_EQ(use.tables[1].bytes, 8 * 36 * 256);
  EXPECT_EQ(use.tables[2].bytes, 33 * 256 * 4);
  EXPECT_EQ(use.bytes, 34 * 256 * 2 + 8 * 36 * 256 + 33 * 256 * 4);
  EXPECT_EQ(use.fit, Fit::kFits);
}

TEST(FootprintTest, SmemIsTooCloseWhereTheCompilerKeepsSomeOfIt) {
  const auto fit = [](int64_t rows) {
    PassTables tables;
    tables.data_next = TableOperand{DType::kInt8, {1, rows, 128}};
    return FootprintOf(FindTpuSpec("v6e"), TpuKernel::kFwd, Measured({512, 512, 512}), tables,
                       1 << 24)
        .smem.fit;
  };
  EXPECT_EQ(fit(8192 - 32), Fit::kFits);
  EXPECT_EQ(fit(8192 - 16), Fit::kTooClose);
  EXPECT_EQ(fit(8192 - 4), Fit::kDoesNotFit);
}

TEST(FootprintTest, NearestAsksForTablesOfWhatFits) {
  const AttentionConfig config = Measured({2048, 2048, 2048});
  const TpuSpec& v4 = FindTpuSpec("v4");
  const auto nearest = NearestThatFits(v4, TpuKernel::kFwd, config, 16 << 20,
                                       [](const KernelBlocks&) { return Causal(); });
  ASSERT_TRUE(nearest);
  AttentionConfig with = config;
  with.block_sizes = WithBlocks(config.block_sizes, TpuKernel::kFwd, *nearest);
  EXPECT_EQ(FootprintOf(v4, TpuKernel::kFwd, with, Causal(), 16 << 20).fit(), Fit::kFits);
  // Tables that fit nowhere.
  PassTables large = Causal();
  large.data_next = TableOperand{DType::kInt32, {32, 1024, 1024}};
  EXPECT_FALSE(NearestThatFits(v4, TpuKernel::kFwd, config, 16 << 20,
                               [&](const KernelBlocks&) { return large; }));
}

TEST(FootprintTest, SaysWhatWasNotMeasured) {
  AttentionConfig config = Measured({512, 512, 512});
  const auto why = [&] {
    return FootprintOf(FindTpuSpec("v6e"), TpuKernel::kFwd, config, Causal(), 1 << 24)
        .vmem.extrapolated;
  };
  EXPECT_EQ(why(), "");
  config.head_dim = 512;
  EXPECT_EQ(why(), "head dims were measured from 64 to 256");
  config.head_dim = 128;
  config.sinks = true;
  EXPECT_EQ(why(), "sinks were not measured");
}

}  // namespace
}  // namespace splashmask
