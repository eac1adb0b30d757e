// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask that only a program can evaluate.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace splashmask {

/// Derive from this to make a mask of any predicate. Called from many threads at once.
class CustomFunction {
 public:
  virtual ~CustomFunction() = default;

  /// Writes rows of kv_end - kv_begin cells, one byte each (0 or 1): row r holds the cells
  /// (q[r], kv_begin), (q[r], kv_begin + 1), ... `q` and the kv range are not empty.
  virtual void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                        std::byte* out) const = 0;

  /// True when every cell of the q positions [q_begin, q_end) and kv positions [kv_begin, kv_end)
  /// attends, false when none does, nullopt when they differ or nothing is known.
  virtual std::optional<bool> Classify(int64_t /*q_begin*/, int64_t /*q_end*/, int64_t /*kv_begin*/,
                                       int64_t /*kv_end*/) const {
    return std::nullopt;
  }

  /// Whether the kernel can compute it from positions, whatever they are. Otherwise q positions are
  /// rows of the mask.
  virtual bool computable() const { return false; }

  /// What messages and the text form call it; the text cannot be parsed.
  virtual std::string name() const = 0;

  /// Equal functions make equal masks.
  virtual bool Equals(const CustomFunction& other) const { return this == &other; }
  virtual size_t Hash() const { return reinterpret_cast<size_t>(this); }
};

}  // namespace splashmask
