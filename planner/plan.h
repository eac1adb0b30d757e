// SPDX-License-Identifier: Apache-2.0
#pragma once
// A plan: everything compiled from one multi-head mask.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/tokamax_mask_info.h"

namespace splashmask {

enum class Pass : uint8_t { kFwd, kDq, kDkv };
inline constexpr Pass kAllPasses[] = {Pass::kFwd, Pass::kDq, Pass::kDkv};
/// The passes that tokamax's dialect has.
inline constexpr Pass kTokamaxPasses[] = {Pass::kFwd, Pass::kDkv};
/// "fwd", "dq" or "dkv".
std::string_view PassName(Pass pass);
/// A pass in tokamax's dialect as plan files name it: "tokamax/fwd" or "tokamax/dkv".
std::string TokamaxPassPath(Pass pass);

/// What was asked for, beside the mask. The block shapes of passes live in the passes themselves.
struct PlanOptions {
  int64_t head_shards = 1;
  int64_t q_seq_shards = 1;
  bool downcast_smem_data = true;
  bool shrink_grid = true;
  bool use_fused_bwd_kernel = false;  ///< Then there is no dq pass, and dkv is not shrunk.
  /// The tables are those of Simplify(mask), and the kernel computes every composition of
  /// positional masks (full, empty, causal, local, chunked_causal, prefix, q_range, kv_range,
  /// stride), where JAX has partial blocks.
  bool simplify = false;
  friend bool operator==(const PlanOptions&, const PlanOptions&) = default;
};

/// The tables of one pass.
struct CompiledPass {
  BlockShape block;
  MaskInfo info;
  /// Set when the kernel computes the mask itself: the mask as a function of q and kv positions,
  /// without reordering (the positions are info.q_sequence).
  std::optional<Mask> mask_function;

  friend bool operator==(const CompiledPass&, const CompiledPass&) = default;
};

struct Plan {
  MultiHeadMask mask;
  PlanOptions options;
  std::optional<CompiledPass> fwd, dq, dkv;
  /// Lists for tokamax's kernel, which takes one mask: all heads of the plan must have the same.
  /// `options` says nothing of these.
  std::optional<TokamaxPass> tokamax_fwd = {}, tokamax_dkv = {};

  const std::optional<CompiledPass>& pass(Pass pass) const;
  std::optional<CompiledPass>& pass(Pass pass);
  /// One of kTokamaxPasses.
  const std::optional<TokamaxPass>& tokamax_pass(Pass pass) const;
  std::optional<TokamaxPass>& tokamax_pass(Pass pass);
  bool has_tokamax() const { return tokamax_fwd || tokamax_dkv; }
  /// Whether all heads have one mask.
  bool has_one_mask() const;
};

/// The passes of a plan under the names that plan files give them, in the order "fwd", "dq", "dkv",
/// "tokamax/fwd", "tokamax/dkv".
std::vector<std::string> PassPaths(const Plan& plan);

}  // namespace splashmask
