// SPDX-License-Identifier: Apache-2.0
#pragma once
// Why a pair attends or not: an expression evaluated at one pair, part by part, straight from the
// definitions.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask {

/// A leaf of the expression, or an operator with its operands. What one operator chains is one
/// part: `a & b & c` has three operands.
struct ExplainedPart {
  Mask mask;
  int depth = 0;          ///< How many parts it is an operand of.
  int64_t q = 0, kv = 0;  ///< Where it is evaluated: other positions below a reorder.
  bool value = false;
  bool decides = false;  ///< A leaf that decides; see Explanation.
  /// A leaf: what its definition says with these numbers, for example "700 + 0 >= 699". A reorder:
  /// where it looks. Otherwise empty.
  std::string reason;
};

/// The leaves that decide are as few as possible, and the first of as few: as long as they keep
/// their values the pair keeps its own, whatever the other leaves are; and each of them matters.
/// One false operand decides an `&`, for example, and all of them a true one.
struct Explanation {
  std::optional<int64_t> head;
  int64_t q = 0, kv = 0;
  /// The whole expression, then its operands in the order of the text, each before its own.
  std::vector<ExplainedPart> parts;

  /// Whether the pair attends.
  bool value() const { return parts.front().value; }
};

/// Evaluates every part at (q, kv). Throws kInvalidArgument for a pair that is not inside the mask,
/// and what a custom function throws.
Explanation Explain(const Mask& mask, int64_t q, int64_t kv);
/// The same for one head. Throws kInvalidArgument for a head that is not in [0, num_heads).
Explanation Explain(const MultiHeadMask& mask, int64_t head, int64_t q, int64_t kv);

/// What a part is in short: a leaf's text form; `&`, `|`, `^`, `-`, `~` or `reorder` for the
/// others.
std::string PartName(const ExplainedPart& part);

/// A tree in at most some dozens of lines, the parts that decide first of all:
///
///     head 0, q 700, kv 2000: masked
///       causal() & ~prefix(128)  false
///         causal()               false  700 >= 2000 is false  <- decides
///         ~prefix(128)           true
///           prefix(128)          false  2000 < 128 is false
std::string ToString(const Explanation& explanation);

}  // namespace splashmask
