// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/compile_arguments.h"

#include <algorithm>

namespace splashmask::cli {

namespace {

constexpr int64_t kBlock = 512;

}  // namespace

void AddCompileArguments(CommandSyntax& syntax, CompileArguments& a) {
  syntax.Integer("--block-q", a.block_q, "q positions of a block (default: 512)");
  syntax.Integer("--block-kv", a.block_kv, "kv positions of a block (default: 512)");
  syntax.Integer("--block-q-dq", a.block_q_dq, "The same for the dq pass (default: --block-q)");
  syntax.Integer("--block-kv-dq", a.block_kv_dq, "... (default: --block-kv)");
  syntax.Integer("--block-q-dkv", a.block_q_dkv, "The same for the dkv pass (default: --block-q)");
  syntax.Integer("--block-kv-dkv", a.block_kv_dkv, "... (default: --block-kv)");
  syntax.Choices("--passes", "LIST", a.passes, {"fwd", "dq", "dkv"},
                 "Passes to compile, of fwd,dq,dkv (default: all)");
  syntax.Integer("--head-shards", a.head_shards, "Shards of the heads (default: 1)");
  syntax.Integer("--q-seq-shards", a.q_seq_shards, "Shards of the q positions (default: 1)");
  syntax.Flag("--no-downcast", a.no_downcast, "Keep the tables int32");
  syntax.Flag("--no-shrink", a.no_shrink, "Keep empty blocks in the grid");
  syntax.Flag("--fused-bwd", a.fused_bwd, "For use_fused_bwd_kernel: no dq pass, dkv not shrunk");
  syntax.Flag("--simplify", a.simplify,
              "Compile the masks in normal form; the kernel computes those of positions alone");
}

CompileOptions CompileOptionsOf(const CompileArguments& arguments) {
  CompileOptions options;
  options.plan = {arguments.head_shards, arguments.q_seq_shards, !arguments.no_downcast,
                  !arguments.no_shrink,  arguments.fused_bwd,    arguments.simplify};

  const bool names_passes = !arguments.passes.empty();
  const auto is_wanted = [&](const char* pass) {
    return !names_passes || std::count(arguments.passes.begin(), arguments.passes.end(), pass) > 0;
  };
  const bool names_dq_blocks = arguments.block_q_dq || arguments.block_kv_dq;
  const bool names_dkv_blocks = arguments.block_q_dkv || arguments.block_kv_dkv;
  if (arguments.fused_bwd && (names_dq_blocks || (names_passes && is_wanted("dq")))) {
    ThrowUnusable("expected no dq pass and no dq block sizes with --fused-bwd, got " +
                  std::string(names_dq_blocks ? "--block-q-dq or --block-kv-dq" : "--passes dq") +
                  ": the fused backward kernel takes dq from the dkv tables");
  }
  if (names_dq_blocks && !is_wanted("dq")) {
    ThrowUnusable("expected dq in --passes beside --block-q-dq or --block-kv-dq");
  }
  if (names_dkv_blocks && !is_wanted("dkv")) {
    ThrowUnusable("expected dkv in --passes beside --block-q-dkv or --block-kv-dkv");
  }
  const BlockShape block{arguments.block_q.value_or(kBlock), arguments.block_kv.value_or(kBlock)};
  if (is_wanted("fwd")) options.fwd = block;
  if (is_wanted("dq") && !arguments.fused_bwd) {
    options.dq = {arguments.block_q_dq.value_or(block.q), arguments.block_kv_dq.value_or(block.kv)};
  }
  if (is_wanted("dkv")) {
    options.dkv = {arguments.block_q_dkv.value_or(block.q),
                   arguments.block_kv_dkv.value_or(block.kv)};
  }
  return options;
}

}  // namespace splashmask::cli
