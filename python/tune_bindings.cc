// SPDX-License-Identifier: Apache-2.0
// tune: the fastest block sizes.

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/plans_of_blocks.h"
#include "splashmask/planner/compile/tokamax.h"
#include "splashmask/planner/cost/tune.h"
#include "splashmask/python/interruptible.h"
#include "splashmask/python/mask_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

nb::object FitObject(Fit fit) {
  return fit == Fit::kTooClose ? nb::none() : nb::cast(fit == Fit::kFits);
}

nb::dict ToDict(const TunedKernel& kernel) {
  const KernelTime& time = kernel.time;
  nb::list caveats;
  for (const std::string& text : DescribeCaveats(time)) caveats.append(nb::str(text.c_str()));
  const std::string name(TpuKernelName(kernel.kernel));
  nb::dict result;
  result["kernel"] = nb::str(name.c_str());
  result["block_q"] = kernel.blocks.q;
  result["block_kv"] = kernel.blocks.kv;
  result["block_kv_compute"] = kernel.blocks.kv_compute;
  result["seconds"] = time.total();
  result["products"] = time.mxu;
  result["vector"] = time.vector;
  result["hbm"] = time.hbm;
  result["overhead"] = time.overhead;
  result["around"] = time.transposes;
  result["relative_uncertainty"] = time.relative_uncertainty;
  result["extrapolated"] = nb::tuple(caveats);
  result["computed_pairs"] = kernel.computed_pairs();
  result["vmem_bytes"] = nb::make_tuple(kernel.vmem.least, kernel.vmem.expected, kernel.vmem.most);
  result["hbm_bytes"] = kernel.hbm_bytes;
  result["fits"] = FitObject(kernel.fit);
  return result;
}

// Under JAX's names, None where a kernel does not run.
nb::dict ToDict(const BlockSizes& sizes) {
  const auto text = [](std::string_view value) { return nb::str(value.data(), value.size()); };
  nb::dict result;
  for (const auto& [name, size] : NamedSizes(sizes)) {
    result[text(name)] = size > 0 ? nb::cast(size) : nb::none();
  }
  result["use_fused_bwd_kernel"] = sizes.use_fused_bwd_kernel;
  for (const auto& [name, layout] : NamedLayouts(sizes)) {
    result[text(name)] = text(QkvLayoutName(layout));
  }
  return result;
}

nb::dict ToDict(const TunedCall& call) {
  nb::list kernels;
  for (const KernelChoice& choice : call.kernels) {
    nb::dict kernel = ToDict(choice.best);
    nb::list runners_up;
    for (const TunedKernel& other : choice.runners_up) runners_up.append(ToDict(other));
    kernel["runners_up"] = runners_up;
    kernel["as_good"] = choice.as_good;
    kernel["undecided"] = choice.undecided ? nb::object(ToDict(*choice.undecided)) : nb::none();
    kernels.append(kernel);
  }
  nb::dict result;
  result["block_sizes"] = ToDict(call.sizes);
  result["seconds"] = call.seconds();
  result["relative_uncertainty"] = call.relative_uncertainty();
  result["fits"] = FitObject(call.fit());
  result["kernels"] = kernels;
  return result;
}

// In bytes.
int64_t ScopedVmemLimit(const TpuSpec& spec, const std::optional<int64_t>& kib) {
  if (!kib) return spec.scoped_vmem_bytes;
  const int64_t most = spec.vmem_bytes >> 10;
  if (*kib < 1 || *kib > most) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[tune] expected scoped_vmem_limit_kib of 1 to {}, all that a {} has, "
                            "got {}",
                            most, spec.name, *kib));
  }
  return *kib << 10;
}

std::optional<QkvLayout> ToLayout(const std::optional<bool>& seq_minor) {
  if (!seq_minor) return std::nullopt;
  return *seq_minor ? QkvLayout::kSeqMinor : QkvLayout::kHeadDimMinor;
}

PlanOfBlocks TokamaxPlans(const MultiHeadMask& mask, int threads, const Progress& progress) {
  return [&mask, threads, &progress](Pass pass, BlockShape block, bool) {
    TokamaxOptions options;
    options.block = block;
    options.is_dkv = pass == Pass::kDkv;
    options.threads = threads;
    options.progress = progress;
    Plan plan{mask, {}, {}, {}, {}};
    plan.tokamax_pass(pass) = CompileTokamax(mask.masks().front(), options);
    return std::optional(std::move(plan));
  };
}

// Layouts: whether the sequence is the fastest axis.
using Layouts = std::array<std::optional<bool>, 3>;

nb::dict TuneMask(const std::vector<const MaskObject*>& heads, const std::string& chip,
                  const std::array<int64_t, 2>& shards, const std::array<bool, 3>& plan_options,
                  const std::array<int64_t, 4>& call_sizes, const std::string& dtype,
                  const std::array<bool, 3>& operands, bool backward,
                  std::optional<bool> use_fused_bwd_kernel, const Layouts& layouts,
                  const std::optional<int64_t>& scoped_vmem_limit_kib, bool tokamax,
                  bool lp_scheduler, int64_t runners_up, int threads) {
  const MultiHeadMask mask = ToMultiHeadMask(heads);
  const TpuSpec& spec = FindTpuSpec(chip);
  PlanOptions plan;
  plan.head_shards = shards[0];
  plan.q_seq_shards = shards[1];
  plan.downcast_smem_data = plan_options[0];
  plan.shrink_grid = plan_options[1];
  plan.simplify = plan_options[2];
  AttentionConfig config;
  config.batch = call_sizes[0];
  config.heads = mask.num_heads() / plan.head_shards;
  config.kv_heads = call_sizes[1];
  config.q_len = mask.shape().q_len / plan.q_seq_shards;
  config.kv_len = mask.shape().kv_len;
  config.head_dim = call_sizes[2];
  config.head_dim_v = call_sizes[3];
  config.dtype = OperandDTypeFromName(dtype);
  config.segments = operands[0];
  config.soft_cap = operands[1];
  config.sinks = operands[2];
  TuneOptions options;
  options.backward = backward;
  options.use_fused_bwd_kernel = use_fused_bwd_kernel;
  options.q_layout = ToLayout(layouts[0]);
  options.k_layout = ToLayout(layouts[1]);
  options.v_layout = ToLayout(layouts[2]);
  options.scoped_vmem_limit = ScopedVmemLimit(spec, scoped_vmem_limit_kib);
  options.runners_up = static_cast<size_t>(runners_up);
  options.call = {tokamax ? SplashLibrary::kTokamax : SplashLibrary::kJax, lp_scheduler,
                  /*is_length_major=*/tokamax};
  if (tokamax && !Plan{mask, {}, {}, {}, {}}.has_one_mask()) {
    throw Error(ErrorCode::kInvalidArgument, "[tune] expected one mask for all heads with tokamax");
  }
  const TuneResult result = RunInterruptibly([&](const Progress& progress) {
    if (tokamax) return Tune(spec, config, options, TokamaxPlans(mask, threads, progress));
    const UsableOptions usable{.plan = plan,
                               .most_bytes = SmemOfShards(spec, plan),
                               .threads = threads,
                               .progress = progress};
    return Tune(spec, config, options, PlansOfBlocks(mask, FinestTunedBlocks(config), usable));
  });
  nb::dict answer = ToDict(result.best);
  nb::list others;
  for (const TunedCall& other : result.others) others.append(ToDict(other));
  answer["others"] = others;
  nb::dict candidates;
  candidates["tried"] = result.candidates;
  candidates["beyond_vmem"] = result.beyond_vmem;
  candidates["beyond_smem"] = result.beyond_smem;
  candidates["beyond_hbm"] = result.beyond_hbm;
  candidates["undecided"] = result.undecided;
  answer["candidates"] = candidates;
  answer["comparison_error"] = kComparisonError;
  return answer;
}

}  // namespace

void BindTune(nb::module_& m) {
  m.def("tune", &TuneMask, nb::arg("heads"), nb::kw_only(), nb::arg("chip"), nb::arg("shards"),
        nb::arg("plan_options"), nb::arg("call_sizes"), nb::arg("dtype"), nb::arg("operands"),
        nb::arg("backward"), nb::arg("use_fused_bwd_kernel").none(), nb::arg("layouts"),
        nb::arg("scoped_vmem_limit_kib").none(), nb::arg("tokamax"), nb::arg("lp_scheduler"),
        nb::arg("runners_up"), nb::arg("threads"),
        "The fields of a TuneResult. shards: of heads and q; plan_options: downcast_smem_data, "
        "shrink_grid, simplify; call_sizes: batch, kv heads of a device, head_dim, head_dim_v; "
        "operands: segments, soft cap, sinks; layouts: of q, k and v, None for either.");
}

}  // namespace splashmask::python
