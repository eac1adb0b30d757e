// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a kernel, which computes in int32, can compute a mask from positions. Private to the
// project.

#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"

namespace splashmask {

/// Whether no difference of positions leaves int32 for rows at `q_positions` (nullopt: at their own
/// numbers) and the columns of the mask, nor, as intervals show, any operation of its predicates.
bool FitsKernel(const Mask& mask, const std::optional<Array>& q_positions);

}  // namespace splashmask
