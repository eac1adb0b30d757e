// SPDX-License-Identifier: Apache-2.0
#pragma once
// Compile, where some block rows are known already. Private to compile.

#include <cstdint>
#include <functional>
#include <span>

#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/known_rows.h"

namespace splashmask {

/// What is known of the masks of these heads for a block shape, with the numbers of partial blocks
/// where they are `numbered`.
using FindKnownGrids =
    std::function<KnownGrids(std::span<const int64_t> heads, BlockShape block, bool numbered)>;

/// As Compile; `find_known` is asked once for each block shape.
Plan CompileKnowing(const MultiHeadMask& mask, const CompileOptions& options,
                    const FindKnownGrids& find_known, CompileStats* stats);

}  // namespace splashmask
