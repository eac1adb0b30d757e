// SPDX-License-Identifier: Apache-2.0
#pragma once
// How JAX's splash attention is called on a TPU: its operands and block sizes, beside the mask.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// What q, k and v are made of.
enum class OperandDType : uint8_t { kBFloat16, kFloat32 };

/// "bfloat16" or "float32".
std::string_view OperandDTypeName(OperandDType dtype);
/// Throws kInvalidArgument for any other name.
OperandDType OperandDTypeFromName(std::string_view name);
/// Bytes of one element.
int64_t OperandBytes(OperandDType dtype);

/// Which axis of an operand is the fastest. The kernel transposes q, k or v before it runs where
/// the sequence is.
enum class QkvLayout : uint8_t { kHeadDimMinor, kSeqMinor };

/// JAX's `BlockSizes`, in positions. Sizes of passes that are not asked for are 0.
struct BlockSizes {
  int64_t block_q = 0, block_kv = 0, block_kv_compute = 0;
  int64_t block_q_dkv = 0, block_kv_dkv = 0, block_kv_dkv_compute = 0;
  int64_t block_q_dq = 0, block_kv_dq = 0;
  bool use_fused_bwd_kernel = false;
  QkvLayout q_layout = QkvLayout::kHeadDimMinor;
  QkvLayout k_layout = QkvLayout::kHeadDimMinor;
  QkvLayout v_layout = QkvLayout::kHeadDimMinor;

  bool has_fwd() const { return block_q > 0; }
  bool has_dq() const { return block_q_dq > 0; }
  bool has_dkv() const { return block_q_dkv > 0; }

  friend bool operator==(const BlockSizes&, const BlockSizes&) = default;
};

/// As JAX's QKVLayout has it: "HEAD_DIM_MINOR" or "SEQ_MINOR".
std::string_view QkvLayoutName(QkvLayout layout);
/// Sizes under JAX's names, those of passes that are not asked for too.
std::array<std::pair<std::string_view, int64_t>, 8> NamedSizes(const BlockSizes& sizes);
/// "q_layout", "k_layout" and "v_layout".
std::array<std::pair<std::string_view, QkvLayout>, 3> NamedLayouts(const BlockSizes& sizes);

/// The kernels of splash attention. A forward pass that a backward pass follows also writes
/// logsumexp: it has residuals.
enum class TpuKernel : uint8_t { kFwd, kFwdResiduals, kDq, kDkv, kFused };
inline constexpr TpuKernel kAllTpuKernels[] = {TpuKernel::kFwd, TpuKernel::kFwdResiduals,
                                               TpuKernel::kDq, TpuKernel::kDkv, TpuKernel::kFused};

/// "fwd", "fwd_residuals", "dq", "dkv" or "fused".
std::string_view TpuKernelName(TpuKernel kernel);
/// Throws kInvalidArgument for any other name.
TpuKernel TpuKernelFromName(std::string_view name);
/// Whose tables it reads.
Pass PassOf(TpuKernel kernel);

/// Sizes of one kernel's blocks. For dq, kv_compute is kv: that kernel has no smaller step.
struct KernelBlocks {
  int64_t q = 0, kv = 0, kv_compute = 0;

  friend bool operator==(const KernelBlocks&, const KernelBlocks&) = default;
};
KernelBlocks BlocksOf(const BlockSizes& sizes, TpuKernel kernel);
/// Whether q positions lie in the lanes of some operand: then block_q is a multiple of 128, else of
/// 8, or all of q.
bool QLiesInLanes(const BlockSizes& sizes, TpuKernel kernel);
/// The same sizes with other blocks for one kernel.
BlockSizes WithBlocks(BlockSizes sizes, TpuKernel kernel, const KernelBlocks& blocks);

/// The kernels that calls with these sizes may run: with sizes of a backward pass both forward
/// kernels, as evaluation has no residuals.
std::vector<TpuKernel> KernelsOf(const BlockSizes& sizes);

/// One call, on one device: shards have been cut already.
struct AttentionConfig {
  int64_t batch = 1;  ///< Sequences: the call is vmapped over so many.
  int64_t heads = 1;  ///< Of q.
  int64_t kv_heads =
      1;  ///< Divides heads. 1 with heads > 1 is called as MQA: k and v have no head axis.
  int64_t q_len = 0, kv_len = 0;
  int64_t head_dim = 128;    ///< Of q and k.
  int64_t head_dim_v = 128;  ///< Of v and the output.
  OperandDType dtype = OperandDType::kBFloat16;
  bool segments = false;  ///< Segment ids are operands.
  bool soft_cap = false;
  bool sinks = false;
  BlockSizes block_sizes = {};

  friend bool operator==(const AttentionConfig&, const AttentionConfig&) = default;
};

/// The kv heads of all shards of a plan, as CountSteps takes them, from those of one device.
int64_t KvHeadsOfPlan(const AttentionConfig& config, const PlanOptions& options);

/// Throws kInvalidArgument, with the rule that is broken and the nearest legal value, for what
/// JAX's kernel or the TPU compiler's rules for blocks refuse: blocks that do not divide their
/// axis, a compute block that does not divide its block or the 128 lanes that it must be a multiple
/// of, heads that kv_heads does not divide, sizes for dq with the fused kernel.
void CheckAttentionConfig(const AttentionConfig& config);

/// An integer table among a kernel's operands.
struct TableOperand {
  DType dtype = DType::kInt32;
  std::array<int64_t, 3> shape{};

  friend bool operator==(const TableOperand&, const TableOperand&) = default;
};

/// What a kernel's operands and grid need to know of the pass's MaskInfo. nullopt: None there.
struct PassTables {
  std::optional<TableOperand> data_next, block_mask, mask_next;
  int64_t partial_blocks = 0;   ///< Of partial_mask_blocks; 0: None.
  bool has_q_sequence = false;  ///< The kernel computes its mask.

  friend bool operator==(const PassTables&, const PassTables&) = default;
};
/// Of one device: the tables of a plan of several shards are cut along heads and q.
PassTables TablesOf(const MaskInfo& info, const PlanOptions& options);

}  // namespace splashmask
