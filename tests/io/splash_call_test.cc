// SPDX-License-Identifier: Apache-2.0
// What is decoded of the call in JAX's splash attention, compiled for a TPU by make_xla_dump.py.
#include "splashmask/io/xla/splash_call.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/io/expect_error.h"
#include "tests/io/xla_sample_dump.h"

namespace splashmask {
namespace {

const char kForwardDump[] = SPLASHMASK_IO_TESTS "/data/splash_fwd_buffers.txt";

TEST(SplashCallTest, ReadsTheConfiguration) {
  const SplashCall call = FindSplashCall(ReadXlaBuffers(kForwardDump));
  EXPECT_EQ(call.kernel, "splash_mha_fwd_no_residuals");
  EXPECT_EQ(call.grid, (std::vector<int64_t>{3, 2, 2}));
  AttentionConfig expected{.heads = 3, .kv_heads = 3, .q_len = 256, .kv_len = 512};
  expected.block_sizes = {.block_q = 128, .block_kv = 256, .block_kv_compute = 256};
  EXPECT_EQ(call.config, expected);
  EXPECT_FALSE(call.residuals);
  EXPECT_FALSE(call.tables_are_arguments);
  EXPECT_TRUE(call.uses_faster_memory);
  EXPECT_EQ(call.prefetch_tables, 2);
}

TEST(SplashCallTest, ReadsADumpOfOldForm) {
  const std::string path = SPLASHMASK_SEEDS "/000_42420fece0c12240.txt";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const SplashCall call = FindSplashCall(ReadXlaBuffers(path));
  EXPECT_EQ(call.kernel, "splash_mha_fwd_08d1d988");
  AttentionConfig expected{.heads = 8, .kv_heads = 8, .q_len = 2048, .kv_len = 2048};
  expected.block_sizes = {.block_q = 2048, .block_kv = 2048, .block_kv_compute = 2048};
  EXPECT_EQ(call.config, expected);
  EXPECT_EQ(call.prefetch_tables, 0);
}

TEST(SplashCallTest, RefusesOtherPrograms) {
  const XlaBuffers sample = ParseXlaBuffers(kSampleXlaDump, "sample");
  ExpectError(ErrorCode::kInvalidArgument,
              "[xla] expected a program that calls one splash attention kernel, the forward one, "
              "got none: compile the forward pass alone",
              [&] { FindSplashCall(sample); });

  XlaBuffers altered = ReadXlaBuffers(kForwardDump);
  XlaInstruction* call = nullptr;
  for (XlaInstruction& instruction : altered.instructions) {
    if (instruction.kernel) call = &instruction;
  }
  ASSERT_TRUE(call);
  XlaBuffers two = altered;
  two.instructions.push_back(*call);
  two.instructions.back().name = "splash_mha_dkv.1";
  two.instructions.back().kernel->name = "splash_mha_dkv";
  ExpectError(ErrorCode::kInvalidArgument,
              "[xla] expected a program that calls one splash attention kernel, the forward one, "
              "got splash_mha_fwd_no_residuals.1, splash_mha_dkv.1: compile the forward pass alone",
              [&] { FindSplashCall(two); });

  call->kernel->body = {std::nullopt, "the body is torn"};
  ExpectError(
      ErrorCode::kInvalidArgument,
      "[xla] expected a body of splash_mha_fwd_no_residuals.1 to read, but the body is torn",
      [&] { FindSplashCall(altered); });
}

TEST(SplashCallTest, RefusesOperandsOfAnotherKernel) {
  const XlaBuffers buffers = ReadXlaBuffers(kForwardDump);
  const auto refuse = [&](const char* text, auto&& alter) {
    XlaBuffers altered = buffers;
    for (XlaInstruction& instruction : altered.instructions) {
      if (instruction.kernel) alter(instruction);
    }
    ExpectError(ErrorCode::kInvalidArgument, text, [&] { FindSplashCall(altered); });
  };
  refuse("[xla] expected a value for the kernel's operand lost.1, got none",
         [](XlaInstruction& call) { call.operands[2] = "lost.1"; });
  refuse("[xla] expected q, k and v among the operands of splash_mha_fwd_no_residuals.1, got 4",
         [](XlaInstruction& call) { call.operands.resize(4); });
  refuse("[xla] expected m, l, an accumulator, out and maybe logsumexp as results of",
         [](XlaInstruction& call) { call.shape.elements.pop_back(); });
  refuse("[xla] expected 3 dimensions for an operand of splash_mha_fwd_no_residuals.1",
         [](XlaInstruction& call) {
           call.shape.elements[0].dims = {2, 128, 128};
         });
  refuse("[xla] expected blocks of k in the body of splash_mha_fwd_no_residuals.1, got none",
         [](XlaInstruction& call) { call.kernel->body.kernel->windows.resize(1); });
}

}  // namespace
}  // namespace splashmask
