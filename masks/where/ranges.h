// SPDX-License-Identifier: Apache-2.0
#pragma once
// Interval arithmetic: what the operations of a predicate can give over a rectangle of positions,
// and whether they can fail there. Private to the project.

#include <cstdint>
#include <span>

#include "splashmask/masks/where/program.h"

namespace splashmask {

/// a / b rounded down, as `//` rounds; b is not 0.
inline __int128 FloorDivide(__int128 a, __int128 b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/// Positions from `first` to `last`, both included.
struct PositionRange {
  int64_t first = 0, last = 0;
};

/// Every value that an operation gives lies in [low, high]: an integer, or 0 and 1 for false and
/// true. Sound: it may be wider than need be, never narrower; exact for a single position of each.
struct ValueRange {
  int64_t low = 0, high = 0;
  /// Whether it, or what it is made from, may overflow or divide by zero where it is evaluated.
  bool may_fail = false;
  /// What every value leaves modulo that of a ResidueClass; -1 where nothing is known.
  int64_t residue = -1;

  bool is_single() const { return low == high; }
  bool may_be_zero() const { return low <= 0 && high >= 0 && residue <= 0; }
};

/// Positions that all leave the same modulo `modulus`, at least 1, in each axis; -1 where they do
/// not.
struct ResidueClass {
  int64_t modulus = 1;
  int64_t q = -1, kv = -1;
};

/// The range of one node from those of its operands; kQ and kKv have none.
ValueRange FindRange(const ProgramNode& node, const ValueRange& left, const ValueRange& right);

/// Writes the range of each node to `ranges`, which has program.size() entries.
void FindRanges(const PredicateProgram& program, PositionRange q, PositionRange kv,
                std::span<ValueRange> ranges);
/// The same of those positions of the ranges that are in a class.
void FindRanges(const PredicateProgram& program, PositionRange q, PositionRange kv,
                const ResidueClass& in, std::span<ValueRange> ranges);

/// The first node that fails itself, its operands being sound, where `ranges` say that the
/// condition may fail: what Python would have met first, for a single position of each.
int32_t FirstFailure(const PredicateProgram& program, std::span<const ValueRange> ranges);

/// Whether no value anywhere leaves int32, so that a kernel can compute the predicate.
bool FitsInt32(const PredicateProgram& program, PositionRange q, PositionRange kv);

}  // namespace splashmask
