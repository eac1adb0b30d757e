// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/simplify_savings.h"

#include <algorithm>

#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/simplify.h"
#include "splashmask/planner/compile/head_masks.h"

namespace splashmask {

namespace {

// `compiled` is the mask that the tables of `plan` are of.
MaskCost CostOf(const MultiHeadMask& compiled, const Plan& plan) {
  MaskCost cost;
  for (const Mask& mask : GroupHeads(compiled, plan.options.head_shards).unique) {
    ++cost.masks;
    cost.nodes += mask.node().nodes;
  }
  for (const Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    const CompiledPass& tables = *plan.pass(pass);
    const auto& blocks = tables.info.partial_mask_blocks;
    cost.passes.push_back({pass, tables.mask_function.has_value(), blocks ? blocks->count() : 0,
                           blocks ? blocks->size_bytes() : 0});
  }
  return cost;
}

}  // namespace

SimplifySavings FindSavings(const Plan& plan, int threads, const Progress& progress) {
  if (!plan.options.simplify) {
    throw Error(ErrorCode::kInvalidArgument,
                "[savings] expected a plan compiled with simplify, got one without");
  }
  const MultiHeadMask simple = Simplify(plan.mask);
  SimplifySavings savings{std::nullopt, CostOf(simple, plan)};
  const bool computes = std::ranges::any_of(savings.after.passes, &MaskCost::PassCost::is_computed);
  if (simple == plan.mask && !computes) {
    savings.before = savings.after;
    return savings;
  }
  CompileOptions as_written;
  const auto block_of = [](const std::optional<CompiledPass>& pass) {
    return pass ? std::optional(pass->block) : std::nullopt;
  };
  as_written.fwd = block_of(plan.fwd);
  as_written.dq = block_of(plan.dq);
  as_written.dkv = block_of(plan.dkv);
  as_written.plan = plan.options;
  as_written.plan.simplify = false;
  as_written.threads = threads;
  as_written.progress = progress;
  try {
    savings.before = CostOf(plan.mask, Compile(plan.mask, as_written));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kTooLarge) throw;
  }
  return savings;
}

}  // namespace splashmask
