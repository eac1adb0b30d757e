// SPDX-License-Identifier: Apache-2.0
#pragma once
// What leaves are over a domain, and how two of one kind relate. Private to the project.

#include <optional>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/simplify/domain.h"
#include "splashmask/masks/simplify/terms.h"

namespace splashmask::simplify {

/// The literal that agrees with a leaf in a domain that is not empty: a constant or a set where
/// there is one, so that causal(), local(none, 0) and chunked_causal(1000) of 1,000 tokens are one.
Literal NormalLeaf(Terms& terms, const Mask& leaf, const Domain& domain);

/// A box that holds every cell where the leaf is true, as far as that is known without reading
/// arrays; else all of `domain`.
Domain BoxOf(const Mask& leaf, const Domain& domain);

/// How two leaves of one kind (chunked_causal, stride, documents) relate wherever they are asked.
/// Both false: nothing is known.
struct Relation {
  bool implies = false;   ///< Where the first is true, the second is.
  bool disjoint = false;  ///< Nowhere are both.
};
Relation RelationOf(Terms& terms, const Mask& first, const Mask& second);

/// The leaf that is true where two leaves are, for stride with stride and documents with documents,
/// over a domain; nullopt where no leaf is, or none is known.
std::optional<Literal> IntersectLeaves(Terms& terms, const Mask& a, const Mask& b,
                                       const Domain& domain);

}  // namespace splashmask::simplify
