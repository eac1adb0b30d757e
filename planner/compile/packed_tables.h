// SPDX-License-Identifier: Apache-2.0
#pragma once
// The blocks of one packed sequence -> its slice of the stacked tables. Private to compile.

#include <cstdint>

#include "splashmask/planner/compile/packed.h"
#include "splashmask/planner/compile/packed_blocks.h"

namespace splashmask {

/// Most blocks that a row must visit, and most that a column must: the shrunk sizes.
int64_t LongestRow(const PackedBlocks& blocks);
int64_t LongestColumn(const PackedBlocks& blocks);

/// Fill the tables of one sequence; shrunk ones are at least as wide (high) as the above. In
/// shrunk tables only visited blocks have an entry, padded with zeros on the right (at the top); in
/// whole ones every block names the next visited one in the order (kv, q), wrapping around.
void FillFwd(const PackedBlocks& blocks, int64_t sequence, PackedPass& pass);
void FillDkvShrunk(const PackedBlocks& blocks, int64_t sequence, PackedPass& pass);
void FillDkvWhole(const PackedBlocks& blocks, int64_t sequence, PackedPass& pass);

}  // namespace splashmask
