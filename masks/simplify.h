// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask in its simplest form.

#include "splashmask/masks/mask.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask {

/// A mask that is true in exactly the same cells of the shape, in normal form, with no more nodes:
///
/// * causal, local and what only kv - q decides are one band, or a union of bands; so are ranges of
///   q and of kv; their parameters are no larger than the shape can tell (`local(1000000, 0)` of
///   1,000 tokens is `causal()`);
/// * constants, double negations, repeated, absorbed, contradictory and common operands go;
///   operands of `&`, `|` and `^` have one order;
/// * a leaf that the shape, or what stands beside it, makes full, empty or a band is that.
///
/// Simplifying the result changes nothing. Arrays are compared by content, the cells of `dense`
/// never looked at. An expression so large or deep that rewriting costs more than it is worth comes
/// back as it is: about a second's work, in time n log n for n nodes before that.
Mask Simplify(const Mask& mask);

/// Each head's mask.
MultiHeadMask Simplify(const MultiHeadMask& mask);

}  // namespace splashmask
