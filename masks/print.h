// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mask -> text form.

#include <functional>
#include <string>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask {

/// The text form, which parses back to an equal mask: minimal parentheses, defaults omitted, array
/// leaves under their names ("sha256:..." for an array without one).
std::string ToString(const Mask& mask);
std::string ToString(const MultiHeadMask& mask);

/// The text form with every array leaf as "sha256:<hex>": equal if and only if the masks are equal.
std::string CanonicalText(const Mask& mask);
std::string CanonicalText(const MultiHeadMask& mask);

/// Calls `visit` for each array that the expression refers to, in the order of the text form.
void ForEachArray(const Mask& mask, const std::function<void(const Array&)>& visit);

/// SHA-256, in lower-case hex, over the recipe of docs/plan-format.md, "Digests".
std::string MaskDigest(const MultiHeadMask& mask);

}  // namespace splashmask
