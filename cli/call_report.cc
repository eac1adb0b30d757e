// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/call_report.h"

#include <fmt/format.h>

#include "splashmask/cli/plan_report.h"
#include "splashmask/masks/print.h"

namespace json = boost::json;

namespace splashmask::cli {

std::string CallText(const MultiHeadMask& mask, const AttentionConfig& config,
                     const TpuSpec& spec) {
  return fmt::format(
      "mask    {}\nshape   {}\ncall    head_dim {}{}, {} kv heads, {}{}{}{}\nchip    {} ({})\n\n",
      ToString(mask), ShapeText(mask), config.head_dim,
      config.head_dim_v == config.head_dim ? "" : fmt::format(" (v {})", config.head_dim_v),
      config.kv_heads, OperandDTypeName(config.dtype), config.segments ? ", segment ids" : "",
      config.soft_cap ? ", soft cap" : "", config.sinks ? ", sinks" : "", spec.name,
      spec.device_kind);
}

json::object CallJson(const MultiHeadMask& mask, const AttentionConfig& config,
                      const TpuSpec& spec) {
  return {{"mask", ToString(mask)},
          {"chip", spec.name},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"q_len", config.q_len},
          {"kv_len", config.kv_len},
          {"head_dim", config.head_dim},
          {"head_dim_v", config.head_dim_v},
          {"dtype", OperandDTypeName(config.dtype)}};
}

}  // namespace splashmask::cli
