// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a kernel, which computes in int32, can compute the predicates of a mask. Private to the
// project.

#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"

namespace splashmask {

/// Whether intervals show that no operation of any predicate of `mask` leaves int32 for rows at
/// `q_positions` (nullopt: at their own numbers) and the columns of the mask.
bool PredicatesFitKernel(const Mask& mask, const std::optional<Array>& q_positions);

}  // namespace splashmask
