// SPDX-License-Identifier: Apache-2.0
#pragma once
// Masks that the kernel can compute itself, instead of loading blocks of them. Private to compile.

#include <cstdint>
#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"

namespace splashmask {

/// What the kernel needs to compute a mask.
struct Computable {
  Mask function;                    ///< Of positions: the mask without its reordering.
  std::optional<Array> q_sequence;  ///< The position of each row, unless it is the row itself.
};

/// Causal, local and chunked causal masks, computable functions, and a q reorder of one; with
/// `simplify` any composition of positional masks, too. nullopt for any other.
std::optional<Computable> FindComputable(const Mask& mask, bool simplify = false);

/// 0, 1, ..., q_len - 1: the positions of rows that nothing reorders. int32 where that suffices.
/// Runs on the caller's TBB arena.
Array RowNumbers(int64_t q_len);

}  // namespace splashmask
