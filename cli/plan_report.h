// SPDX-License-Identifier: Apache-2.0
#pragma once
// What compile and inspect tell about a plan, as text and as JSON.

#include <boost/json.hpp>
#include <string>

#include "splashmask/io/plan_file.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/plan_statistics.h"

namespace splashmask::cli {

/// "131,072 q x 131,072 kv, 32 heads".
std::string ShapeText(const MultiHeadMask& mask);

/// One line a pass: block shape, table shape, bytes, blocks by class, density.
std::string PassesText(const Plan& plan);

/// Several lines: every table with dtype, shape and bytes, then the blocks by class and head.
std::string PassText(const Plan& plan, Pass pass);

/// Several lines: the options of a pass in tokamax's dialect, and every list.
std::string TokamaxText(const Plan& plan, Pass pass);

/// {mask, q_len, kv_len, num_heads, options, passes: {fwd: {...}, ...}, tokamax: {fwd:
/// {...}, ...}}; docs/cli.md lists the keys.
boost::json::object PlanJson(const Plan& plan);

/// {empty, partial, full, density}.
boost::json::object CountsJson(const BlockCounts& counts);

boost::json::object DigestsJson(const PlanDigests& digests);

const char* YesNo(bool value);

/// "valid", "broken" or "not checked".
const char* SealName(SealState seal);

/// `json` on one line.
std::string ToLine(const boost::json::object& json);

}  // namespace splashmask::cli
