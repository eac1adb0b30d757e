// SPDX-License-Identifier: Apache-2.0
// What programs keep in a TPU's memories.

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>
#include <optional>
#include <string>

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/hbm_buffers.h"
#include "splashmask/planner/cost/tpu_spec.h"
#include "splashmask/python/block_sizes.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/plan_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

nb::str Text(std::string_view value) { return nb::str(value.data(), value.size()); }

// Of q, k and v: whether the sequence is the fastest axis.
using SeqMinor = std::array<bool, 3>;

// The kernel's block_kv_compute, or nullopt for its block_kv.
nb::dict HbmBuffers(const PlanObject& object, const std::string& chip, TpuKernel kernel,
                    AttentionConfig config, const SeqMinor& seq_minor,
                    std::optional<int64_t> kv_compute, const ProgramOptions& options) {
  const Plan& plan = object.plan;
  const std::optional<CompiledPass>& pass = plan.pass(PassOf(kernel));
  if (!pass || plan.options.head_shards != 1 || plan.options.q_seq_shards != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "[plan] expected a plan with the kernel's pass for one device");
  }
  config.heads = plan.mask.num_heads();
  config.q_len = plan.mask.shape().q_len;
  config.kv_len = plan.mask.shape().kv_len;
  const BlockShape block = pass->block;
  config.block_sizes =
      ToBlockSizes(kernel, {block.q, block.kv, kv_compute.value_or(block.kv)}, seq_minor);
  const ProgramBuffers predicted =
      PredictBuffers(config, kernel, LiteralsOf(pass->info), FindTpuSpec(chip), options);
  nb::list buffers;
  for (const ProgramBuffer& buffer : predicted.buffers) {
    buffers.append(nb::make_tuple(buffer.name, Text(BufferKindName(buffer.kind)),
                                  XlaShapeText(buffer.shape), buffer.bytes));
  }
  nb::dict result;
  result["hbm_bytes"] = predicted.HbmBytes();
  result["temporary_bytes"] = predicted.temporary_bytes;
  result["buffers"] = buffers;
  return result;
}

}  // namespace

void BindBuffers(nb::module_& m) {
  m.def(
      "hbm_buffers",
      [](const PlanObject& plan, const std::string& chip, const std::string& kernel, int64_t batch,
         int64_t kv_heads, int64_t head_dim, int64_t head_dim_v, const std::string& dtype,
         bool segments, bool sinks, const SeqMinor& seq_minor,
         std::optional<int64_t> block_kv_compute, bool tables_are_arguments,
         std::optional<int64_t> scoped_vmem_bytes) {
        const AttentionConfig config{.batch = batch,
                                     .kv_heads = kv_heads,
                                     .head_dim = head_dim,
                                     .head_dim_v = head_dim_v,
                                     .dtype = OperandDTypeFromName(dtype),
                                     .segments = segments,
                                     .sinks = sinks};
        ProgramOptions options;
        options.tables_are_arguments = tables_are_arguments;
        if (scoped_vmem_bytes) {
          options.faster_memory = FasterMemoryOf(FindTpuSpec(chip), *scoped_vmem_bytes);
        }
        return HbmBuffers(plan, chip, TpuKernelFromName(kernel), config, seq_minor,
                          block_kv_compute, options);
      },
      nb::arg("plan"), nb::kw_only(), nb::arg("chip"), nb::arg("kernel"), nb::arg("batch") = 1,
      nb::arg("kv_heads") = 1, nb::arg("head_dim") = 128, nb::arg("head_dim_v") = 128,
      nb::arg("dtype") = "bfloat16", nb::arg("segments") = false, nb::arg("sinks") = false,
      nb::arg("seq_minor") = SeqMinor{}, nb::arg("block_kv_compute") = nb::none(),
      nb::arg("tables_are_arguments") = false, nb::arg("scoped_vmem_bytes") = nb::none(),
      "What a program that calls one kernel keeps in memory, as planner/cost/hbm_buffers.h "
      "predicts "
      "it; in HBM alone, or with scoped_vmem_bytes in faster memory too: {hbm_bytes, "
      "temporary_bytes, buffers: [(name, kind, shape, bytes)]}.");
}

}  // namespace splashmask::python
