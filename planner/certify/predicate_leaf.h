// SPDX-License-Identifier: Apache-2.0
#pragma once
// The certifier's own reading of a predicate.

#include <memory>

#include "splashmask/masks/where/predicate.h"
#include "splashmask/planner/certify/leaves.h"

namespace splashmask::certify {

/// A leaf of `where`, in a mask of that shape.
std::unique_ptr<Leaf> MakePredicateLeaf(const Predicate& predicate, Shape shape);

}  // namespace splashmask::certify
