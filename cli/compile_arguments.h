// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a mask is compiled, as commands that do so are asked.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/command_line.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask::cli {

struct CompileArguments {
  std::optional<int64_t> block_q, block_kv;  ///< 512 where they are not given.
  std::optional<int64_t> block_q_dq, block_kv_dq, block_q_dkv, block_kv_dkv;
  std::vector<std::string> passes;  ///< None: all.
  int64_t head_shards = 1, q_seq_shards = 1;
  bool no_downcast = false, no_shrink = false, fused_bwd = false, simplify = false;

  friend bool operator==(const CompileArguments&, const CompileArguments&) = default;
};

void AddCompileArguments(CommandSyntax& syntax, CompileArguments& arguments);

/// The block shapes of the passes that were asked for, and the plan's options. Throws
/// kInvalidArgument for sizes of passes that are not compiled.
CompileOptions CompileOptionsOf(const CompileArguments& arguments);

}  // namespace splashmask::cli
