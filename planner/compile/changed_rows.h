// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which rows of a mask hold other cells than those of the mask before it. Private to compile.

#include <cstdint>
#include <vector>

#include "splashmask/masks/mask.h"

namespace splashmask {

/// Of each row that both masks have, whether it may differ in a column that both have; 1 where
/// nothing is known. Told from the expressions: of two that are built alike, leaf by leaf. O(S) for
/// each leaf, and O(S^2) where dense arrays are not one.
std::vector<uint8_t> ChangedRows(const Mask& before, const Mask& now);

}  // namespace splashmask
