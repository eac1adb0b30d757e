// SPDX-License-Identifier: Apache-2.0
// The chips that the planner knows.

#include <nanobind/nanobind.h>

#include "splashmask/planner/cost/tpu_spec.h"
#include "splashmask/python/mask_object.h"

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
  result["bf16_flops_per_second"] = spec.bf16_flops_per_second;
  return result;
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
}

}  // namespace splashmask::python
