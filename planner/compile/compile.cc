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
#include "splashmask/planner/compile/computable.h"
#include "splashmask/planner/compile/head_masks.h"
#include "splashmask/planner/compile/partial_blocks.h"
#include "splashmask/planner/compile/table_memory.h"
#include "splashmask/planner/compile/tables.h"
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
        computable_(heads_.unique.size() == 1
                        ? FindComputable(heads_.unique.front(), options.plan.simplify)
                        : std::nullopt) {
    for (const Mask& unique : heads_.unique) analyses_.push_back(Analyze(unique));
  }

  void Compile(Plan& plan) {
    std::vector<Pass> left;
    for (Pass pass : kAllPasses) {
      if (Shape(pass)) left.push_back(pass);
    }
    for (Pass pass : left) CheckTables(pass);
    if (computable_ && !computable_->q_sequence) {
      computable_->q_sequence = RowNumbers(heads_.unique.front().shape().q_len);
    }
    double done = 0;
    const double step = 1.0 / static_cast<double>(std::max<size_t>(1, left.size()));
    while (!left.empty()) {
      const BlockShape block = *Shape(left.front());
      const auto others = std::stable_partition(left.begin(), left.end(),
                                                [&](Pass pass) { return *Shape(pass) == block; });
      const std::vector<Pass> passes(left.begin(), others);
      left.erase(left.begin(), others);
      const double share = step * static_cast<double>(passes.size());
      CompilePasses(block, passes, plan, done, share);
      done += share;
    }
    options_.progress.Report(1);
  }

 private:
  const std::optional<BlockShape>& Shape(Pass pass) const {
    return pass == Pass::kFwd ? options_.fwd : pass == Pass::kDq ? options_.dq : options_.dkv;
  }

  bool MayShrink(Pass pass) const {
    const bool unshrunk_dkv = pass == Pass::kDkv && options_.plan.use_fused_bwd_kernel;
    return options_.plan.shrink_grid && !unshrunk_dkv && heads_.unique.size() == 1;
  }

  // Throws kTooLarge early for tables that are sure not to fit.
  void CheckTables(Pass pass) const {
    const BlockShape block = *Shape(pass);
    const Analysis& analysis = *analyses_.front();
    const TableSizes whole{std::ssize(heads_.table_heads), analysis.shape().q_len / block.q,
                           analysis.shape().kv_len / block.kv,
                           options_.plan.downcast_smem_data ? 2 : 8};
    if (MayShrink(pass)) {
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
    if (!computable_) keep = {wants(Pass::kFwd, Pass::kDq), wants(Pass::kDkv)};

    PartialBlocks partial(block, keep, find_known_(heads_.first_head, block, keep.any()));
    std::vector<BlockGrid> grids;
    for (size_t i = 0; i < analyses_.size(); ++i) {
      // A part of the share for each mask, and that part split as drawing goes on.
      const double each = share / static_cast<double>(analyses_.size());
      const double before = done + each * static_cast<double>(i);
      Progress progress = options_.progress;
      progress.report = [&](double part) { options_.progress.Report(before + each * part); };
      const KnownRows* known_rows = partial.known().rows_of(i);
      const DraftGrid draft = ClassifyBlocks(*analyses_[i], block, known_rows, progress, counters_);
      constexpr double kClassified = 0.2;
      progress.Report(kClassified);
      progress.report = [&](double part) {
        options_.progress.Report(before + each * (kClassified + (1 - kClassified) * part));
      };
      grids.push_back(partial.Settle(*analyses_[i], draft, known_rows, progress, counters_));
    }
    const BlockStore::Taken blocks = partial.store().Take(partial.count());
    for (Pass pass : passes) {
      options_.progress.ThrowIfStopped();
      const bool is_dkv = pass == Pass::kDkv;
      plan.pass(pass) =
          MakePass(block, pass, grids, partial.count(), is_dkv ? blocks.transpose : blocks.bits);
    }
  }

  CompiledPass MakePass(BlockShape block, Pass pass, const std::vector<BlockGrid>& grids,
                        int64_t num_partial, std::optional<PartialMaskBlocks> blocks) const {
    const bool is_dkv = pass == Pass::kDkv;
    const PlanOptions& plan = options_.plan;
    const TableInputs in{heads_,
                         grids,
                         plan.q_seq_shards,
                         plan.downcast_smem_data,
                         MayShrink(pass),
                         computable_ ? 0 : num_partial};
    NextTables tables = is_dkv ? BuildDkvTables(in) : BuildFwdTables(in);

    CompiledPass result{block, {}, std::nullopt};
    result.info.data_next = std::move(tables.data_next);
    result.info.mask_next = std::move(tables.mask_next);
    result.info.block_mask = std::move(tables.block_mask);
    result.info.partial_mask_blocks = std::move(blocks);
    if (computable_) {
      result.info.q_sequence = computable_->q_sequence;
      result.mask_function = computable_->function;
    }
    return result;
  }

  const CompileOptions& options_;
  const FindKnownGrids& find_known_;
  Counters& counters_;
  const HeadMasks heads_;
  std::optional<Computable> computable_;
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
