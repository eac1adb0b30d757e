// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask is made only of predicates that fail nowhere: whoever evaluates them need not look out.
// Private to the project.

#include <optional>

#include "splashmask/masks/node.h"

namespace splashmask {

/// Throws kInvalidArgument, naming the first cell of the shape in row order, where the predicate
/// divides by zero or leaves 64 bits.
void CheckPredicate(const Predicate& predicate, Shape shape);

/// The same for the predicates of `mask` at the positions of a reordering.
void CheckPredicates(const Mask& mask, const std::optional<node::Order>& q,
                     const std::optional<node::Order>& kv);

}  // namespace splashmask
