// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_footprint.h"

#include <fmt/format.h>

#include "splashmask/cli/footprint_report.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/cli/time_report.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/cost/nearest_fit.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/time_model.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

constexpr int64_t kKiB = 1024;

// The first kernel that does not fit, and what would.
std::optional<Misfit> FindMisfit(const PlanQuestion& question,
                                 const std::vector<KernelFootprint>& kernels) {
  for (const KernelFootprint& each : kernels) {
    if (each.fit() != Fit::kDoesNotFit) continue;
    const bool smem_fits = each.smem.fit != Fit::kDoesNotFit;
    Misfit misfit{each.kernel, "SMEM", each.smem.bytes + each.smem.reserved - each.smem.limit,
                  std::nullopt};
    if (each.vmem.fit == Fit::kDoesNotFit) {
      misfit.memory = "VMEM";
      misfit.bytes_over = each.vmem.total.expected - each.vmem.limit;
      const int64_t least_kib = (each.vmem.total.most + kKiB - 1) / kKiB;
      if (smem_fits && least_kib * kKiB <= question.spec->vmem_bytes) {
        misfit.least_limit_kib = least_kib;
      }
    }
    misfit.nearest = NearestThatFits(*question.spec, each.kernel, question.config,
                                     question.scoped_vmem_limit, [&](const KernelBlocks& blocks) {
                                       return TablesWithBlocks(question, each.kernel, blocks);
                                     });
    return misfit;
  }
  return std::nullopt;
}

FootprintAnswer Answer(const PlanQuestion& question) {
  FootprintAnswer answer;
  for (const TpuKernel kernel : KernelsOf(question.config.block_sizes)) {
    const CompiledPass& pass = *question.plan.pass(PassOf(kernel));
    answer.kernels.push_back(FootprintOf(*question.spec, kernel, question.config,
                                         TablesOf(pass.info, question.plan.options),
                                         question.scoped_vmem_limit));
  }
  answer.misfit = FindMisfit(question, answer.kernels);
  return answer;
}

std::vector<SlowestShard> TimesOf(const PlanQuestion& question) {
  const int64_t kv_heads = question.config.kv_heads == 1
                               ? 1
                               : question.config.kv_heads * question.plan.options.head_shards;
  std::vector<SlowestShard> slowest;
  for (const TpuKernel kernel : KernelsOf(question.config.block_sizes)) {
    const std::vector<StepCounts> shards = CountSteps(question.plan, PassOf(kernel), kv_heads);
    SlowestShard result{kernel, {}, 0};
    for (const StepCounts& counts : shards) {
      const KernelTime time = PredictTime(*question.spec, kernel, question.config, counts);
      if (time.total() > result.time.total()) result.time = time;
      result.mean_seconds += time.total() / static_cast<double>(shards.size());
    }
    slowest.push_back(result);
  }
  return slowest;
}

std::string CallText(const PlanQuestion& question) {
  const AttentionConfig& config = question.config;
  return fmt::format(
      "mask    {}\nshape   {}\ncall    head_dim {}{}, {} kv heads, {}{}{}{}\nchip    {} ({})\n\n",
      ToString(question.plan.mask), ShapeText(question.plan.mask), config.head_dim,
      config.head_dim_v == config.head_dim ? "" : fmt::format(" (v {})", config.head_dim_v),
      config.kv_heads, OperandDTypeName(config.dtype), config.segments ? ", segment ids" : "",
      config.soft_cap ? ", soft cap" : "", config.sinks ? ", sinks" : "", question.spec->name,
      question.spec->device_kind);
}

json::object CallJson(const PlanQuestion& question) {
  const AttentionConfig& config = question.config;
  return {{"mask", ToString(question.plan.mask)},
          {"chip", question.spec->name},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"q_len", config.q_len},
          {"kv_len", config.kv_len},
          {"head_dim", config.head_dim},
          {"head_dim_v", config.head_dim_v},
          {"dtype", OperandDTypeName(config.dtype)}};
}

}  // namespace

ExitCode PlanFootprint(const PlanArguments& arguments, bool as_json,
                       const std::atomic<bool>& stop) {
  ProgressBar bar(stop);
  const PlanQuestion question = AskedQuestion(arguments, bar.Step("compile"));
  bar.Wipe();
  const FootprintAnswer answer = Answer(question);
  const std::vector<SlowestShard> times = TimesOf(question);
  if (as_json) {
    json::object result = CallJson(question);
    for (const auto& [key, value] : FootprintJson(answer)) result[key] = value;
    for (size_t i = 0; i < times.size(); ++i) {
      result["kernels"].at(i).as_object()["time"] = TimeJson(times[i]);
    }
    WriteStdout(ToLine(result));
  } else {
    WriteStdout(CallText(question) + TimesText(times) + "\n" +
                FootprintText(answer, *question.spec));
  }
  return answer.fit() == Fit::kDoesNotFit ? kAnswerIsNo : kDone;
}

}  // namespace splashmask::cli
