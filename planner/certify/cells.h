// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cells of a mask, 64 to a word: the certifier's own reading of the expression.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/planner/certify/leaves.h"

namespace splashmask::certify {

/// Most cells of a row that are read at once: small enough for every operand to stay in L1.
inline constexpr int64_t kTileCells = 4096;

/// A mask as a flat list of steps in postfix order. Immutable; shared by any number of readers.
class CellProgram {
 public:
  explicit CellProgram(const Mask& mask);

 private:
  friend class CellReader;

  enum class Kind : uint8_t { kLeaf, kNot, kBinary };
  struct Step {
    Kind kind;
    int32_t leaf = -1;  // Into leaves_, for kLeaf.
    node::Op op = node::Op::kAnd;
  };
  // A reordering of rows: position p of `outer` is evaluated at positions[p].
  struct Order {
    Array positions;
    int32_t outer;
  };
  struct PlacedLeaf {
    std::unique_ptr<Leaf> leaf;
    int32_t order;  // Whose positions it sees; 0 is the mask's own rows, order i is orders_[i - 1].
  };

  void Append(const Mask& mask, int32_t order, int32_t depth);
  void AppendLeaf(std::unique_ptr<Leaf> leaf, int32_t order);

  Mask mask_;  // Leaves refer to its arrays.
  std::vector<Step> steps_;
  std::vector<PlacedLeaf> leaves_;
  std::vector<Order> orders_;
  int32_t operands_ = 0;  // Most words-of-a-tile that are alive at once.
};

/// Evaluates a program. For one thread; it remembers repeated rows.
class CellReader {
 public:
  explicit CellReader(const CellProgram& program);

  /// Writes cells [kv_begin, kv_begin + count) of row `q` of the mask, 1 <= count <= kTileCells:
  /// bit i of out[i / 64] is column kv_begin + i; bits past `count` in the last word are 0.
  void Read(int64_t q, int64_t kv_begin, int64_t count, uint64_t* out);

 private:
  // The row that a leaf with keys filled last.
  struct Memory {
    std::optional<int64_t> key;
    int64_t kv_begin = 0, count = 0;
    std::vector<uint64_t> words;
  };

  void FillLeaf(int32_t index, int64_t kv_begin, int64_t count, uint64_t* out);

  const CellProgram* program_;
  std::vector<int64_t> positions_;  // Of the current row, in each order.
  std::vector<uint64_t> operands_;  // All but the lowest, which is the caller's `out`.
  std::vector<Memory> memories_;
};

}  // namespace splashmask::certify
