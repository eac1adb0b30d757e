// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/call_report.h"

#include <fmt/format.h>

#include <utility>

#include "splashmask/cli/plan_report.h"
#include "splashmask/masks/print.h"

namespace json = boost::json;

namespace splashmask::cli {

std::string CallText(const MultiHeadMask& mask, const AttentionConfig& config,
                     const TpuSpec& spec) {
  std::string call = fmt::format("head_dim {}", config.head_dim);
  if (config.head_dim_v != config.head_dim) call += fmt::format(" (v {})", config.head_dim_v);
  call += fmt::format(", {} kv heads, {}", config.kv_heads, OperandDTypeName(config.dtype));
  if (config.batch > 1) call += fmt::format(", batch {}", config.batch);
  if (config.segments) call += ", segment ids";
  if (config.soft_cap) call += ", soft cap";
  if (config.sinks) call += ", sinks";
  const BlockSizes& sizes = config.block_sizes;
  std::string seq_minor;
  for (const auto& [name, layout] :
       {std::pair("q", sizes.q_layout), {"k", sizes.k_layout}, {"v", sizes.v_layout}}) {
    if (layout == QkvLayout::kSeqMinor) seq_minor += fmt::format(" {}", name);
  }
  if (!seq_minor.empty()) call += fmt::format(", seq_minor{}", seq_minor);
  return fmt::format("mask    {}\nshape   {}\ncall    {}\nchip    {} ({})\n\n", ToString(mask),
                     ShapeText(mask), call, spec.name, spec.device_kind);
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
          {"dtype", OperandDTypeName(config.dtype)},
          {"batch", config.batch},
          {"segments", config.segments},
          {"soft_cap", config.soft_cap},
          {"sinks", config.sinks}};
}

}  // namespace splashmask::cli
