// SPDX-License-Identifier: Apache-2.0
#pragma once
// A predicate over rows of cells: 256 kv positions at a time, in vectors. Private to the project.

#include <cstdint>
#include <span>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/bits.h"
#include "splashmask/masks/where/program.h"

namespace splashmask {

/// Draws the cells (q[r], columns.first + c * columns.step) into bit c of row r of `out`, as
/// Analysis::DrawStrided does. The predicate must not fail in them; with `is_narrow` no value there
/// may leave int32 either.
void DrawPredicate(const PredicateProgram& program, bool is_narrow, std::span<const int64_t> q,
                   const Rows& columns, BitRows out);

}  // namespace splashmask
