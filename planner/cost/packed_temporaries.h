// SPDX-License-Identifier: Apache-2.0
#pragma once
// How XLA packs the temporaries of a program that calls one kernel. Private to cost.
//
// Source: offsets in buffer assignments of libtpu 0.0.51.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace splashmask {

/// Temporaries begin at multiples of it.
inline constexpr int64_t kTemporaryAlignment = 16 << 10;

/// When a temporary is written and read.
enum class Lifetime : uint8_t {
  kOperand,      ///< Before the kernel, which reads it, or by one other operand that is made of it.
  kLateOperand,  ///< Just before the kernel: a table that repeats one value.
  kScratch,      ///< By the kernel alone.
  kResult,       ///< By the kernel, and read after it.
  kAfterwards    ///< After the kernel.
};

struct PackedTemporary {
  int64_t bytes = 0;
  Lifetime lifetime = Lifetime::kOperand;
  std::optional<size_t> made_from = {};  ///< The operand that only this one reads: its index.
};

/// Bytes of the allocation that holds them, in the order of the program's instructions, as far as
/// those do not depend on each other.
int64_t PackedBytes(const std::vector<PackedTemporary>& temporaries);

}  // namespace splashmask
