// SPDX-License-Identifier: Apache-2.0
#pragma once
// Intervals -> leaves. Private to the project.

#include "splashmask/masks/mask.h"
#include "splashmask/masks/simplify/domain.h"
#include "splashmask/masks/simplify/terms.h"

namespace splashmask::simplify {

/// A mask that is true, in `domain`, where the coordinate of that kind lies in `piece`, which holds
/// some but not all of its line: causal or local, prefix or kv_range, q_range. It is one leaf but
/// where no 64-bit parameters can say it.
Mask WritePiece(Kind kind, const Interval& piece, Shape shape, const Domain& domain);

}  // namespace splashmask::simplify
