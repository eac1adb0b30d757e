// SPDX-License-Identifier: Apache-2.0
#pragma once
// Why a predicate holds in a cell, or does not. Private to the project.

#include <cstdint>
#include <string>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/where/predicate.h"

namespace splashmask {

struct PredicateReason {
  bool value = false;
  /// The comparisons that decide, with their numbers: "(q - kv) % 64 < 8: 12 < 8 is false".
  std::string text;
};

/// What the predicate says at one pair, where it must not fail.
PredicateReason ExplainPredicate(const Predicate& predicate, Shape shape, int64_t q, int64_t kv);

}  // namespace splashmask
