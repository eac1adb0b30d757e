// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where two masks differ, as a mask. Private to compile.

#include "splashmask/masks/mask.h"

namespace splashmask {

/// a ^ b, for masks of one shape, without what both say: `x & y` and `x & z` differ where x does
/// and y ^ z, so that a change in one place of a large expression is looked for in that place.
/// empty() when the masks are the same expression, up to the order of operands and double negation.
/// One operator deeper than the deeper of the two: it may pass the limits of mask.h.
Mask DifferenceMask(const Mask& a, const Mask& b);

}  // namespace splashmask
