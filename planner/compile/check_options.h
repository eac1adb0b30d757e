// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a mask, block shapes and shards must satisfy. Private to compile.

#include <cstdint>
#include <string>
#include <string_view>

#include "splashmask/planner/compile/compile.h"

namespace splashmask {

/// Throws kInvalidArgument: "[op] expected what".
[[noreturn]] void Expected(std::string_view op, const std::string& what);

/// Throws kInvalidArgument, naming the nearest values that would do, and kTooLarge when even the
/// smallest tables would not fit in memory.
void CheckOptions(const MultiHeadMask& mask, const CompileOptions& options);

/// Throws kInvalidArgument unless `value` is at least 1 and divides `length`, the size of `of`.
void CheckDivides(std::string_view op, const std::string& name, int64_t value,
                  const std::string& of, int64_t length);

/// The part of CheckOptions that concerns one pass.
void CheckPass(Shape shape, int64_t num_heads, BlockShape block, const PlanOptions& plan,
               const char* suffix);

/// Throws kTooLarge at once for what could never fit: one entry a block row (a block, when nothing
/// is shrunk) in data_next and block_mask, q_sequence, and what compiling keeps for each block row.
void CheckLeastMemory(Shape shape, BlockShape block, const PlanOptions& plan, bool may_shrink);

}  // namespace splashmask
