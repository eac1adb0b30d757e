// SPDX-License-Identifier: Apache-2.0
// Whether kernels fit a TPU's memories.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "splashmask/planner/cost/footprint.h"
#include "splashmask/python/block_sizes.h"
#include "splashmask/python/mask_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

AttentionConfig ConfigFrom(const nb::dict& given, TpuKernel kernel) {
  const auto number = [&](const char* name) { return nb::cast<int64_t>(given[name]); };
  const auto flag = [&](const char* name) { return nb::cast<bool>(given[name]); };
  AttentionConfig config;
  config.batch = number("batch");
  config.heads = number("heads");
  config.kv_heads = number("kv_heads");
  config.q_len = number("q_len");
  config.kv_len = number("kv_len");
  config.head_dim = number("head_dim");
  config.head_dim_v = number("head_dim_v");
  config.dtype = OperandDTypeFromName(nb::cast<std::string>(given["dtype"]));
  config.segments = flag("segments");
  config.soft_cap = flag("soft_cap");
  config.block_sizes =
      ToBlockSizes(kernel, {number("block_q"), number("block_kv"), number("block_kv_compute")},
                   {flag("q_seq_minor"), flag("k_seq_minor"), flag("v_seq_minor")});
  CheckAttentionConfig(config);
  return config;
}

const char* FitText(Fit fit) {
  return fit == Fit::kFits ? "fits" : fit == Fit::kTooClose ? "too close" : "does not fit";
}

nb::dict VmemDict(const std::string& chip, const std::string& kernel_name, const nb::dict& given,
                  int64_t limit) {
  const TpuKernel kernel = TpuKernelFromName(kernel_name);
  PassTables tables;
  tables.has_q_sequence = nb::cast<bool>(given["has_q_sequence"]);
  tables.partial_blocks = nb::cast<int64_t>(given["partial_blocks"]);
  const VmemUse use =
      FootprintOf(FindTpuSpec(chip), kernel, ConfigFrom(given, kernel), tables, limit).vmem;
  nb::list windows;
  for (const KernelWindow& window : use.windows) {
    windows.append(nb::make_tuple(nb::str(window.name.data(), window.name.size()),
                                  window.operand_bytes, window.bytes()));
  }
  nb::dict result;
  result["windows"] = windows;
  result["window_bytes"] = use.window_bytes;
  result["temporaries"] =
      nb::make_tuple(use.temporaries.least, use.temporaries.expected, use.temporaries.most);
  result["total"] = nb::make_tuple(use.total.least, use.total.expected, use.total.most);
  result["fit"] = FitText(use.fit);
  result["extrapolated"] = use.extrapolated;
  return result;
}

}  // namespace

void BindFootprint(nb::module_& m) {
  m.def("kernel_vmem", &VmemDict, nb::arg("chip"), nb::arg("kernel"), nb::arg("config"),
        nb::arg("limit"),
        "Scoped VMEM of a kernel, as planner/cost/footprint.h predicts it. config: batch, heads, "
        "kv_heads, q_len, kv_len, head_dim, head_dim_v, dtype, segments, soft_cap, block_q, "
        "block_kv, "
        "block_kv_compute, {q,k,v}_seq_minor, has_q_sequence, partial_blocks; limit in bytes. "
        "{windows: [(name, operand bytes, window bytes)], window_bytes, temporaries and total: "
        "(least, expected, most), fit, extrapolated}.");
}

}  // namespace splashmask::python
