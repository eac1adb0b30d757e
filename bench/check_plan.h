// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a plan is right, before it is timed.

#include <cstdint>
#include <string>

#include "splashmask/planner/compile/compile.h"

namespace splashmask {

/// Checks tables that are too large to be certified cell by cell: random blocks of each class, in
/// random cells, against the definition of the mask; and the pairs that the tables let through in
/// random block rows against CountPairs. Returns what is wrong, or an empty text.
std::string CheckSamples(const Plan& plan, int64_t blocks_of_each_class);

/// Certifies a plan, every cell. Returns what is wrong, or an empty text.
std::string CheckEveryCell(const Plan& plan);

}  // namespace splashmask
