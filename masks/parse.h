// SPDX-License-Identifier: Apache-2.0
#pragma once
// Text form -> mask.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask {

/// Finds the array that a text form names, for example "mask.npy" or "sha256:...". It throws Error
/// when there is none; the parser passes that on.
using ArrayResolver = std::function<Array(const std::string& name)>;

/// A resolver for text without array leaves: it throws kNotFound for every name.
Array NoArrays(const std::string& name);

/// Parses one mask, for example `causal() & local(1024, 0)`.
/// Throws kSyntax with the column and a pointer under the text; what the factories of mask.h throw
/// is passed on with the column of the call.
Mask ParseMask(std::string_view text, Shape shape, const ArrayResolver& resolve = NoArrays);

/// Parses `[causal() * 8, local(1023, 0) * 24]`, or a single mask, which then is repeated
/// `num_heads` times. num_heads = 0 means as many as the text says (one for a single mask); any
/// other number that disagrees with a list throws kInvalidArgument.
MultiHeadMask ParseMultiHeadMask(std::string_view text, Shape shape, int64_t num_heads = 0,
                                 const ArrayResolver& resolve = NoArrays);

}  // namespace splashmask
