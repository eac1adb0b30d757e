// SPDX-License-Identifier: Apache-2.0
#pragma once
// Refuses tables that will not fit in memory, before the work of making them. Private to compile.

#include <cstdint>
#include <string_view>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

/// The tables of one pass; an entry's bytes are those of all tables together.
struct TableSizes {
  int64_t heads, rows, columns, entry_bytes;

  ByteCount bytes() const;
};

/// Throws kTooLarge, naming `op` and the bytes, when the tables do not fit in memory.
void CheckTableMemory(const TableSizes& sizes, std::string_view op = "compile");

/// The same for `sizes` of which the rows (or the columns) will be as many as the fullest column
/// (row) of blocks sees: classifies a few to find a lower bound.
void CheckShrunkTableMemory(const Analysis& analysis, BlockShape block, bool shrinks_rows,
                            const TableSizes& sizes);

}  // namespace splashmask
