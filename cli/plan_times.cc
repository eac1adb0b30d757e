// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_times.h"

#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/time_model.h"

namespace splashmask::cli {

std::vector<SlowestShard> TimesOf(const PlanQuestion& question) {
  const int64_t kv_heads = KvHeadsOfPlan(question.config, question.plan.options);
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

}  // namespace splashmask::cli
