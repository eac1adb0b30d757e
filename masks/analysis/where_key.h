// SPDX-License-Identifier: Apache-2.0
#pragma once
// What identifies a predicate's cells in a rectangle. Private to the project.

#include <span>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/where/program.h"
#include "splashmask/masks/where/ranges.h"

namespace splashmask {

/// As Analysis::AppendKey, for a rectangle that is neither empty nor full; `ranges` are those of
/// the program's nodes there.
bool AppendPredicateKey(const PredicateProgram& program, std::span<const ValueRange> ranges,
                        const Rows& rows, KvRange kv, RectKey* key);

}  // namespace splashmask
