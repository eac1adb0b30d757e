// SPDX-License-Identifier: Apache-2.0
#pragma once
// The q, k and v that splashmask run computes with: read from files, or drawn at random.

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/command_line.h"
#include "splashmask/io/floats.h"
#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask::cli {

/// What the arguments say of them.
struct ArraysWanted {
  std::optional<std::string> q, k, v;  ///< Files; all or none.
  // Without files:
  std::optional<int64_t> batch, head_dim, head_dim_v, kv_heads;
  std::string dtype;  ///< "float32", "bfloat16", or nothing.
  std::optional<int64_t> seed;
};

/// The arguments that shape what is drawn at random.
void AddDrawnArrays(CommandSyntax& syntax, ArraysWanted& wanted);

/// Owns what it views.
class RunArrays {
 public:
  /// Throws kInvalidArgument for arguments that contradict each other and shapes that are not
  /// [heads, length, dim] or [batch, heads, length, dim], kTooLarge, kCancelled, and what
  /// ReadFloats throws. Whether they fit the plan is for attention to say.
  RunArrays(const Plan& plan, const ArraysWanted& wanted, const Progress& progress);

  AttentionInputs inputs() const;
  /// The shapes without the batch axis, when q's file has none.
  std::vector<int64_t> OutShape() const;        ///< [(batch,) heads, q_len, head_dim_v]
  std::vector<int64_t> LogsumexpShape() const;  ///< [(batch,) heads, q_len]

  /// "q float32[8, 4096, 128], k ..., v ..., drawn at random (seed 0)".
  std::string Describe() const;
  /// batch, heads, kv_heads, q_len, kv_len, head_dim, head_dim_v and dtype (of q).
  boost::json::object DescribeJson() const;

 private:
  FloatArray q_, k_, v_;
  std::optional<int64_t> seed_;
};

}  // namespace splashmask::cli
