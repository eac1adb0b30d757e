// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "splashmask/cli/call_report.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/plan_times.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/cli/tune_report.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/plans_of_blocks.h"
#include "splashmask/planner/cost/tune.h"

namespace splashmask::cli {

namespace {

void CheckShards(const PlanCall& call) {
  const auto check = [](const char* option, int64_t shards, const char* of, int64_t size) {
    if (size % shards == 0) return;
    ThrowUnusable(fmt::format("expected {} ({}) to divide {} {}", option, shards, size, of));
  };
  check("--q-seq-shards", call.options.q_seq_shards, "q positions", call.mask.shape().q_len);
  check("--head-shards", call.options.head_shards, "heads", call.mask.num_heads());
}

bool HasBackward(const PlanCall& call, const PlanArguments& arguments) {
  if (call.plan) return call.plan->dq || call.plan->dkv;
  const std::vector<std::string>& passes = arguments.compile.passes;
  const bool has_fwd = passes.empty() || std::ranges::find(passes, "fwd") != passes.end();
  if (!has_fwd || passes.size() == 2) {
    ThrowUnusable("expected --passes fwd, or all of them, beside --tune");
  }
  const bool is_forward = passes.size() == 1;
  if (is_forward && arguments.compile.fused_bwd) {
    ThrowUnusable("expected no --fused-bwd beside --passes fwd");
  }
  return !is_forward;
}

TuneOptions OptionsOf(const PlanCall& call, const PlanArguments& arguments) {
  TuneOptions options;
  options.backward = HasBackward(call, arguments);
  if (arguments.compile.fused_bwd) options.use_fused_bwd_kernel = true;
  options.q_layout = LayoutOf(arguments.q_layout);
  options.k_layout = LayoutOf(arguments.k_layout);
  options.v_layout = LayoutOf(arguments.v_layout);
  options.scoped_vmem_limit = call.scoped_vmem_limit;
  return options;
}

// Of the same kernels, or the other backward ones, with the sizes that the user has; nullopt where
// the plan has no tables for all of them.
std::optional<TimeBefore> Before(const PlanQuestion& question, bool has_backward) {
  const bool has_dq = question.plan.dq || question.plan.options.use_fused_bwd_kernel;
  if (!question.plan.fwd || (has_backward && !(has_dq && question.plan.dkv))) return std::nullopt;
  TimeBefore before;
  for (const SlowestShard& kernel : TimesOf(question)) {
    if (kernel.kernel == (has_backward ? TpuKernel::kFwd : TpuKernel::kFwdResiduals)) continue;
    before.seconds += kernel.time.total();
    before.fit = std::max(before.fit, MemoryOf(question, kernel.kernel).fit());
  }
  return before;
}

void WriteTunedPlan(const PlanCall& call, const BlockSizes& sizes, const std::string& file,
                    ProgressBar& bar) {
  CompileOptions options;
  options.plan = call.options;
  options.plan.use_fused_bwd_kernel = sizes.use_fused_bwd_kernel;
  options.fwd = BlockShape{sizes.block_q, sizes.block_kv};
  if (sizes.has_dq()) options.dq = BlockShape{sizes.block_q_dq, sizes.block_kv_dq};
  if (sizes.has_dkv()) options.dkv = BlockShape{sizes.block_q_dkv, sizes.block_kv_dkv};
  options.progress = bar.Step("compile");
  WritePlan(Compile(call.mask, options), file, bar.Step("write"));
}

}  // namespace

ExitCode PlanTune(const PlanArguments& arguments, TuneOutput format,
                  const std::optional<std::string>& output, const std::atomic<bool>& stop) {
  ProgressBar bar(stop);
  const PlanCall call = AskedCall(arguments, bar.Step("read"));
  CheckShards(call);
  const UsableOptions usable{.plan = call.options,
                             .most_bytes = SmemOfShards(*call.spec, call.options),
                             .progress = bar.Step("tune")};
  TuneAnswer answer{Tune(*call.spec, call.config, OptionsOf(call, arguments),
                         PlansOfBlocks(call.mask, FinestTunedBlocks(call.config), usable)),
                    std::nullopt, call.scoped_vmem_limit, output};
  const BlockSizes& sizes = answer.result.best.sizes;
  if (call.plan || NamesBlocks(arguments)) {
    answer.before = Before(QuestionOf(call, arguments, bar.Step("compile")), sizes.has_dkv());
  }
  if (output) WriteTunedPlan(call, sizes, *output, bar);
  bar.Wipe();
  switch (format) {
    case TuneOutput::kText:
      WriteStdout(CallText(call.mask, call.config, *call.spec) + TuneText(answer));
      break;
    case TuneOutput::kJson: {
      boost::json::object json = CallJson(call.mask, call.config, *call.spec);
      for (const auto& [key, value] : TuneJson(answer)) json[key] = value;
      WriteStdout(ToLine(json));
      break;
    }
    case TuneOutput::kKwargs:
      WriteStdout(KwargsText(sizes));
      break;
    case TuneOutput::kMaxText:
      WriteStdout(MaxTextYaml(sizes));
      break;
  }
  return kDone;
}

}  // namespace splashmask::cli
