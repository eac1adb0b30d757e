// SPDX-License-Identifier: Apache-2.0
#pragma once
// One cell of a mask, straight from the table of definitions. Slow and obvious on purpose.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/masks/mask.h"

namespace splashmask {

/// Whether `mask` is true in row `q` and column `kv`, both inside its shape.
bool NaiveAt(const Mask& mask, int64_t q, int64_t kv);

/// All cells, one byte each (0 or 1), row by row.
std::vector<uint8_t> NaiveCells(const Mask& mask);

/// With simplify: whether the text form names no array and reorders nothing, and predicates stay in
/// 32 bits, so that a kernel can compute the mask from positions (nullopt: those of its rows).
bool IsPositionalText(const Mask& mask, const std::optional<Array>& q_positions);

}  // namespace splashmask
