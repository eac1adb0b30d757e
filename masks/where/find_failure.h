// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a predicate divides by zero or leaves 64 bits. Private to the project.

#include <cstdint>
#include <optional>
#include <string>

#include "splashmask/masks/where/program.h"
#include "splashmask/masks/where/ranges.h"

namespace splashmask {

struct PredicateFailure {
  int64_t q = 0, kv = 0;
  int32_t node = -1;  ///< Of the program: the operation that fails, the first that Python meets.
};

/// The first cell in row order, smallest q first, where the predicate fails; nullopt when there is
/// none. Rectangles that intervals show to be sound are not visited. Throws kTooLarge after
/// kMostRectangles others.
std::optional<PredicateFailure> FindFailure(const PredicateProgram& program, PositionRange q,
                                            PositionRange kv);

inline constexpr int64_t kMostRectangles = int64_t{1} << 25;

/// What failed, in words: "q // (kv - 3) divides by zero" or "q * q leaves 64 bits".
std::string Describe(const Predicate& predicate, const PredicateProgram& program,
                     const PredicateFailure& failure);

}  // namespace splashmask
