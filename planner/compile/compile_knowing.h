// SPDX-License-Identifier: Apache-2.0
#pragma once
// Compile, where some block rows are known already. Private to compile.

#include <cstdint>
#include <functional>
#include <memory>

#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/known_rows.h"

namespace splashmask {

/// What is known of the mask of a head for a block shape, with the numbers of partial blocks where
/// they are `numbered`; nullptr when there is nothing.
using FindKnownRows =
    std::function<std::unique_ptr<const KnownRows>(int64_t head, BlockShape block, bool numbered)>;

/// As Compile; `known` is asked once for each distinct mask and block shape.
Plan CompileKnowing(const MultiHeadMask& mask, const CompileOptions& options,
                    const FindKnownRows& known, CompileStats* stats);

}  // namespace splashmask
