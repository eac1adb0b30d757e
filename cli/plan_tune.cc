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
#include "splashmask/planner/compile/coarse_plans.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/cost/footprint.h"
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
  if (call.plan) return call.plan->dkv.has_value();
  const std::vector<std::string>& passes = arguments.compile.passes;
  const bool has_fwd = passes.empty() || std::ranges::find(passes, "fwd") != passes.end();
  if (!has_fwd || passes.size() == 2) {
    ThrowUnusable("expected --passes fwd, or all of them, beside --tune");
  }
  return passes.size() != 1;
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

// Of the kernels that were tuned, with the sizes that the user has.
TimeBefore Before(const PlanQuestion& question, const TunedCall& best) {
  TimeBefore before;
  for (const SlowestShard& kernel : TimesOf(question)) {
    const bool is_tuned =
        best.sizes.has_dkv() ? kernel.kernel != TpuKernel::kFwd : kernel.kernel == TpuKernel::kFwd;
    if (!is_tuned) continue;
    before.seconds += kernel.time.total();
    const CompiledPass& pass = *question.plan.pass(PassOf(kernel.kernel));
    const PassTables tables = TablesOf(pass.info, question.plan.options);
    before.fit = std::max(before.fit, FootprintOf(*question.spec, kernel.kernel, question.config,
                                                  tables, question.scoped_vmem_limit)
                                          .fit());
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
  const PlanOptions& options = call.options;
  const int64_t smem = call.spec->smem_bytes * options.head_shards * options.q_seq_shards;
  const TuneResult result = Tune(*call.spec, call.config, OptionsOf(call, arguments),
                                 PlansOfBlocks(call.mask, FinestTunedBlocks(call.config), options,
                                               smem, /*threads=*/0, bar.Step("tune")));
  std::optional<TimeBefore> before;
  if (call.plan || NamesBlocks(arguments)) {
    before = Before(QuestionOf(call, arguments, bar.Step("compile")), result.best);
  }
  if (output) WriteTunedPlan(call, result.best.sizes, *output, bar);
  bar.Wipe();
  switch (format) {
    case TuneOutput::kText:
      WriteStdout(CallText(call.mask, call.config, *call.spec) +
                  TuneText(result, before, call.scoped_vmem_limit));
      break;
    case TuneOutput::kJson: {
      boost::json::object answer = CallJson(call.mask, call.config, *call.spec);
      for (const auto& [key, value] : TuneJson(result, before, call.scoped_vmem_limit)) {
        answer[key] = value;
      }
      WriteStdout(ToLine(answer));
      break;
    }
    case TuneOutput::kKwargs:
      WriteStdout(KwargsText(result.best.sizes));
      break;
    case TuneOutput::kMaxText:
      WriteStdout(MaxTextYaml(result.best.sizes));
      break;
  }
  return kDone;
}

}  // namespace splashmask::cli
