// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the TPU kernel does with a plan's tables, step by step of its grid, counted. Rules and block
// shapes are those of jax.experimental.pallas.ops.tpu.splash_attention of JAX 0.10.2.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "splashmask/kernels/tensor.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// What the tables leave open of a call of the kernel.
struct KernelCall {
  int64_t kv_heads = 1;
  int64_t head_dim = 128, head_dim_v = 128;
  FloatType type = FloatType::kBFloat16;  ///< Of q, k, v, out and their gradients.
  bool has_segment_ids = false, has_sinks = false;
  bool save_residuals = false;  ///< fwd: it also writes logsumexp.
  int64_t block_kv_compute =
      0;  ///< 0: block_kv. The fused backward keeps dq in scratch if smaller.
};

/// The blocks of one operand, moved between HBM and VMEM (sinks: SMEM) when a step's index is not
/// that of the step before.
struct OperandCopies {
  std::string name;
  std::vector<int64_t> block;  ///< Shape of a block; axes that the kernel squeezes are left out.
  int64_t block_bytes = 0;     ///< Without the padding of tiled layouts.
  bool is_output = false;
  int64_t copies = 0;

  int64_t bytes() const { return copies * block_bytes; }
};

/// One shard's grid, walked to its end.
struct GridTrace {
  std::string kernel_name;  ///< As JAX's get_kernel_name has it; one kv head is multi-query.
  /// fwd and dq: heads, q blocks, width of the tables. dkv: kv blocks, heads, height.
  std::array<int64_t, 3> grid{};
  int64_t steps = 0, skipped = 0, partial = 0, full = 0;  ///< steps = skipped + partial + full.
  std::vector<OperandCopies> operands;                    ///< In the kernel's order.

  int64_t hbm_bytes() const;
};

/// The trace of each shard, q shards innermost. Throws kInvalidArgument when the plan lacks the
/// pass or `call` does not fit it, kDamaged when its tables cannot be walked.
std::vector<GridTrace> TraceGrid(const Plan& plan, Pass pass, const KernelCall& call);

}  // namespace splashmask
