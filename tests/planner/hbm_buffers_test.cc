// SPDX-License-Identifier: Apache-2.0
// Expected values are those of buffer assignments that libtpu 0.0.51 wrote: entry layouts for the
// shapes, and the allocations of splash attention compiled with xla_msa_enable=false.
#include "splashmask/planner/cost/hbm_buffers.h"

#include <gtest/gtest.h>

#include <map>

#include "splashmask/planner/cost/tpu_layout.h"
#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

std::string CompactText(std::string_view dtype, std::vector<int64_t> dims) {
  return XlaShapeText(CompactShape(dtype, std::move(dims)));
}

TEST(TpuLayoutTest, TilesAreAsHighAsTheRows) {
  EXPECT_EQ(CompactText("f32", {2, 512}), "f32[2,512]{1,0:T(2,128)}");
  EXPECT_EQ(CompactText("f32", {3, 512}), "f32[3,512]{1,0:T(4,128)}");
  EXPECT_EQ(CompactText("f32", {9, 512}), "f32[9,512]{1,0:T(8,128)}");
  EXPECT_EQ(CompactText("bf16", {1, 512}), "bf16[1,512]{1,0:T(2,128)(2,1)}");
  EXPECT_EQ(CompactText("s8", {1, 1}), "s8[1,1]{1,0:T(4,128)(4,1)}");
  EXPECT_EQ(CompactText("s8", {31, 128}), "s8[31,128]{1,0:T(8,128)(4,1)}");
  EXPECT_EQ(CompactText("s8", {32, 128}), "s8[32,128]{1,0:T(32,128)(4,1)}");
  EXPECT_EQ(CompactText("s8", {40, 128}), "s8[40,128]{1,0:T(8,128)(4,1)}");
  EXPECT_EQ(CompactText("s16", {32, 128}), "s16[32,128]{1,0:T(8,128)(2,1)}");
}

TEST(TpuLayoutTest, TilesOfVectorsAndScalars) {
  EXPECT_EQ(CompactText("f32", {2}), "f32[2]{0:T(128)}");
  EXPECT_EQ(CompactText("f32", {129}), "f32[129]{0:T(256)}");
  EXPECT_EQ(CompactText("f32", {4096}), "f32[4096]{0:T(1024)}");
  EXPECT_EQ(CompactText("bf16", {1}), "bf16[1]{0:T(256)(128)(2,1)}");
  EXPECT_EQ(CompactText("s8", {513}), "s8[513]{0:T(1024)(128)(4,1)}");
  EXPECT_EQ(CompactText("s8", {}), "s8[]{:T(512)}");
  EXPECT_EQ(CompactText("s32", {}), "s32[]{:T(128)}");
}

TEST(TpuLayoutTest, TheSmallestOrderWins) {
  EXPECT_EQ(CompactText("bf16", {3, 128, 96}), "bf16[3,128,96]{1,2,0:T(8,128)(2,1)}");
  EXPECT_EQ(CompactText("bf16", {3, 17, 64}), "bf16[3,17,64]{2,0,1:T(4,128)(2,1)}");
  EXPECT_EQ(CompactText("f32", {3, 3, 1}), "f32[3,3,1]{1,2,0:T(1,128)}");
  EXPECT_EQ(CompactText("bf16", {5, 3, 2, 1}), "bf16[5,3,2,1]{0,2,3,1:T(2,128)(2,1)}");
  EXPECT_EQ(CompactText("f32", {2, 5, 17, 256}), "f32[2,5,17,256]{3,0,2,1:T(2,128)}");
}

TEST(TpuLayoutTest, OfEqualOnesTheLastDimensionsStayMinor) {
  EXPECT_EQ(CompactText("bf16", {3, 16, 16}), "bf16[3,16,16]{2,1,0:T(8,128)(2,1)}");
  EXPECT_EQ(CompactText("s8", {3, 1, 1}), "s8[3,1,1]{2,0,1:T(4,128)(4,1)}");
  EXPECT_EQ(CompactText("bf16", {3, 1, 1}), "bf16[3,1,1]{0,2,1:T(2,128)(2,1)}");
}

// Two heads, 512 by 512 positions in blocks of 128.
AttentionConfig TwoHeads() {
  AttentionConfig config{.heads = 2, .kv_heads = 2, .q_len = 512, .kv_len = 512};
  config.block_sizes = {.block_q = 128, .block_kv = 128, .block_kv_compute = 128};
  return config;
}

constexpr TableOperand kSmallTable{DType::kInt8, {1, 4, 4}};

// causal(): computed, with two tables.
LiteralTables CausalTables() {
  LiteralTables literals;
  literals.tables = {kSmallTable, kSmallTable, std::nullopt, 0, true};
  return literals;
}

ProgramBuffers PredictFor(const AttentionConfig& config, const LiteralTables& literals,
                          const ProgramOptions& options = {}, const char* chip = "v6e") {
  return PredictBuffers(config, TpuKernel::kFwd, literals, FindTpuSpec(chip), options);
}

ProgramBuffers PredictResiduals(const AttentionConfig& config, const LiteralTables& literals,
                                const ProgramOptions& options = {}, const char* chip = "v6e") {
  return PredictBuffers(config, TpuKernel::kFwdResiduals, literals, FindTpuSpec(chip), options);
}

std::map<std::string, int> ShapesOf(const ProgramBuffers& program, BufferKind kind) {
  std::map<std::string, int> shapes;
  for (const ProgramBuffer& buffer : program.buffers) {
    if (buffer.kind == kind)
      ++shapes[buffer.shape.is_tuple ? "pointers" : XlaShapeText(buffer.shape)];
  }
  return shapes;
}

using ShapeCounts = std::map<std::string, int>;

TEST(HbmBuffersTest, ForwardCall) {
  const ProgramBuffers program = PredictFor(TwoHeads(), CausalTables());
  EXPECT_EQ(program.HbmBytes(), 1'524'736);
  EXPECT_EQ(program.temporary_bytes, 475'136);
  EXPECT_EQ(ShapesOf(program, BufferKind::kArgument),
            (ShapeCounts{{"bf16[2,512,128]{2,1,0:T(8,128)(2,1)}", 3}}));
  EXPECT_EQ(ShapesOf(program, BufferKind::kConstant),
            (ShapeCounts{{"s8[1,4,4]{2,1,0:T(4,128)(4,1)}", 2}}));
  EXPECT_EQ(
      ShapesOf(program, BufferKind::kTemporary),
      (ShapeCounts{
          {"s32[512,128]{1,0:T(8,128)}", 1}, {"f32[128,128]{1,0:T(8,128)}", 3}, {"pointers", 1}}));
  EXPECT_EQ(ShapesOf(program, BufferKind::kOutput),
            (ShapeCounts{{"bf16[2,512,128]{2,1,0:T(8,128)(2,1)}", 1}}));
}

TEST(HbmBuffersTest, ResidualsAddLogsumexpAndItsSum) {
  const ProgramBuffers program = PredictResiduals(TwoHeads(), CausalTables());
  EXPECT_EQ(program.HbmBytes(), 2'049'088);
  EXPECT_EQ(program.temporary_bytes, 983'072);
  EXPECT_EQ(ShapesOf(program, BufferKind::kThreadLocal), (ShapeCounts{{"f32[]", 3}}));
  EXPECT_EQ(ShapesOf(program, BufferKind::kOutput),
            (ShapeCounts{{"bf16[2,512,128]{2,1,0:T(8,128)(2,1)}", 1},
                         {"f32[2,512]{1,0:T(2,128)}", 1},
                         {"pointers", 1}}));
  EXPECT_EQ(PredictResiduals(TwoHeads(), CausalTables(), {}, "v5e").HbmBytes(), 2'050'048);
}

TEST(HbmBuffersTest, LogsumexpOfOneHeadIsCopied) {
  AttentionConfig config = TwoHeads();
  config.heads = config.kv_heads = 1;
  config.q_len = 1536;
  LiteralTables literals = CausalTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 12, 4};
  const ProgramBuffers program = PredictResiduals(config, literals);
  EXPECT_EQ(program.temporary_bytes, 1'769'504);
  EXPECT_EQ(ShapesOf(program, BufferKind::kOutput).count("f32[1,1536]{1,0:T(1,128)}"), 1u);
  EXPECT_EQ(ShapesOf(program, BufferKind::kTemporary).count("f32[1536]{0:T(1024)}"), 1u);
}

// Where XLA lays logsumexp out otherwise than the kernel, a slice is left: nothing is added, and
// the temporaries lie in another order.
TEST(HbmBuffersTest, LogsumexpThatIsMovedIsNoSum) {
  AttentionConfig config{.batch = 2,
                         .heads = 6,
                         .kv_heads = 3,
                         .q_len = 1280,
                         .kv_len = 2048,
                         .head_dim = 96,
                         .head_dim_v = 64,
                         .sinks = true};
  config.block_sizes = {
      .block_q = 256, .block_kv = 512, .block_kv_compute = 128, .q_layout = QkvLayout::kSeqMinor};
  LiteralTables literals = CausalTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 5, 3};
  const ProgramBuffers program = PredictResiduals(config, literals, {}, "v5e");
  EXPECT_EQ(program.HbmBytes(), 28'474'368);
  EXPECT_EQ(program.temporary_bytes, 19'562'496);
  EXPECT_EQ(ShapesOf(program, BufferKind::kOutput).count("f32[2,6,1280,1]{2,0,1,3:T(2,128)}"), 1u);
  EXPECT_EQ(ShapesOf(program, BufferKind::kThreadLocal), ShapeCounts());

  config = {.batch = 3, .heads = 16, .kv_heads = 8, .q_len = 8, .kv_len = 768};
  config.block_sizes = {.block_q = 8, .block_kv = 256, .block_kv_compute = 128};
  const ProgramBuffers narrow = PredictResiduals(config, literals);
  EXPECT_EQ(ShapesOf(narrow, BufferKind::kOutput).count("f32[3,16,8,1]{1,2,3,0:T(8,128)}"), 1u);
}

TEST(HbmBuffersTest, SegmentIdsAndSinks) {
  AttentionConfig config = TwoHeads();
  config.segments = true;
  EXPECT_EQ(PredictFor(config, CausalTables()).HbmBytes(), 1'807'360);
  EXPECT_EQ(PredictFor(config, CausalTables()).temporary_bytes, 753'664);
  config.segments = false;
  config.sinks = true;
  EXPECT_EQ(PredictFor(config, CausalTables()).temporary_bytes, 491'520);
}

// XLA copies a single sink; what it copied is read no more when a table is made from its value.
TEST(HbmBuffersTest, ASingleSinkIsCopied) {
  AttentionConfig config = TwoHeads();
  config.heads = config.kv_heads = 1;
  config.sinks = true;
  LiteralTables full = CausalTables();
  full.tables.has_q_sequence = false;
  full.is_repeated[1] = true;
  EXPECT_EQ(PredictFor(config, full).HbmBytes(), 771'584);
  EXPECT_EQ(PredictFor(config, full).temporary_bytes, 245'760);
  ProgramOptions options;  // In faster memory the broadcast leaves its place to m.
  options.faster_memory = FasterMemoryOf(FindTpuSpec("v6e"), 32 << 20);
  EXPECT_EQ(PredictFor(config, full, options).temporary_bytes, 212'992);
  options.faster_memory = FasterMemoryOf(FindTpuSpec("v5e"), 16 << 20);
  EXPECT_EQ(PredictResiduals(config, CausalTables(), options, "v5e").temporary_bytes, 197'120);
}

TEST(HbmBuffersTest, PartialBlocksAreInt32) {
  LiteralTables literals;
  literals.tables = {kSmallTable, kSmallTable, kSmallTable, 4, false};
  const ProgramBuffers program = PredictFor(TwoHeads(), literals);
  EXPECT_EQ(program.temporary_bytes, 212'992);
  EXPECT_EQ(
      ShapesOf(program, BufferKind::kConstant),
      (ShapeCounts{{"s8[1,4,4]{2,1,0:T(4,128)(4,1)}", 3}, {"s32[4,128,128]{2,1,0:T(8,128)}", 1}}));
}

// where("(q//128)==(kv//128) and (q*kv)%7<3"): data_next and mask_next are equal, block_mask is 1.
TEST(HbmBuffersTest, EqualLiteralsAreOneAndRepeatedOnesAreWritten) {
  constexpr TableOperand kColumn{DType::kInt8, {1, 4, 1}};
  LiteralTables literals;
  literals.tables = {kColumn, kColumn, kColumn, 4, false};
  literals.first_equal = {0, 1, 0};
  literals.is_repeated = {false, true, false};
  const ProgramBuffers program = PredictFor(TwoHeads(), literals);
  EXPECT_EQ(program.HbmBytes(), 1'541'120);
  EXPECT_EQ(program.temporary_bytes, 229'376);
  EXPECT_EQ(ShapesOf(program, BufferKind::kConstant),
            (ShapeCounts{{"s8[1,4,1]{2,1,0:T(4,128)(4,1)}", 1},
                         {"s8[]{:T(512)}", 1},
                         {"s32[4,128,128]{2,1,0:T(8,128)}", 1}}));
}

TEST(HbmBuffersTest, LiteralsOfTables) {
  MaskInfo info;
  info.data_next = Table(DType::kInt8, {1, 2, 2});
  for (int64_t i = 0; i < 4; ++i) info.data_next->Set(i, static_cast<int32_t>(i));
  info.block_mask = Table(DType::kInt8, {1, 2, 2});
  for (int64_t i = 0; i < 4; ++i) info.block_mask->Set(i, 2);
  info.mask_next = info.data_next->Clone();
  info.q_sequence = Array::FromVector(std::vector<int32_t>{0, 1, 2});
  const LiteralTables literals = LiteralsOf(info);
  EXPECT_EQ(literals.first_equal, (std::array<size_t, 3>{0, 1, 0}));
  EXPECT_EQ(literals.is_repeated, (std::array<bool, 3>{false, true, false}));
  EXPECT_EQ(literals.positions, LiteralTables::Positions::kCounted);
  info.q_sequence = Array::FromVector(std::vector<int32_t>{0, 2, 1});
  EXPECT_EQ(LiteralsOf(info).positions, LiteralTables::Positions::kOther);
  info.q_sequence = Array::FromVector(std::vector<int32_t>{1, 1, 1});
  EXPECT_EQ(LiteralsOf(info).positions, LiteralTables::Positions::kRepeated);
  info.block_mask = Table(DType::kInt8, {1, 1, 1});
  info.block_mask->Set(0, 2);
  EXPECT_FALSE(LiteralsOf(info).is_repeated[1]);  // A single number stays as it is.
}

TEST(HbmBuffersTest, OtherLayoutsAreCopied) {
  AttentionConfig config = TwoHeads();
  config.block_sizes.q_layout = config.block_sizes.k_layout = config.block_sizes.v_layout =
      QkvLayout::kSeqMinor;
  EXPECT_EQ(PredictFor(config, CausalTables()).temporary_bytes, 1'261'568);
  config.head_dim = config.head_dim_v = 64;  // Now XLA has the sequence minor, too.
  EXPECT_EQ(PredictFor(config, CausalTables()).HbmBytes(), 1'262'592);
  EXPECT_EQ(PredictFor(config, CausalTables()).temporary_bytes, 737'280);
}

TEST(HbmBuffersTest, TablesAsArguments) {
  LiteralTables literals;
  literals.tables = {kSmallTable, kSmallTable, kSmallTable, 4, false};
  AttentionConfig config = TwoHeads();
  config.segments = true;
  const ProgramBuffers program = PredictFor(config, literals, {.tables_are_arguments = true});
  EXPECT_EQ(program.HbmBytes(), 1'873'408);
  EXPECT_EQ(program.temporary_bytes, 753'664);
  EXPECT_EQ(ShapesOf(program, BufferKind::kArgument).count("pred[4,128,128]{2,1,0:T(32,128)(4,1)}"),
            1u);
}

TEST(HbmBuffersTest, CopiesOfTablesWithFewColumnsHaveSmallTiles) {
  AttentionConfig config = TwoHeads();
  config.q_len = 4096;
  config.kv_len = 1152;
  LiteralTables literals = CausalTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 32, 9};
  const ProgramBuffers copied = PredictFor(config, literals, {.tables_are_arguments = true});
  EXPECT_EQ(ShapesOf(copied, BufferKind::kArgument).count("s8[1,32,9]{1,2,0:T(8,128)(4,1)}"), 1u);
  EXPECT_EQ(ShapesOf(copied, BufferKind::kTemporary).count("s8[1,32,9]{2,1,0:T(8,128)(4,1)}"), 1u);
  EXPECT_EQ(ShapesOf(PredictFor(config, literals), BufferKind::kConstant),
            (ShapeCounts{{"s8[1,32,9]{2,1,0:T(32,128)(4,1)}", 2}}));
}

// As libtpu compiles tests/io/data/splash_fwd_buffers.txt, where XLA starts two copies ahead.
TEST(HbmBuffersTest, WhatTheProgramMakesLiesInFasterMemory) {
  AttentionConfig config{.heads = 3, .kv_heads = 3, .q_len = 256, .kv_len = 512};
  config.block_sizes = {.block_q = 128, .block_kv = 256, .block_kv_compute = 128};
  LiteralTables literals = CausalTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 2, 2};
  ProgramOptions options;
  options.faster_memory = FasterMemoryOf(FindTpuSpec("v6e"), 32 << 20);
  options.prefetch_tables = 2;
  const ProgramBuffers program = PredictFor(config, literals, options);
  EXPECT_EQ(program.HbmBytes(), 1'426'432);
  EXPECT_EQ(program.temporary_bytes, 245'760);
  EXPECT_EQ(ShapesOf(program, BufferKind::kTemporary).count("s32[256,128]{1,0:T(8,128)S(1)}"), 1u);
  options.faster_memory->bytes = 131'071;  // One byte too few.
  EXPECT_EQ(ShapesOf(PredictFor(config, literals, options), BufferKind::kTemporary)
                .count("s32[256,128]{1,0:T(8,128)}"),
            1u);
}

TEST(HbmBuffersTest, FasterMemories) {
  EXPECT_EQ(FasterMemoryOf(FindTpuSpec("v4"), 16 << 20)->space, 3);
  EXPECT_EQ(FasterMemoryOf(FindTpuSpec("v6e"), 32 << 20)->bytes, 96 << 20);
  EXPECT_FALSE(FasterMemoryOf(FindTpuSpec("v6e"), 128 << 20));
  EXPECT_FALSE(FasterMemoryOf(FindTpuSpec("v5p"), 16 << 20));
}

TEST(HbmBuffersTest, RefusesWhatTheKernelRefuses) {
  AttentionConfig config = TwoHeads();
  config.block_sizes.block_kv = 100;
  ExpectErrorBegins(ErrorCode::kInvalidArgument,
                    "[plan] expected block_kv (100) to divide kv_len (512)",
                    [&] { PredictFor(config, CausalTables()); });
  config = TwoHeads();
  config.batch = int64_t{1} << 50;
  ExpectError(ErrorCode::kTooLarge, "[plan] expected q of less than 2^56 bytes, got 2.95e+21",
              [&] { PredictFor(config, CausalTables()); });
}

}  // namespace
}  // namespace splashmask
