// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mask -> block tables.

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// What to compile. A pass without a block shape is not compiled.
struct CompileOptions {
  std::optional<BlockShape> fwd, dq, dkv;
  PlanOptions plan;
  int threads = 0;  ///< 0: as many as the machine has.
  Progress progress;

  std::optional<BlockShape>& block(Pass pass) {
    return pass == Pass::kFwd ? fwd : pass == Pass::kDq ? dq : dkv;
  }
  const std::optional<BlockShape>& block(Pass pass) const {
    return pass == Pass::kFwd ? fwd : pass == Pass::kDq ? dq : dkv;
  }
};

/// What a compile did: how many times it asked the mask anything. For an analytic mask the sum
/// grows with the length, never with its square.
struct CompileStats {
  int64_t rectangles = 0;    ///< Rectangles classified.
  int64_t runs = 0;          ///< Row runs read.
  int64_t blocks_drawn = 0;  ///< Blocks whose bits were evaluated.
  int64_t cells = 0;         ///< Cells of those blocks.
};

/// Compiles the passes that `options` names. Every field equals what JAX 0.10.2's `process_mask`
/// (fwd, dq) and `process_mask_dkv` (dkv) return: values, shapes, dtypes, which fields are None,
/// the order of partial_mask_blocks; with `simplify` those that it would return of the simplified
/// masks, if it could compute them. Where JAX fails (README, "Where JAX fails") the tables are
/// those its definition implies. The result does not depend on the number of threads.
///
/// Throws kInvalidArgument when a block does not divide its axis, shards do not divide, or a dq
/// block comes with use_fused_bwd_kernel; kTooLarge, before allocating, with the bytes that the
/// tables would take; kCancelled.
Plan Compile(const MultiHeadMask& mask, const CompileOptions& options,
             CompileStats* stats = nullptr);

/// Positions of one axis that attend to nothing, as half-open ranges in order.
using PositionRanges = std::vector<std::pair<int64_t, int64_t>>;

/// The q rows of one mask that attend to nothing. Such a row divides zero by zero in the softmax.
PositionRanges EmptyRows(const Mask& mask, int threads = 0);

/// A mask that is known only at run time: bool[heads, q_len, kv_len], one byte each, C-contiguous.
struct DynamicMask {
  const std::byte* data = nullptr;
  int64_t num_heads = 0;
  Shape shape;
};

/// JAX's `_process_dynamic_mask`: block classes and local next tables; partial_mask_blocks holds
/// every block, [heads, q_blocks, kv_blocks, block_q, block_kv] (the last two swapped for dkv).
/// shrink_grid is ignored, as in JAX. Throws as Compile does.
MaskInfo CompileDynamic(const DynamicMask& mask, BlockShape block, bool is_dkv,
                        const PlanOptions& options, int threads = 0);

}  // namespace splashmask
