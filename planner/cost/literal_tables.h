// SPDX-License-Identifier: Apache-2.0
#pragma once
// A pass's tables as literals of a program, as far as their content decides what XLA keeps of them.

#include <array>
#include <cstdint>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask {

/// XLA keeps equal literals once, makes one that repeats a value from that value when it runs, and
/// counts up where it finds 0, 1, 2, ...
struct LiteralTables {
  /// The positions in q_sequence.
  enum class Positions : uint8_t { kCounted, kRepeated, kOther };

  PassTables tables;
  /// For data_next, block_mask and mask_next: the first of them with the same content.
  std::array<size_t, 3> first_equal{0, 1, 2};
  /// For the same: the value is one, and stands there more than once.
  std::array<bool, 3> is_repeated{};
  Positions positions = Positions::kCounted;
};

LiteralTables LiteralsOf(const MaskInfo& info);

}  // namespace splashmask
