// SPDX-License-Identifier: Apache-2.0
// The chips that the planner knows, and times on them.

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/time_model.h"
#include "splashmask/planner/cost/tpu_spec.h"
#include "splashmask/python/block_sizes.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/plan_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

nb::dict ToDict(const TpuSpec& spec) {
  const auto text = [](std::string_view value) { return nb::str(value.data(), value.size()); };
  nb::dict result;
  result["name"] = text(spec.name);
  result["device_kind"] = text(spec.device_kind);
  result["topology"] = text(spec.topology);
  result["generation"] = spec.generation;
  result["cores_per_chip"] = spec.cores_per_chip;
  result["cores_per_device"] = spec.cores_per_device;
  result["mxu_size"] = spec.mxu_size;
  result["mxus"] = spec.mxus;
  result["vmem_bytes"] = spec.vmem_bytes;
  result["smem_bytes"] = spec.smem_bytes;
  result["scoped_vmem_bytes"] = spec.scoped_vmem_bytes;
  result["hbm_bytes"] = spec.hbm_bytes;
  result["hbm_bytes_per_second"] = spec.hbm_bytes_per_second;
  result["hbm_limit_bytes"] = spec.hbm_limit_bytes;
  result["bf16_flops_per_second"] = spec.bf16_flops_per_second;
  return result;
}

nb::dict ToDict(const KernelTime& time) {
  nb::dict result;
  result["mxu"] = time.mxu;
  result["vector"] = time.vector;
  result["hbm"] = time.hbm;
  result["overhead"] = time.overhead;
  result["flops"] = time.flops;
  result["copied_bytes"] = time.copied_bytes;
  result["kernel"] = time.kernel;
  result["transposes"] = time.transposes;
  result["total"] = time.total();
  result["relative_uncertainty"] = time.relative_uncertainty;
  nb::list caveats;
  for (const std::string& text : DescribeCaveats(time)) caveats.append(nb::str(text.c_str()));
  result["caveats"] = caveats;
  return result;
}

// Of each shard, as the header has them.
nb::list AttentionTime(const PlanObject& plan, const std::string& kernel_name,
                       const std::string& chip, const std::array<int64_t, 3>& blocks,
                       const std::array<bool, 3>& seq_minor, int64_t batch, int64_t kv_heads,
                       int64_t head_dim, int64_t head_dim_v, const std::string& dtype,
                       bool segments, bool soft_cap, bool tokamax, bool lp_scheduler,
                       bool length_major) {
  const TpuKernel kernel = TpuKernelFromName(kernel_name);
  const TpuSpec& spec = FindTpuSpec(chip);
  const Shape shape = plan.plan.mask.shape();
  const PlanOptions& options = plan.plan.options;
  const AttentionConfig config{.batch = batch,
                               .heads = plan.plan.mask.num_heads() / options.head_shards,
                               .kv_heads = std::max<int64_t>(kv_heads / options.head_shards, 1),
                               .q_len = shape.q_len / options.q_seq_shards,
                               .kv_len = shape.kv_len,
                               .head_dim = head_dim,
                               .head_dim_v = head_dim_v,
                               .dtype = OperandDTypeFromName(dtype),
                               .segments = segments,
                               .soft_cap = soft_cap,
                               .block_sizes = ToBlockSizes(kernel, blocks, seq_minor)};
  CheckAttentionConfig(config);
  const CallOptions call{tokamax ? SplashLibrary::kTokamax : SplashLibrary::kJax, lp_scheduler,
                         length_major};
  const std::vector<StepCounts> shards =
      tokamax ? CountTokamaxSteps(plan.plan, PassOf(kernel), kv_heads)
              : CountSteps(plan.plan, PassOf(kernel), kv_heads);
  nb::list times;
  for (const StepCounts& counts : shards) {
    times.append(ToDict(PredictTime(spec, kernel, config, counts, call)));
  }
  return times;
}

}  // namespace

void BindCost(nb::module_& m) {
  m.def(
      "tpu_specs",
      [] {
        nb::list specs;
        for (const TpuSpec& spec : AllTpuSpecs()) specs.append(ToDict(spec));
        return specs;
      },
      "The TPUs that the planner knows, as planner/cost/tpu_spec.h has them.");
  m.def("attention_time", &AttentionTime, nb::arg("plan"), nb::arg("kernel"), nb::arg("chip"),
        nb::arg("blocks"), nb::arg("seq_minor"), nb::arg("batch"), nb::arg("kv_heads"),
        nb::arg("head_dim"), nb::arg("head_dim_v"), nb::arg("dtype"), nb::arg("segments"),
        nb::arg("soft_cap"), nb::arg("tokamax"), nb::arg("lp_scheduler"), nb::arg("length_major"),
        "Seconds of one kernel on each shard, as planner/cost/time_model.h predicts them.");
}

}  // namespace splashmask::python
