// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_footprint.h"

#include <fmt/format.h>

#include "splashmask/cli/footprint_report.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/cost/nearest_fit.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

constexpr int64_t kKiB = 1024;

// The first kernel that does not fit, and what would.
std::optional<Misfit> FindMisfit(const PlanQuestion& question,
                                 const std::vector<KernelFootprint>& kernels) {
  for (const KernelFootprint& each : kernels) {
    if (each.fit() != Fit::kDoesNotFit) continue;
    Misfit misfit{each.kernel, "SMEM", each.smem.bytes - each.smem.limit, std::nullopt};
    if (each.vmem.fit == Fit::kDoesNotFit) {
      misfit.memory = "VMEM";
      misfit.bytes_over = each.vmem.total.expected - each.vmem.limit;
      const int64_t least_kib = (each.vmem.total.most + kKiB - 1) / kKiB;
      if (least_kib * kKiB <= question.spec->vmem_bytes) misfit.least_limit_kib = least_kib;
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
  if (as_json) {
    json::object result = CallJson(question);
    for (const auto& [key, value] : FootprintJson(answer)) result[key] = value;
    WriteStdout(ToLine(result));
  } else {
    WriteStdout(CallText(question) + FootprintText(answer, *question.spec));
  }
  return answer.fit() == Fit::kDoesNotFit ? kAnswerIsNo : kDone;
}

}  // namespace splashmask::cli
