// SPDX-License-Identifier: Apache-2.0
// What CompilePacked refuses, with the whole text.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "splashmask/masks/parse.h"
#include "splashmask/planner/compile/packed.h"
#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

PackedOptions FwdBlocks(BlockShape block) {
  PackedOptions options;
  options.fwd = block;
  return options;
}

TEST(PackedErrorTest, OverflowNamesTheSequenceAndItsNeed) {
  std::vector<int32_t> ids(16, 1);                            // Sequence 0: one document.
  for (int i = 0; i < 16; ++i) ids[i] = i / 4 + 1;            // Of 4 tokens each: 2 blocks of 2.
  ids.insert(ids.end(), 16, 3);                               // Sequence 1: 8 blocks.
  for (int i = 0; i < 16; ++i) ids.push_back(i < 6 ? 1 : 2);  // Sequence 2: 5 blocks.
  const Mask mask = Mask::Causal({16, 16});
  PackedOptions options = FwdBlocks({2, 2});
  options.width = 4;
  const auto compile = [&] { CompilePacked({ids.data(), 3, 16}, mask, options); };
  ExpectError(ErrorCode::kInvalidArgument,
              "[compile_packed] expected a width that every sequence fits in, got 4: sequence 1 "
              "needs 8, and the whole batch 8",
              compile);
  options.width = 8;
  options.height = 2;
  ExpectError(ErrorCode::kInvalidArgument,
              "[compile_packed] expected a height that every sequence fits in, got 2: sequence 1 "
              "needs 8, and the whole batch 8",
              compile);
  options.height = 8;
  EXPECT_NO_THROW(compile());
}

TEST(PackedErrorTest, RefusesWhatItCannotDo) {
  const std::vector<int32_t> ids(16, 1);
  const auto refuses = [&](const std::string& message, const std::string& text,
                           const PackedOptions& options, int64_t batch = 2, int64_t length = 8) {
    ExpectError(ErrorCode::kInvalidArgument, "[compile_packed] expected " + message, [&] {
      CompilePacked({ids.data(), batch, length}, ParseMask(text, {8, 8}), options);
    });
  };
  const PackedOptions good = FwdBlocks({2, 2});
  const std::string invariant =
      "a mask that depends on q - kv alone (full, causal, local, stride and their combinations), "
      "as positions count from the start of the whole sequence; got ";
  refuses(invariant + "chunked_causal(4): fold chunks into the ids and use causal()",
          "causal() & chunked_causal(4)", good);
  refuses(invariant + "documents([3, 5]): documents belong in the ids", "documents([3, 5])", good);
  refuses(invariant + "q_range(0, 3)", "causal() | ~q_range(0, 3)", good);
  refuses(invariant + "kv_range(0, 3)", "kv_range(0, 3)", good);
  refuses(invariant + "prefix(3)", "causal() | prefix(3)", good);
  refuses(invariant + "reorder(causal(), q=striped(2))", "reorder(causal(), q=striped(2))", good);
  const std::string itself =
      "a mask in which every token sees itself, or a row might see nothing and become NaN; got ";
  refuses(itself + "causal(-1)", "causal(-1)", good);
  refuses(itself + "empty()", "empty()", good);
  refuses(itself + "causal() - local(0, 0)", "causal() - local(0, 0)", good);
  refuses(itself + "stride(4, 1)", "stride(4, 1)", good);

  refuses("block_q (3) to divide the sequence length (8): nearest are 2 and 4", "causal()",
          FwdBlocks({3, 2}));
  refuses("block_kv of at least 1, got 0", "causal()", FwdBlocks({2, 0}));
  PackedOptions options = good;
  options.dkv = BlockShape{4, 16};
  refuses("block_kv_dkv (16) to divide the sequence length (8): nearest is 8", "causal()", options);
  options = good;
  options.width = 5;
  refuses("a width between 1 and the 4 blocks there are, got 5", "causal()", options);
  options.width = 0;
  refuses("a width between 1 and the 4 blocks there are, got 0", "causal()", options);
  options = good;
  options.height = -1;
  refuses("a height between 1 and the 4 blocks there are, got -1", "causal()", options);
  options.use_fused_bwd_kernel = true;
  refuses("no height with use_fused_bwd_kernel, whose dkv tables are not shrunk; got -1",
          "causal()", options);
  options = good;
  options.threads = -1;
  refuses("threads of at least 0, got -1", "causal()", options);

  refuses("at least one sequence of at least one token, got segment_ids of 0 x 8", "causal()", good,
          0);
  refuses("a mask of 4 x 4, the length of the sequences, got 8 x 8", "causal()", good, 2, 4);
}

}  // namespace
}  // namespace splashmask
