// SPDX-License-Identifier: Apache-2.0
#pragma once
// A predicate prepared for one shape: constants are folded, and what is linear in q and kv is known
// to be. Private to the project.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/where/predicate.h"

namespace splashmask {

/// q * q_factor + kv * kv_factor + constant, with factors of at most kMostFactor.
struct LinearForm {
  static constexpr int64_t kMostFactor = int64_t{1} << 30;

  int64_t q_factor = 0, kv_factor = 0, constant = 0;

  /// Exact for any q and kv.
  __int128 At(int64_t q, int64_t kv) const {
    return static_cast<__int128>(q) * q_factor + static_cast<__int128>(kv) * kv_factor + constant;
  }
};

struct ProgramNode {
  PredicateOp op;
  int32_t left = -1, right = -1;
  int64_t constant = 0;  ///< Of kConstant; a folded condition is 0 or 1.
  bool has_q = false, has_kv = false;
  int32_t source = -1;  ///< The predicate's operation.
  /// Of an integer, its value; of a comparison, left minus right. Without it, nothing is known.
  std::optional<LinearForm> linear = {};
};

/// Nodes, each after its operands; the last one is the condition. kQLen and kKvLen do not occur.
class PredicateProgram {
 public:
  PredicateProgram(const Predicate& predicate, Shape shape);

  std::span<const ProgramNode> nodes() const { return nodes_; }
  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }

 private:
  std::vector<ProgramNode> nodes_;
};

}  // namespace splashmask
