// SPDX-License-Identifier: Apache-2.0
#pragma once
// What compile --simplify tells about what it saved, as text and as JSON.

#include <boost/json.hpp>
#include <string>

#include "splashmask/planner/compile/simplify_savings.h"

namespace splashmask::cli {

/// One line: "3 nodes -> 1, 2 partial blocks (64.0 KiB) -> none, computed by the kernel".
std::string SavingsText(const SimplifySavings& savings);

/// {before, after}, each {masks, nodes, passes: {fwd: {computed, partial_blocks, partial_bytes},
/// ...}}; `before` may be null.
boost::json::object SavingsJson(const SimplifySavings& savings);

}  // namespace splashmask::cli
