// SPDX-License-Identifier: Apache-2.0
#pragma once
// Predicates that are sets of rows, of columns or of diagonals. Private to the project.

#include <optional>

#include "splashmask/masks/simplify/domain.h"
#include "splashmask/masks/simplify/terms.h"
#include "splashmask/masks/where/predicate.h"

namespace splashmask::simplify {

/// What a predicate is over a domain when all its comparisons are of q alone, of kv alone, or of
/// kv - q, with whatever intervals decide left out: "q >= kv and q - kv < 64" is a band. nullopt
/// for any other.
std::optional<Literal> SetOfPredicate(Terms& terms, const Predicate& predicate, Shape shape,
                                      const Domain& domain);

}  // namespace splashmask::simplify
