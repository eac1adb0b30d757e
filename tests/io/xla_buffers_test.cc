// SPDX-License-Identifier: Apache-2.0
// What is read of JAX's splash attention, compiled for a TPU by make_xla_dump.py: 3 heads, q_len
// 256, kv_len 512, head_dim 128, bfloat16; block_q 128, block_kv 256.
#include "splashmask/io/xla/xla_buffers.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/io/expect_error.h"
#include "tests/io/temporary_directory.h"
#include "tests/io/xla_sample_dump.h"

namespace splashmask {
namespace {

constexpr int64_t kHeads = 3, kQLen = 256, kKvLen = 512, kHeadDim = 128, kBlockQ = 128;
constexpr int64_t kQBytes = kHeads * kQLen * kHeadDim * 2;
constexpr int64_t kKvBytes = kHeads * kKvLen * kHeadDim * 2;
constexpr int64_t kScratchBytes = kBlockQ * kHeadDim * 4;  // m, l and the accumulator, each.
constexpr int64_t kTableBytes = 512;                       // int8[1,2,2] in one tile of 4 by 128.
constexpr int64_t kSequenceBytes = kQLen * 128 * 4;        // q_sequence, its number in every lane.

using Strings = std::vector<std::string>;

const char kSplashDump[] = SPLASHMASK_IO_TESTS "/data/splash_fwd_buffers.txt";
const std::string kCall = "splash_mha_fwd_no_residuals.1";

class XlaBuffersTest : public testing::Test {
 protected:
  const XlaValue& Value(const std::string& instruction, std::vector<int64_t> index = {}) const {
    for (const XlaValue& value : buffers_.values) {
      if (value.defined_at == XlaPosition{instruction, index}) return value;
    }
    ADD_FAILURE() << "no value of " << instruction;
    return buffers_.values.front();
  }
  const XlaAllocation& AllocationOf(const XlaValue& value) const {
    return buffers_.allocations[static_cast<size_t>(value.allocation)];
  }
  const XlaInstruction& InstructionOf(const XlaValue& value) const {
    return buffers_.instructions[value.instruction.value()];
  }

  const XlaBuffers buffers_ = ReadXlaBuffers(kSplashDump);
};

TEST_F(XlaBuffersTest, ParametersHoldQKAndV) {
  int64_t number = 0;
  for (const char* name : {"q.1", "k.1", "v.1"}) {
    const XlaValue& value = Value(name);
    const XlaAllocation& allocation = AllocationOf(value);
    const std::string shape = number == 0 ? "bf16[3,256,128]" : "bf16[3,512,128]";
    ASSERT_TRUE(allocation.parameter);
    EXPECT_EQ(allocation.parameter->number, number++);
    EXPECT_EQ(allocation.parameter->shape, shape);
    EXPECT_TRUE(allocation.parameter->index.empty());
    EXPECT_EQ(XlaShapeText(value.shape), shape + "{2,1,0:T(8,128)(2,1)}");
    EXPECT_EQ(allocation.bytes, number == 1 ? kQBytes : kKvBytes);
    EXPECT_EQ(value.bytes, allocation.bytes);
    EXPECT_EQ(allocation.page, 0);
    EXPECT_FALSE(allocation.is_constant || allocation.maybe_live_out ||
                 allocation.is_preallocated_temp || allocation.is_thread_local);
    EXPECT_EQ(InstructionOf(value).opcode, "parameter");
    EXPECT_EQ(InstructionOf(value).literal, std::to_string(number - 1));
    EXPECT_EQ(value.live, (XlaLiveRange{0, 12}));
    EXPECT_EQ(value.uses, (std::vector<XlaUse>{{kCall, number + 1, {}}}));
  }
}

TEST_F(XlaBuffersTest, OutputIsTheLastResultOfTheKernel) {
  const XlaValue& output = Value(kCall, {3});
  EXPECT_EQ(output.id, 16);
  EXPECT_EQ(output.bytes, kQBytes);
  const XlaAllocation& allocation = AllocationOf(output);
  EXPECT_EQ(allocation.output_shape, "bf16[3,256,128]");
  EXPECT_TRUE(allocation.maybe_live_out);
  EXPECT_EQ(output.positions, (std::vector<XlaPosition>{{kCall, {3}}, {"pallas_call.1", {}}}));
  EXPECT_EQ(output.uses, (std::vector<XlaUse>{{"pallas_call.1", 0, {3}}}));
  EXPECT_EQ(output.live, (XlaLiveRange{10, 12}));
}

// The tables of the mask: q block 0 (rows 256 to 383 of a causal 512) sees kv block 0 whole and 1
// in part, and so does q block 1.
TEST_F(XlaBuffersTest, ConstantsAreTheTables) {
  const std::map<std::string, std::string> literals{
      {"constant.3", "{ { { 0, 1 }, { 0, 1 } } }"},   // data_next
      {"constant.4", "{ { { 2, 1 }, { 2, 1 } } }"}};  // block_mask
  for (const auto& [name, literal] : literals) {
    const XlaValue& table = Value(name);
    EXPECT_TRUE(AllocationOf(table).is_constant);
    EXPECT_EQ(table.bytes, kTableBytes);
    EXPECT_EQ(InstructionOf(table).opcode, "constant");
    EXPECT_EQ(InstructionOf(table).literal, literal);
    EXPECT_TRUE(InstructionOf(table).operands.empty());
  }
}

TEST_F(XlaBuffersTest, MemoriesAreToldApart) {
  const XlaValue& q_sequence = Value("iota.1");
  EXPECT_EQ(q_sequence.color, 1);
  EXPECT_EQ(q_sequence.bytes, kSequenceBytes);
  EXPECT_EQ(q_sequence.shape.layout->memory_space, 1);
  EXPECT_EQ(AllocationOf(q_sequence).color, 1);
  EXPECT_TRUE(AllocationOf(q_sequence).is_preallocated_temp);
  EXPECT_EQ(Value("copy-start", {2}).color, 2);

  EXPECT_EQ(buffers_.BytesOfColor(2), 2 * 4);
  // The last table begins at a multiple of 4096.
  EXPECT_EQ(buffers_.BytesOfColor(1), kSequenceBytes + 4096 + kTableBytes);
  // Results that the kernel does not return, behind three tuples that are 16 KiB apart.
  const int64_t scratch = 3 * kScratchBytes + 3 * 16384;
  EXPECT_EQ(buffers_.BytesOfColor(0), 2 * kQBytes + 2 * kKvBytes + 2 * kTableBytes + scratch);
  EXPECT_EQ(buffers_.BytesOfColor(3), 0);
  EXPECT_EQ(buffers_.total_bytes,
            buffers_.BytesOfColor(0) + buffers_.BytesOfColor(1) + buffers_.BytesOfColor(2));
}

TEST_F(XlaBuffersTest, ScratchLiesInOneAllocation) {
  for (int64_t i = 0; i < 3; ++i) {
    const XlaValue& scratch = Value(kCall, {i});
    EXPECT_EQ(scratch.bytes, kScratchBytes);
    EXPECT_EQ(scratch.offset, 3 * 16384 + i * kScratchBytes);
    EXPECT_EQ(scratch.live, (XlaLiveRange{10, 10}));
    EXPECT_TRUE(scratch.uses.empty());
  }
  const XlaValue& tuple = Value(kCall);
  EXPECT_TRUE(tuple.shape.is_tuple);
  EXPECT_EQ(tuple.shape.elements.size(), 4u);
  EXPECT_EQ(tuple.bytes, 4 * 8);
}

TEST_F(XlaBuffersTest, InstructionsAreReadOnce) {
  std::set<std::string> names;
  for (const XlaInstruction& instruction : buffers_.instructions) names.insert(instruction.name);
  EXPECT_EQ(names, (std::set<std::string>{"constant.3", "constant.4", "copy-start", "copy-start.1",
                                          "iota.1", "k.1", "q.1", "v.1", kCall}));
  EXPECT_EQ(buffers_.instructions.size(), names.size());

  const XlaInstruction& call = InstructionOf(Value(kCall));
  EXPECT_EQ(call.opcode, "custom-call");
  EXPECT_EQ(call.operands, (Strings{"copy-done.1", "copy-done", "q.1", "k.1", "v.1", "iota.1"}));
  EXPECT_EQ(call.custom_call_target, "tpu_custom_call");
  EXPECT_EQ(call.shape, Value(kCall).shape);
  EXPECT_EQ(InstructionOf(Value("iota.1")).op_name,
            "jit(attention)/static_sparsity_splash/jit(_splash_attention)/broadcast_in_dim");
  EXPECT_FALSE(InstructionOf(Value("iota.1")).kernel);
}

TEST_F(XlaBuffersTest, KernelIsDecoded) {
  const XlaKernel kernel = InstructionOf(Value(kCall)).kernel.value();
  EXPECT_EQ(kernel.name, "splash_mha_fwd_no_residuals");
  EXPECT_EQ(kernel.scopes,
            (Strings{"jit(attention)", "static_sparsity_splash", "jit(_splash_attention)",
                     "splash_mha_fwd_no_residuals", "splash_mha_fwd_no_residuals", "pallas_call"}));
  ASSERT_TRUE(kernel.body.kernel) << kernel.body.reason;
  EXPECT_EQ(kernel.body.kernel->iteration_bounds, (std::vector<int64_t>{3, 2, 2}));
  EXPECT_EQ(kernel.body.kernel->scalar_prefetch, 2);
  const std::vector<MosaicWindow>& windows = kernel.body.kernel->windows;
  ASSERT_EQ(windows.size(), 8u);
  EXPECT_EQ(windows[0], (MosaicWindow{{1, 128, 128}, "transform_0", ""}));  // q
  EXPECT_EQ(windows[1], (MosaicWindow{{1, 256, 128}, "transform_1", ""}));  // k
  EXPECT_EQ(windows[3], (MosaicWindow{{128, 128}, "transform_3", ""}));     // q_sequence
  EXPECT_EQ(windows[4], (MosaicWindow{{128, 128}, "transform_4", "synchronous"}));
}

TEST_F(XlaBuffersTest, PeakIsAtTheKernel) {
  EXPECT_EQ(buffers_.sequence.size(), 12u);
  ASSERT_TRUE(buffers_.peak);
  const XlaPeak& peak = *buffers_.peak;
  EXPECT_EQ(buffers_.sequence[static_cast<size_t>(peak.instruction)], kCall);
  // All but the copies' tuples and semaphores, and the tables, whose copies are read.
  const int64_t common = 2 * kQBytes + 2 * kKvBytes + kSequenceBytes + 3 * kScratchBytes + 32;
  EXPECT_EQ(peak.bytes, common + 2 * 4);
  EXPECT_EQ(peak.allocated_bytes, common + 2 * kTableBytes);
  ASSERT_EQ(peak.values.size(), 11u);
  EXPECT_EQ(buffers_.values[peak.values[0].value].defined_at.instruction, "k.1");
  EXPECT_EQ(peak.values[0].bytes, kKvBytes);
  EXPECT_EQ(peak.values[1].cumulative, 2 * kKvBytes);
  EXPECT_EQ(peak.values.back().cumulative, peak.bytes);
}

// A value is in the list of the allocation that it names, and nowhere else.
TEST_F(XlaBuffersTest, ValuesAndAllocationsNameEachOther) {
  std::vector<size_t> all;
  for (const XlaAllocation& allocation : buffers_.allocations) {
    for (size_t value : allocation.values) {
      EXPECT_EQ(buffers_.values[value].allocation, allocation.number);
      all.push_back(value);
    }
  }
  ASSERT_EQ(all.size(), 17u);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], i);
}

TEST(XlaBuffersFilesTest, NewerCompilersWriteThreeFiles) {
  const TemporaryDirectory directory;
  const std::string dump = ReadFile(kSplashDump);
  const size_t values = dump.find("\nTotal bytes used"), ranges = dump.find("HloLiveRange");
  const std::string stem = directory / "module_0001.jit_f.after_optimizations";
  const std::string first = stem + "-buffer-assignment.txt";
  WriteFile(first, dump.substr(0, values));

  const XlaBuffers alone = ReadXlaBuffers(first);
  EXPECT_EQ(alone.values.size(), 17u);
  EXPECT_EQ(alone.total_bytes, std::nullopt);
  EXPECT_TRUE(alone.instructions.empty() && alone.sequence.empty() && !alone.peak);

  WriteFile(stem + "-live-range.txt", dump.substr(ranges));
  EXPECT_TRUE(ReadXlaBuffers(first).peak);
  EXPECT_EQ(ReadXlaBuffers(first).total_bytes, std::nullopt);

  const std::string second = stem + "-buffer-assignment-values.txt";
  WriteFile(second, dump.substr(values, ranges - values));
  const XlaBuffers all = ReadXlaBuffers(first);
  EXPECT_EQ(all.total_bytes, ReadXlaBuffers(kSplashDump).total_bytes);
  EXPECT_EQ(all.instructions.size(), 9u);
  EXPECT_TRUE(all.peak);

  // Each file's lines count for themselves.
  WriteFile(second, "\nTotal bytes used: 1 (1B)\n\nUsed values:\n");
  ExpectError(ErrorCode::kInvalidArgument, "[xla] " + second + ": line 2: expected a total of ",
              [&] { ReadXlaBuffers(first); });
  WriteFile(second, "\n\nTotal bytes");
  ExpectError(ErrorCode::kSyntax, "[xla] " + second + ": line 3: expected ",
              [&] { ReadXlaBuffers(first); });
}

TEST(XlaBuffersFilesTest, MissingFilesAndDirectoriesAreNamed) {
  ExpectError(ErrorCode::kNotFound, "[xla] /no/such.txt: cannot open the file",
              [] { ReadXlaBuffers("/no/such.txt"); });
  const TemporaryDirectory directory;
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a directory",
              [&] { ReadXlaBuffers(directory.path()); });
}

TEST(XlaBuffersSampleTest, ReadsWhatIsMadeByHand) {
  const XlaBuffers buffers = ParseXlaBuffers(kSampleXlaDump, "sample");
  EXPECT_EQ(buffers.total_bytes, 4096 + 4224 + 512);
  EXPECT_EQ(buffers.allocations[2].color, 1);
  EXPECT_EQ(buffers.allocations[0].page, std::nullopt);
  EXPECT_EQ(buffers.instructions.size(), 2u);
  EXPECT_EQ(buffers.peak->bytes, 2 * 8 * 100 * 4 + 16 + 12);
  EXPECT_EQ(buffers.peak->allocated_bytes, 2 * 8 * 128 * 4 + 16 + 512);
}

// What CPU programs, loops and older or newer compilers print.
TEST(XlaBuffersSampleTest, ReadsOtherForms) {
  const XlaBuffers buffers = ParseXlaBuffers(
      "BufferAssignment:\r\n"
      "allocation 0: size 4100, thread-local, news 7, constant:\r\n"
      " value: <5 while.6{0,1} (phi) @0> (size=4096,offset=4): s32[]\r\n"
      "allocation 1: size 64:\n"
      "\nTotal bytes used: 4164 (4.1KiB)\n\nUsed values:\n"
      "<5 while.6{0,1} (phi) @0>\n positions:\n  while.6 {0,1}\n uses:\n  (none)\n"
      " from instruction: ROOT %while.6 = ((f32[], s32[])) while((f32[], s32[]) %t.1, f32[2]{0} "
      "%u), "
      "frontend_attributes={k={\n\"a\":\"\\\"}\"\n}}, metadata={op_name=\"f(a/b)/\\\"g\\\"\"}\n",
      "other");
  EXPECT_TRUE(buffers.allocations[0].is_thread_local);
  EXPECT_TRUE(buffers.allocations[0].is_constant);
  EXPECT_EQ(buffers.allocations[0].other_flags, (Strings{"news 7"}));
  EXPECT_TRUE(buffers.allocations[1].values.empty());
  const XlaValue& value = buffers.values[0];
  EXPECT_TRUE(value.is_phi);
  EXPECT_EQ(value.defined_at, (XlaPosition{"while.6", {0, 1}}));
  EXPECT_EQ(buffers.instructions[0].operands, (Strings{"t.1", "u"}));
  EXPECT_EQ(buffers.instructions[0].op_name, "f(a/b)/\"g\"");
}

// A kernel that cannot be read does not spoil the dump.
TEST(XlaBuffersSampleTest, UnreadableKernelsSayWhy) {
  const auto reason = [](const std::string& config) {
    std::string dump(kSampleXlaDump);
    for (size_t at = 0; (at = dump.find("\"Pair\"", at)) != std::string::npos; ++at) {
      dump.replace(at, 6, "\"tpu_custom_call\"" + config);
    }
    const XlaKernel kernel = ParseXlaBuffers(dump, "sample").instructions[1].kernel.value();
    EXPECT_EQ(kernel.name, "pair");
    EXPECT_FALSE(kernel.body.kernel);
    return kernel.body.reason;
  };
  EXPECT_EQ(reason(""), "the call's backend_config holds no body");
  EXPECT_EQ(reason(", backend_config={\"custom_call_config\": {\"body\": 3}}"),
            "the call's backend_config holds no body");
  EXPECT_EQ(reason(", backend_config={\"custom_call_config\": {\"body\": \"*\"}}"),
            "the call's body is not base64");
  EXPECT_EQ(
      reason(", backend_config={\"custom_call_config\": {\"body\": \"Zm9v\"}}"),
      "the kernel's body cannot be read as MLIR bytecode: it does not begin as bytecode does");
}

// What the start of an asynchronous instruction computes aside stands before it in the sequence.
TEST(XlaBuffersSampleTest, ValuesComputedAsideLiveFromTheirStart) {
  std::string dump(kSampleXlaDump);
  const std::pair<std::string, std::string> edits[] = {
      {"2:part\n", "2:part-start\n"},
      {"pair{}:1-2", "pair{}:2-2"},
      {"    pair{}: 16 bytes (cumulative: 6416 bytes)\n", ""},
      {"(cumulative: 6428 bytes)", "(cumulative: 6412 bytes)"},
      {"usage: 6 428 bytes", "usage: 6 412 bytes"}};
  for (const auto& [from, to] : edits) {
    ASSERT_NE(dump.find(from), std::string::npos) << from;
    dump.replace(dump.find(from), from.size(), to);
  }
  EXPECT_EQ(ParseXlaBuffers(dump, "sample").values[1].live, (XlaLiveRange{2, 2}));
}

// Splash attention of another compiler: 8 heads, q_len and kv_len 2048, one block of 2048.
TEST(XlaBuffersSeedTest, ReadsADumpOfOldForm) {
  const std::string path = SPLASHMASK_SEEDS "/000_42420fece0c12240.txt";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const XlaBuffers buffers = ReadXlaBuffers(path);
  EXPECT_EQ(buffers.total_bytes, 20'988'928);
  EXPECT_EQ(buffers.BytesOfColor(1), 2048 * 128 * 4);
  EXPECT_EQ(buffers.values.size(), 11u);
  EXPECT_EQ(buffers.sequence.size(), 8u);
  EXPECT_EQ(buffers.peak->instruction, 6);
  EXPECT_EQ(buffers.peak->bytes, 20'971'554);
  EXPECT_EQ(buffers.peak->allocated_bytes, 20'971'554 - 2 * 1 + 2 * 512);
  EXPECT_EQ(buffers.peak->values.size(), 11u);
  const XlaInstruction& call = buffers.instructions.back();
  ASSERT_TRUE(call.kernel);
  EXPECT_EQ(call.kernel->name, "splash_mha_fwd_08d1d988");
  EXPECT_EQ(call.kernel->scopes[3], "splash_kernel_b2048_h8_s2048");
  ASSERT_TRUE(call.kernel->body.kernel) << call.kernel->body.reason;
  EXPECT_EQ(call.kernel->body.kernel->function, "main");
  EXPECT_EQ(call.kernel->body.kernel->iteration_bounds, (std::vector<int64_t>{8, 1, 1}));
  EXPECT_EQ(call.kernel->body.kernel->windows[1].bounds, (std::vector<int64_t>{1, 2048, 128}));
}

}  // namespace
}  // namespace splashmask
