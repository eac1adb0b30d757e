// SPDX-License-Identifier: Apache-2.0
// Expected values are those of buffer assignments that libtpu 0.0.51 wrote for JAX's backward
// kernels, compiled with xla_msa_enable=false; those of PackedTemporaries are counted by hand.
#include <gtest/gtest.h>

#include <set>

#include "splashmask/planner/cost/hbm_buffers.h"
#include "splashmask/planner/cost/hbm_use.h"
#include "splashmask/planner/cost/packed_temporaries.h"
#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

// Two heads of 512 x 512 in blocks of 128 x 128.
AttentionConfig BackwardConfig(TpuKernel kernel, const KernelBlocks& blocks = {128, 128, 128}) {
  AttentionConfig config{.heads = 2, .kv_heads = 2, .q_len = 512, .kv_len = 512};
  config.block_sizes = WithBlocks({}, kernel, blocks);
  config.block_sizes.use_fused_bwd_kernel = kernel == TpuKernel::kFused;
  return config;
}

// causal(): computed, with two tables.
LiteralTables ComputedTables() {
  constexpr TableOperand kTable{DType::kInt8, {1, 4, 4}};
  LiteralTables literals;
  literals.tables = {kTable, kTable, std::nullopt, 0, true};
  return literals;
}

// full(): a repeated block_mask, nothing to compute.
LiteralTables FullTables(int64_t kv_blocks) {
  LiteralTables literals = ComputedTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 4, kv_blocks};
  literals.tables.has_q_sequence = false;
  literals.is_repeated[1] = true;
  return literals;
}

// where("q * kv % 7 < 3"): every block is stored.
LiteralTables StoredTables(int64_t q_blocks) {
  const TableOperand table{DType::kInt8, {1, q_blocks, 4}};
  LiteralTables literals;
  literals.tables = {table, table, table, q_blocks * 4, false};
  return literals;
}

ProgramBuffers Gradients(const AttentionConfig& config, TpuKernel kernel,
                         const LiteralTables& literals = ComputedTables(),
                         const ProgramOptions& options = {}, const char* chip = "v6e") {
  return PredictBuffers(config, kernel, literals, FindTpuSpec(chip), options);
}

// "shape" or, where it is there n times, "n shape". Tuples are "pointers".
std::set<std::string> KindsOf(const ProgramBuffers& program, BufferKind kind) {
  std::multiset<std::string> all;
  for (const ProgramBuffer& buffer : program.buffers) {
    if (buffer.kind != kind) continue;
    all.insert(buffer.shape.is_tuple ? "pointers" : XlaShapeText(buffer.shape));
  }
  std::set<std::string> counted;
  for (const std::string& shape : all) {
    const size_t count = all.count(shape);
    counted.insert(count > 1 ? std::to_string(count) + " " + shape : shape);
  }
  return counted;
}

using Shapes = std::set<std::string>;

TEST(BackwardBuffersTest, Dq) {
  const ProgramBuffers program = Gradients(BackwardConfig(TpuKernel::kDq), TpuKernel::kDq);
  EXPECT_EQ(program.HbmBytes(), 1'940'000);
  EXPECT_EQ(program.temporary_bytes, 360'480);
  EXPECT_EQ(KindsOf(program, BufferKind::kArgument),  // q, k, v, out and do; logsumexp.
            (Shapes{"5 bf16[2,512,128]{2,1,0:T(8,128)(2,1)}", "f32[2,512]{1,0:T(2,128)}"}));
  EXPECT_EQ(KindsOf(program, BufferKind::kTemporary),
            (Shapes{"2 f32[2,1,512]{2,1,0:T(1,128)}", "f32[2,512]{1,0:T(2,128)}",
                    "s32[512,128]{1,0:T(8,128)}", "f32[128,128]{1,0:T(8,128)}", "pointers"}));
  EXPECT_EQ(KindsOf(program, BufferKind::kOutput),
            (Shapes{"bf16[2,512,128]{2,1,0:T(8,128)(2,1)}"}));
  EXPECT_EQ(KindsOf(program, BufferKind::kThreadLocal), (Shapes{"3 f32[]{:T(128)}"}));
}

TEST(BackwardBuffersTest, DqOnOtherChips) {
  const AttentionConfig config = BackwardConfig(TpuKernel::kDq);
  const ProgramBuffers v5e = Gradients(config, TpuKernel::kDq, ComputedTables(), {}, "v5e");
  EXPECT_EQ(v5e.HbmBytes(), 1'940'480);
  EXPECT_EQ(v5e.temporary_bytes, 360'960);
  const ProgramBuffers tpu7x = Gradients(config, TpuKernel::kDq, ComputedTables(), {}, "tpu7x");
  EXPECT_EQ(tpu7x.HbmBytes(), 1'950'752);
  EXPECT_EQ(KindsOf(tpu7x, BufferKind::kThreadLocal), (Shapes{"3 f32[]"}));
}

TEST(BackwardBuffersTest, Dkv) {
  const ProgramBuffers program = Gradients(BackwardConfig(TpuKernel::kDkv), TpuKernel::kDkv);
  EXPECT_EQ(program.HbmBytes(), 2'071'104);
  EXPECT_EQ(program.temporary_bytes, 229'408);
  EXPECT_EQ(KindsOf(program, BufferKind::kTemporary),
            (Shapes{"2 f32[2,8,512]{2,1,0:T(8,128)}", "f32[2,512]{1,0:T(2,128)}",
                    "s32[8,512]{1,0:T(8,128)}", "2 f32[128,128]{1,0:T(8,128)}", "pointers"}));
  EXPECT_EQ(KindsOf(program, BufferKind::kOutput),
            (Shapes{"2 bf16[2,512,128]{2,1,0:T(8,128)(2,1)}", "pointers"}));
}

TEST(BackwardBuffersTest, FusedWritesADqForEachKvBlock) {
  const ProgramBuffers program = Gradients(BackwardConfig(TpuKernel::kFused), TpuKernel::kFused);
  EXPECT_EQ(program.HbmBytes(), 3'383'872);
  EXPECT_EQ(program.temporary_bytes, 1'277'984);
  EXPECT_EQ(
      KindsOf(program, BufferKind::kTemporary).count("bf16[4,2,512,128]{3,2,1,0:T(8,128)(2,1)}"),
      1u);
  EXPECT_EQ(KindsOf(program, BufferKind::kThreadLocal),
            (Shapes{"3 f32[]{:T(128)}", "3 bf16[]{:T(256)}"}));
  // Blocks that are computed in steps keep dq of a block in float32.
  LiteralTables literals = ComputedTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 4, 2};
  const ProgramBuffers steps =
      Gradients(BackwardConfig(TpuKernel::kFused, {128, 256, 128}), TpuKernel::kFused, literals);
  EXPECT_EQ(steps.HbmBytes(), 3'056'192);
  EXPECT_EQ(steps.temporary_bytes, 950'304);
}

// Of 96 and 64 columns: XLA lays the gradients out otherwise, and sums dq where operands were.
TEST(BackwardBuffersTest, DqOfKvBlocksIsSummedWhereOperandsWere) {
  AttentionConfig config = BackwardConfig(TpuKernel::kFused);
  config.head_dim = 96;
  config.head_dim_v = 64;
  const ProgramBuffers program = Gradients(config, TpuKernel::kFused, FullTables(4));
  EXPECT_EQ(program.HbmBytes(), 4'153'920);
  EXPECT_EQ(program.temporary_bytes, 2'834'464);
  EXPECT_EQ(KindsOf(program, BufferKind::kTemporary).count("4 bf16[2,512,96]{2,1,0:T(8,128)(2,1)}"),
            1u);

  // One kv block has nothing to sum.
  config.block_sizes = WithBlocks(config.block_sizes, TpuKernel::kFused, {128, 512, 128});
  const ProgramBuffers whole = Gradients(config, TpuKernel::kFused, FullTables(1));
  EXPECT_EQ(whole.HbmBytes(), 3'824'192);
  EXPECT_EQ(whole.temporary_bytes, 2'506'784);
  EXPECT_EQ(KindsOf(whole, BufferKind::kThreadLocal), (Shapes{"3 f32[]{:T(128)}"}));
}

TEST(BackwardBuffersTest, SegmentIdsAndSinks) {
  AttentionConfig config = BackwardConfig(TpuKernel::kDq);
  config.segments = config.sinks = true;
  const ProgramBuffers dq = Gradients(config, TpuKernel::kDq);
  EXPECT_EQ(dq.HbmBytes(), 2'239'520);
  EXPECT_EQ(dq.temporary_bytes, 655'392);
  config = BackwardConfig(TpuKernel::kDkv);
  config.segments = true;
  const ProgramBuffers dkv = Gradients(config, TpuKernel::kDkv);
  EXPECT_EQ(dkv.HbmBytes(), 2'353'728);
  EXPECT_EQ(dkv.temporary_bytes, 507'936);
}

TEST(BackwardBuffersTest, ValuesOfOneHead) {
  AttentionConfig config = BackwardConfig(TpuKernel::kDkv);
  config.heads = config.kv_heads = 1;
  config.q_len = 384;
  LiteralTables literals = ComputedTables();
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 3, 4};
  const ProgramBuffers dkv = Gradients(config, TpuKernel::kDkv, literals);
  EXPECT_EQ(dkv.HbmBytes(), 1'032'768);
  EXPECT_EQ(dkv.temporary_bytes, 196'640);
  EXPECT_EQ(KindsOf(dkv, BufferKind::kTemporary).count("2 f32[384]{0:T(512)}"), 1u);

  config.block_sizes = BackwardConfig(TpuKernel::kDq).block_sizes;
  literals.tables.data_next->shape = literals.tables.block_mask->shape = {1, 3, 3};
  const ProgramBuffers dq = Gradients(config, TpuKernel::kDq, literals);
  EXPECT_EQ(dq.HbmBytes(), 954'400);
  EXPECT_EQ(dq.temporary_bytes, 294'944);
}

TEST(BackwardBuffersTest, ValuesOfABatch) {
  AttentionConfig config = BackwardConfig(TpuKernel::kDkv);
  config.batch = 2;
  config.heads = config.kv_heads = 1;
  const ProgramBuffers one_head = Gradients(config, TpuKernel::kDkv);
  EXPECT_EQ(one_head.HbmBytes(), 2'218'560);
  EXPECT_EQ(one_head.temporary_bytes, 376'864);
  EXPECT_EQ(KindsOf(one_head, BufferKind::kTemporary).count("f32[2,1,512]{2,0,1:T(2,128)}"), 1u);
  config.heads = config.kv_heads = 3;
  const ProgramBuffers program = Gradients(config, TpuKernel::kDkv);
  EXPECT_EQ(program.HbmBytes(), 6'027'840);
  EXPECT_EQ(program.temporary_bytes, 507'936);
}

TEST(BackwardBuffersTest, StoredBlocksAsArgumentsAreConverted) {
  const ProgramOptions options{.tables_are_arguments = true};
  AttentionConfig config = BackwardConfig(TpuKernel::kDkv);
  const ProgramBuffers program = Gradients(config, TpuKernel::kDkv, StoredTables(4), options);
  EXPECT_EQ(program.HbmBytes(), 3'365'952);
  EXPECT_EQ(program.temporary_bytes, 1'261'600);
  // Where blocks have fewer columns than lanes they are converted as they came, then moved.
  config = BackwardConfig(TpuKernel::kDkv, {64, 128, 128});
  config.q_len = 64;
  const ProgramBuffers narrow = Gradients(config, TpuKernel::kDkv, StoredTables(1), options);
  EXPECT_EQ(narrow.HbmBytes(), 1'626'176);
  EXPECT_EQ(narrow.temporary_bytes, 442'400);
  EXPECT_EQ(KindsOf(narrow, BufferKind::kTemporary).count("s32[4,128,64]{1,2,0:T(8,128)}"), 1u);
}

TEST(BackwardBuffersTest, RefusesFasterMemory) {
  ExpectError(ErrorCode::kInvalidArgument,
              "[plan] expected a forward kernel beside faster memory, got a backward one", [] {
                Gradients(BackwardConfig(TpuKernel::kDq), TpuKernel::kDq, ComputedTables(),
                          {.faster_memory = FasterMemory{1, 1 << 20}});
              });
}

Fit FitOnV5e(int64_t heads) {
  AttentionConfig config{.heads = heads, .kv_heads = 1, .q_len = 2048, .kv_len = 128};
  config.block_sizes = WithBlocks({}, TpuKernel::kFwd, {128, 128, 128});
  return HbmUseOf(FindTpuSpec("v5e"), TpuKernel::kFwd, config, ProgramTablesOf(MaskInfo(), {})).fit;
}

// q and out of a head take a MiB, and the chip has 15.75 GiB, which is known to 0.01.
TEST(HbmUseTest, NearTheLimitItIsTooCloseToCall) {
  EXPECT_EQ(FitOnV5e(16128 - 6), Fit::kFits);
  EXPECT_EQ(FitOnV5e(16128), Fit::kTooClose);
  EXPECT_EQ(FitOnV5e(16128 + 6), Fit::kDoesNotFit);
}

// Shards have their own: TablesOf cuts them.
TEST(HbmUseTest, TablesOfShardsAreArguments) {
  MaskInfo info;
  info.data_next = Table(DType::kInt8, {2, 4, 4});
  for (int64_t i = 0; i < info.data_next->size(); ++i) info.data_next->Set(i, 1);
  info.block_mask = info.data_next->Clone();
  AttentionConfig config{.heads = 1, .kv_heads = 1, .q_len = 512, .kv_len = 512};
  config.block_sizes = WithBlocks({}, TpuKernel::kFwd, {128, 128, 128});
  const auto use_of = [&](const PlanOptions& options) {
    return HbmUseOf(FindTpuSpec("v6e"), TpuKernel::kFwd, config, ProgramTablesOf(info, options));
  };
  PlanOptions shards;
  shards.head_shards = 2;
  EXPECT_EQ(use_of(shards).tables, 2 * 512);  // s8[1,4,4] in tiles of 4 x 128.
  EXPECT_EQ(use_of(shards).arguments, 3 * 131072);
  EXPECT_EQ(use_of({}).tables, 512);  // One value, of which both are made.
}

constexpr int64_t kKiB = 1024;

TEST(PackedTemporariesTest, EachBeginsAtAMultipleOf16KiB) {
  EXPECT_EQ(PackedBytes({}), 0);
  EXPECT_EQ(PackedBytes({{.bytes = 512}}), 512);
  EXPECT_EQ(PackedBytes({{.bytes = 512}, {.bytes = 20 * kKiB}}), 36 * kKiB);
}

// di, and what is made of it. The smaller come first; the table at the end takes the place of di.
TEST(PackedTemporariesTest, AFreedPieceIsUsedAgainWhereItIsLargeEnough) {
  std::vector<PackedTemporary> temporaries{{.bytes = 4 * kKiB},
                                           {.bytes = 16 * kKiB, .made_from = 0},
                                           {.bytes = 4 * kKiB, .lifetime = Lifetime::kLateOperand}};
  EXPECT_EQ(PackedBytes(temporaries), 32 * kKiB);
  // Padding of a piece is not free with it.
  temporaries[2].bytes = 5 * kKiB;
  EXPECT_EQ(PackedBytes(temporaries), 37 * kKiB);
}

TEST(PackedTemporariesTest, OfEqualOnesTheLastComesFirst) {
  // The last is freed by what is made of it, and the first takes its place.
  std::vector<PackedTemporary> temporaries{
      {.bytes = 4 * kKiB}, {.bytes = 4 * kKiB}, {.bytes = 3 * kKiB, .made_from = 1}};
  EXPECT_EQ(PackedBytes(temporaries), 19 * kKiB);
  temporaries[0].bytes = 3 * kKiB;  // Now it comes first.
  EXPECT_EQ(PackedBytes(temporaries), 35 * kKiB);
}

TEST(PackedTemporariesTest, AfterTheKernelItsOperandsAndScratchAreFree) {
  std::vector<PackedTemporary> temporaries{{.bytes = 16 * kKiB},
                                           {.bytes = 16 * kKiB, .lifetime = Lifetime::kScratch},
                                           {.bytes = 16 * kKiB, .lifetime = Lifetime::kResult},
                                           {.bytes = 32 * kKiB, .lifetime = Lifetime::kAfterwards}};
  EXPECT_EQ(PackedBytes(temporaries), 48 * kKiB);
  temporaries[3].bytes = 33 * kKiB;
  EXPECT_EQ(PackedBytes(temporaries), 81 * kKiB);
}

}  // namespace
}  // namespace splashmask
