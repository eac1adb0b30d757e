// SPDX-License-Identifier: Apache-2.0
#pragma once
// The leaves of a mask expression, evaluated 64 cells to a word.

#include <cstdint>
#include <memory>
#include <optional>

#include "splashmask/masks/node.h"

namespace splashmask::certify {

/// Words that hold `cells` cells.
inline int64_t WordsFor(int64_t cells) { return (cells + 63) / 64; }

/// Evaluates one leaf. Immutable, so threads share it.
class Leaf {
 public:
  virtual ~Leaf() = default;

  /// Writes cells [kv_begin, kv_begin + count) of the row at q `position`: bit i of out[i / 64] is
  /// column kv_begin + i. Writes ceil(count / 64) words; what it leaves in bits past `count` does
  /// not matter.
  virtual void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const = 0;

  /// Rows with equal keys have equal cells. nullopt: not worth remembering.
  virtual std::optional<int64_t> Key(int64_t /*position*/) const { return std::nullopt; }
};

/// The leaf of `expr`, which has the shape `shape`, or nullptr for a node with children. It may
/// refer to arrays inside `expr`, which has to outlive it.
std::unique_ptr<Leaf> MakeLeaf(const MaskExpr& expr, Shape shape);

}  // namespace splashmask::certify
