// SPDX-License-Identifier: Apache-2.0
#pragma once
// Seeded random predicates for where("...").

#include <random>
#include <string>

namespace splashmask {

/// A random condition of about `depth` levels over every operation, which may fail somewhere. The
/// same text comes from the same state of `random` everywhere.
std::string RandomPredicate(std::mt19937_64& random, int depth);

}  // namespace splashmask
