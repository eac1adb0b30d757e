// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a mask, block shapes and shards must satisfy. Private to compile.

#include <cstdint>

#include "splashmask/planner/compile/compile.h"

namespace splashmask {

/// Throws kInvalidArgument, naming the nearest values that would do, and kTooLarge when even the
/// smallest tables would not fit in memory.
void CheckOptions(const MultiHeadMask& mask, const CompileOptions& options);

/// The part of CheckOptions that concerns one pass.
void CheckPass(Shape shape, int64_t num_heads, BlockShape block, const PlanOptions& plan,
               const char* suffix);

}  // namespace splashmask
