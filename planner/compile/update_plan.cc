// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/update_plan.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/changed_rows.h"
#include "splashmask/planner/compile/compile_knowing.h"
#include "splashmask/planner/compile/tokamax.h"

namespace splashmask {

namespace {

class Updater {
 public:
  Updater(const Plan& before, const MultiHeadMask& mask) : before_(before), mask_(mask) {}

  // What the plan before has of the masks of the heads.
  KnownGrids Find(std::span<const int64_t> heads, BlockShape block, bool numbered) {
    KnownGrids known{BlocksOf(block), {}};
    for (const int64_t head : heads) {
      known.masks.push_back(RowsOf(head, block, numbered, known.blocks.count()));
    }
    return known;
  }

  int64_t block_rows() const { return block_rows_; }
  int64_t compiled() const { return compiled_; }

 private:
  std::optional<KnownRows> RowsOf(int64_t head, BlockShape block, bool numbered,
                                  int64_t num_blocks) {
    const int64_t rows = mask_.shape().q_len / block.q;
    block_rows_ += rows;
    compiled_ += rows;
    const std::optional<Pass> pass = SourceOf(block, numbered);
    if (!pass || head >= before_.mask.num_heads()) return std::nullopt;
    const Mask& old_mask = before_.mask.masks()[static_cast<size_t>(head)];
    const Mask& new_mask = mask_.masks()[static_cast<size_t>(head)];
    KnownRows known({*before_.pass(*pass), *pass == Pass::kDkv, before_.options.q_seq_shards,
                     TableHead(*pass, head), numbered, num_blocks},
                    UnchangedBlockRows(old_mask, new_mask, block),
                    std::min(old_mask.shape().kv_len, new_mask.shape().kv_len) / block.kv);
    compiled_ -= known.count();
    return known;
  }

  // A pass of the plan before with those blocks, whose partial blocks are there if they are wanted.
  std::optional<Pass> SourceOf(BlockShape block, bool numbered) const {
    for (const Pass pass : kAllPasses) {
      const std::optional<CompiledPass>& compiled = before_.pass(pass);
      if (compiled && compiled->block == block && !(numbered && compiled->mask_function)) {
        return pass;
      }
    }
    return std::nullopt;
  }

  // Passes with one block shape number their partial blocks alike.
  KnownBlocks BlocksOf(BlockShape block) const {
    std::optional<PartialMaskBlocks> bits, transpose;
    for (const Pass pass : kAllPasses) {
      const std::optional<CompiledPass>& compiled = before_.pass(pass);
      if (!compiled || compiled->block != block) continue;
      (pass == Pass::kDkv ? transpose : bits) = compiled->info.partial_mask_blocks;
    }
    return KnownBlocks(std::move(bits), std::move(transpose));
  }

  // Tables have an entry for each head, or for each shard of heads that all have one mask.
  int64_t TableHead(Pass pass, int64_t head) const {
    const int64_t entries = before_.pass(pass)->info.block_mask->shape()[0];
    return head * entries / before_.mask.num_heads();
  }

  // Of each block row of the plan before.
  static std::vector<bool> UnchangedBlockRows(const Mask& before, const Mask& now,
                                              BlockShape block) {
    const std::vector<uint8_t> changed = ChangedRows(before, now);
    std::vector<bool> unchanged(static_cast<size_t>(before.shape().q_len / block.q), false);
    for (int64_t row = 0; (row + 1) * block.q <= std::ssize(changed); ++row) {
      const auto begin = changed.begin() + row * block.q;
      unchanged[static_cast<size_t>(row)] = std::find(begin, begin + block.q, 1) == begin + block.q;
    }
    return unchanged;
  }

  const Plan& before_;
  const MultiHeadMask& mask_;
  int64_t block_rows_ = 0, compiled_ = 0;
};

std::optional<BlockShape> BlockOf(const std::optional<CompiledPass>& pass) {
  return pass ? std::optional(pass->block) : std::nullopt;
}

}  // namespace

PlanUpdate UpdatePlan(const Plan& plan, const MultiHeadMask& mask, int threads,
                      const Progress& progress) {
  CompileOptions options{BlockOf(plan.fwd), BlockOf(plan.dq), BlockOf(plan.dkv),
                         plan.options,      threads,          progress};
  if (plan.has_tokamax() && !Plan{mask, {}, {}, {}, {}}.has_one_mask()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[update] expected one mask for all heads beside tokamax lists, got several");
  }
  Updater updater(plan, mask);
  PlanUpdate update{CompileKnowing(
      mask, options,
      [&](std::span<const int64_t> heads, BlockShape block, bool numbered) {
        return updater.Find(heads, block, numbered);
      },
      nullptr)};
  for (const Pass pass : kTokamaxPasses) {
    const std::optional<TokamaxPass>& before = plan.tokamax_pass(pass);
    if (!before) continue;
    TokamaxOptions again;
    static_cast<TokamaxPassOptions&>(again) = before->options;
    again.is_dkv = pass == Pass::kDkv;
    again.threads = threads;
    again.progress = progress;
    update.plan.tokamax_pass(pass) = CompileTokamax(mask.masks().front(), again);
  }
  update.block_rows = updater.block_rows();
  update.compiled = updater.compiled();
  return update;
}

}  // namespace splashmask
