// SPDX-License-Identifier: Apache-2.0
#pragma once
// How attention is called, as text and as JSON.

#include <boost/json.hpp>
#include <string>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask::cli {

/// Four lines and an empty one.
std::string CallText(const MultiHeadMask& mask, const AttentionConfig& config, const TpuSpec& spec);

/// Mask, chip, heads, lengths, head dimensions and dtype; docs/cli.md lists the keys.
boost::json::object CallJson(const MultiHeadMask& mask, const AttentionConfig& config,
                             const TpuSpec& spec);

}  // namespace splashmask::cli
