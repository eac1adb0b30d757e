// SPDX-License-Identifier: Apache-2.0
#pragma once
// The block lists of the tokamax dialect, cell by cell as tokamax defines them: the reference that
// the compiler is held to. Deliberately slow; for masks of at most a few thousand cells.

#include "splashmask/planner/compile/tokamax.h"

namespace splashmask {

/// What CompileTokamax(mask, options) has to return. The arguments must be valid; `threads` and
/// `progress` are ignored.
TokamaxPass NaiveTokamax(const Mask& mask, const TokamaxOptions& options);

}  // namespace splashmask
