// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_footprint.h"

#include <utility>

#include "splashmask/cli/call_report.h"
#include "splashmask/cli/footprint_report.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/plan_times.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/roofline.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/planner/cost/nearest_fit.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

constexpr int64_t kKiB = 1024;

// The first kernel that does not fit its core, and what would.
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
      // With all windows: a larger limit leaves XLA less room to keep operands in.
      const int64_t most = each.vmem.window_bytes + each.vmem.temporaries.most;
      const int64_t least_kib = (most + kKiB - 1) / kKiB;
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

std::optional<Misfit> FindHbmMisfit(const FootprintAnswer& answer) {
  for (size_t i = 0; i < answer.hbm.size(); ++i) {
    const HbmUse& use = answer.hbm[i];
    if (use.fit != Fit::kDoesNotFit) continue;
    return Misfit{answer.kernels[i].kernel, "HBM", use.total() - use.limit, std::nullopt};
  }
  return std::nullopt;
}

FootprintAnswer Answer(const PlanQuestion& question) {
  FootprintAnswer answer;
  for (const TpuKernel kernel : KernelsOf(question.config.block_sizes)) {
    KernelMemory memory = MemoryOf(question, kernel);
    answer.kernels.push_back(std::move(memory.core));
    answer.hbm.push_back(memory.hbm);
  }
  answer.misfit = FindMisfit(question, answer.kernels);
  if (!answer.misfit) answer.misfit = FindHbmMisfit(answer);
  return answer;
}

}  // namespace

ExitCode PlanFootprint(const PlanArguments& arguments, bool as_json, bool has_roofline,
                       const std::atomic<bool>& stop) {
  ProgressBar bar(stop);
  const PlanQuestion question =
      QuestionOf(AskedCall(arguments, bar.Step("read")), arguments, bar.Step("compile"));
  bar.Wipe();
  const FootprintAnswer answer = Answer(question);
  const std::vector<SlowestShard> times = TimesOf(question);
  if (as_json) {
    json::object result = CallJson(question.plan.mask, question.config, *question.spec);
    for (const auto& [key, value] : FootprintJson(answer)) result[key] = value;
    for (size_t i = 0; i < times.size(); ++i) {
      result["kernels"].at(i).as_object()["time"] = TimeJson(times[i]);
    }
    WriteStdout(ToLine(result));
  } else {
    std::string roofline;
    if (has_roofline) {
      const bool is_float32 = question.config.dtype == OperandDType::kFloat32;
      roofline = DrawRoofline(*question.spec, times, is_float32) + "\n";
    }
    WriteStdout(CallText(question.plan.mask, question.config, *question.spec) + TimesText(times) +
                "\n" + roofline + FootprintText(answer, *question.spec));
  }
  return answer.fit() == Fit::kDoesNotFit ? kAnswerIsNo : kDone;
}

}  // namespace splashmask::cli
