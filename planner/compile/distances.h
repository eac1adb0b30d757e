// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask that depends on q - kv alone, as the set of distances q - kv at which it attends. Private
// to compile.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "splashmask/masks/mask.h"

namespace splashmask {

/// The distances first, first + step, ..., last; step >= 1, and 1 when there is only one.
struct Progression {
  int64_t first, last, step;

  /// Whether one of them lies in [low, high].
  bool Meets(int64_t low, int64_t high) const {
    int64_t next = std::max(low, first);
    if (step > 1) next = first + (next - first + step - 1) / step * step;
    return next <= std::min(high, last);
  }

  friend bool operator==(const Progression&, const Progression&) = default;
};

/// A union of progressions, which may overlap, inside (-length, length).
using Distances = std::vector<Progression>;

/// The distances at which a mask [length, length] attends. Throws kInvalidArgument when it has
/// another shape, contains a node that tells positions apart, or does not attend at distance 0.
Distances AttendedDistances(const Mask& mask);

}  // namespace splashmask
