// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random numbers in a range.

#include <cstdint>
#include <random>

namespace splashmask {

/// From `least` to `most`, both included. The bias of the modulus does not matter here, but that
/// the same seed gives the same numbers everywhere, unlike with the library's distributions.
inline int64_t Uniform(std::mt19937_64& random, int64_t least, int64_t most) {
  return least + static_cast<int64_t>(random() % static_cast<uint64_t>(most - least + 1));
}

}  // namespace splashmask
