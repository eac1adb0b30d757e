// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/compile.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/simplify.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/compile_knowing.h"
#include "splashmask/planner/compile/head_masks.h"
#include "splashmask/planner/compile/partial_blocks.h"
#include "splashmask/planner/compile/pass_maker.h"
#include "splashmask/planner/compile/table_memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// Compiles the passes of one plan; passes with the same block shape share steps 1 to 3.
class Compiler {
 public:
  Compiler(const MultiHeadMask& mask, const CompileOptions& options,
           const FindKnownGrids& find_known, Counters& counters)
      : options_(options),
        find_known_(find_known),
        counters_(counters),
        heads_(GroupHeads(mask, options.plan.head_shards)),
        maker_(heads_, options.plan) {
    for (const Mask& unique : heads_.unique) analyses_.push_back(Analyze(unique));
  }

  void Compile(Plan& plan) {
    std::vector<Pass> left;
    for (Pass pass : kAllPasses) {
      if (options_.block(pass)) left.push_back(pass);
    }
    for (Pass pass : left) CheckTables(pass);
    double done = 0;
    const double step = 1.0 / static_cast<double>(std::max<size_t>(1, left.size()));
    while (!left.empty()) {
      const BlockShape block = *options_.block(left.front());
      const auto others = std::stable_partition(
          left.begin(), left.end(), [&](Pass pass) { return *options_.block(pass) == block; });
      const std::vector<Pass> passes(left.begin(), others);
      left.erase(left.begin(), others);
      const double share = step * static_cast<double>(passes.size());
      CompilePasses(block, passes, plan, done, share);
      done += share;
    }
    options_.progress.Report(1);
  }

 private:
  // Throws kTooLarge early for tables that are sure not to fit.
  void CheckTables(Pass pass) const {
    const BlockShape block = *options_.block(pass);
    const Analysis& analysis = *analyses_.front();
    const TableSizes whole{std::ssize(heads_.table_heads), analysis.shape().q_len / block.q,
                           analysis.shape().kv_len / block.kv,
                           options_.plan.downcast_smem_data ? 2 : 8};
    if (maker_.MayShrink(pass)) {
      CheckShrunkTableMemory(analysis, block, pass == Pass::kDkv, whole);
    } else {
      CheckTableMemory(whole);
    }
  }

  void CompilePasses(BlockShape block, const std::vector<Pass>& passes, Plan& plan, double done,
                     double share) {
    const auto wants = [&](auto... pass) {
      return std::any_of(passes.begin(), passes.end(),
                         [&](Pass wanted) { return ((wanted == pass) || ...); });
    };
    BlockStore::Keep keep;
    if (!maker_.is_computable()) keep = {wants(Pass::kFwd, Pass::kDq), wants(Pass::kDkv)};

    PartialBlocks partial(block, keep, find_known_(heads_.first_head, block, keep.any()));
    std::vector<BlockGrid> grids;
    for (size_t i = 0; i < analyses_.size(); ++i) {
      // A part of the share for each mask.
      const double each = share / static_cast<double>(analyses_.size());
      const double before = done + each * static_cast<double>(i);
      const Progress progress = options_.progress.Part(before, before + each);
      grids.push_back(partial.Find(*analyses_[i], partial.known().rows_of(i), progress, counters_));
    }
    const BlockStore::Taken blocks = partial.store().Take(partial.count());
    for (Pass pass : passes) {
      options_.progress.ThrowIfStopped();
      const bool is_dkv = pass == Pass::kDkv;
      plan.pass(pass) =
          maker_.Make(block, pass, grids, partial.count(), is_dkv ? blocks.transpose : blocks.bits);
    }
  }

  const CompileOptions& options_;
  const FindKnownGrids& find_known_;
  Counters& counters_;
  const HeadMasks heads_;
  PassMaker maker_;
  std::vector<std::unique_ptr<const Analysis>> analyses_;
};

}  // namespace

Plan Compile(const MultiHeadMask& mask, const CompileOptions& options, CompileStats* stats) {
  const auto nothing = [](auto...) { return KnownGrids(); };
  return CompileKnowing(mask, options, nothing, stats);
}

Plan CompileKnowing(const MultiHeadMask& mask, const CompileOptions& options,
                    const FindKnownGrids& find_known, CompileStats* stats) {
  CheckOptions(mask, options);
  const MultiHeadMask compiled = options.plan.simplify ? Simplify(mask) : mask;
  Plan plan{mask, options.plan, std::nullopt, std::nullopt, std::nullopt};
  Counters counters;
  RunWithThreads(options.threads,
                 [&] { Compiler(compiled, options, find_known, counters).Compile(plan); });
  if (stats != nullptr) {
    *stats = {counters.rectangles, counters.runs, counters.blocks_drawn, counters.cells};
  }
  return plan;
}

}  // namespace splashmask
