// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/attention_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

[[noreturn]] void Expected(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[plan] expected " + what);
}

struct Size {
  const char* name;
  int64_t value;
};

void CheckAtLeastOne(Size size) {
  if (size.value < 1) Expected(fmt::format("{} of at least 1, got {}", size.name, size.value));
}

// Which blocks of an axis are legal, beside dividing it.
struct BlockRule {
  int64_t unit = 1;           // They are multiples of it,
  bool may_be_whole = false;  // or the whole axis.
  const char* reason = "";
};

constexpr BlockRule kQInSublanes{kSublanes, true, "as q positions lie in sublanes"};
constexpr BlockRule kQInLanes{kLanes, true, "as q positions lie in lanes there"};
constexpr BlockRule kKvInLanes{kLanes, false, "as kv positions lie in lanes"};

bool IsLegal(int64_t block, int64_t whole, const BlockRule& rule) {
  return whole % block == 0 && (block % rule.unit == 0 || (rule.may_be_whole && block == whole));
}

std::string NearestLegal(int64_t size, int64_t whole, const BlockRule& rule) {
  int64_t below = 0, above = 0;
  for (int64_t parts = 1; parts <= whole / parts; ++parts) {
    if (whole % parts != 0) continue;
    for (const int64_t block : {parts, whole / parts}) {
      if (!IsLegal(block, whole, rule)) continue;
      if (block < size) below = std::max(below, block);
      if (block > size && (above == 0 || block < above)) above = block;
    }
  }
  if (below == 0 && above == 0) return fmt::format("{} has no such divisor", whole);
  if (below == 0) return fmt::format("nearest is {}", above);
  if (above == 0) return fmt::format("nearest is {}", below);
  return fmt::format("nearest are {} and {}", below, above);
}

void CheckBlock(Size block, Size whole, const BlockRule& rule) {
  CheckAtLeastOne(block);
  if (IsLegal(block.value, whole.value, rule)) return;
  const std::string nearest = NearestLegal(block.value, whole.value, rule);
  if (whole.value % block.value != 0) {
    Expected(fmt::format("{} ({}) to divide {} ({}): {}", block.name, block.value, whole.name,
                         whole.value, nearest));
  }
  Expected(fmt::format("{} ({}) to be a multiple of {}, {}: {}", block.name, block.value, rule.unit,
                       rule.reason, nearest));
}

// What sizes multiply to stays within 64 bits, whatever is made of it later.
constexpr double kByteLimit = 0x1p56;

void CheckBytes(double bytes, const char* what) {
  if (bytes >= kByteLimit) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[plan] expected {} of less than 2^56 bytes, got {:.3g}", what, bytes));
  }
}

void CheckOperands(const AttentionConfig& config) {
  const double item = 4, dims = static_cast<double>(config.head_dim) + 128 +
                                static_cast<double>(config.head_dim_v) + 128;
  const auto rows = [&](int64_t heads, int64_t length) {
    return static_cast<double>(config.batch) * static_cast<double>(heads) *
           (static_cast<double>(length) + 128);
  };
  CheckBytes(item * dims * rows(config.heads, config.q_len), "q");
  CheckBytes(item * dims * rows(config.kv_heads, config.kv_len), "k and v");
  const BlockSizes& sizes = config.block_sizes;
  if (sizes.use_fused_bwd_kernel && sizes.has_dkv()) {
    const int64_t parts = config.kv_len / sizes.block_kv_dkv;
    CheckBytes(item * dims * rows(config.heads, config.q_len) * static_cast<double>(parts),
               "dq of every kv block");
  }
}

struct BlockNames {
  const char *q, *kv, *kv_compute;
};

void CheckKernel(const AttentionConfig& config, TpuKernel kernel, const BlockNames& names) {
  const KernelBlocks blocks = BlocksOf(config.block_sizes, kernel);
  CheckBlock({names.q, blocks.q}, {"q_len", config.q_len},
             QLiesInLanes(config.block_sizes, kernel) ? kQInLanes : kQInSublanes);
  CheckBlock({names.kv, blocks.kv}, {"kv_len", config.kv_len}, kKvInLanes);
  CheckBlock({names.kv_compute, blocks.kv_compute}, {names.kv, blocks.kv}, kKvInLanes);
  CheckBytes(8 * static_cast<double>(blocks.q) * static_cast<double>(blocks.kv), "a block");
}

}  // namespace

std::string_view OperandDTypeName(OperandDType dtype) {
  return dtype == OperandDType::kBFloat16 ? "bfloat16" : "float32";
}

OperandDType OperandDTypeFromName(std::string_view name) {
  if (name == "bfloat16") return OperandDType::kBFloat16;
  if (name == "float32") return OperandDType::kFloat32;
  Expected(fmt::format("dtype bfloat16 or float32, got '{}'", name));
}

int64_t OperandBytes(OperandDType dtype) { return dtype == OperandDType::kBFloat16 ? 2 : 4; }

std::string_view QkvLayoutName(QkvLayout layout) {
  return layout == QkvLayout::kHeadDimMinor ? "HEAD_DIM_MINOR" : "SEQ_MINOR";
}

std::array<std::pair<std::string_view, int64_t>, 8> NamedSizes(const BlockSizes& sizes) {
  return {{{"block_q", sizes.block_q},
           {"block_kv", sizes.block_kv},
           {"block_kv_compute", sizes.block_kv_compute},
           {"block_q_dkv", sizes.block_q_dkv},
           {"block_kv_dkv", sizes.block_kv_dkv},
           {"block_kv_dkv_compute", sizes.block_kv_dkv_compute},
           {"block_q_dq", sizes.block_q_dq},
           {"block_kv_dq", sizes.block_kv_dq}}};
}

std::array<std::pair<std::string_view, QkvLayout>, 3> NamedLayouts(const BlockSizes& sizes) {
  return {
      {{"q_layout", sizes.q_layout}, {"k_layout", sizes.k_layout}, {"v_layout", sizes.v_layout}}};
}

std::string_view TpuKernelName(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kFwd:
      return "fwd";
    case TpuKernel::kFwdResiduals:
      return "fwd_residuals";
    case TpuKernel::kDq:
      return "dq";
    case TpuKernel::kDkv:
      return "dkv";
    case TpuKernel::kFused:
      return "fused";
  }
  return "";
}

TpuKernel TpuKernelFromName(std::string_view name) {
  for (const TpuKernel kernel : kAllTpuKernels) {
    if (name == TpuKernelName(kernel)) return kernel;
  }
  Expected(fmt::format("a kernel fwd, fwd_residuals, dq, dkv or fused, got '{}'", name));
}

Pass PassOf(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kDq:
      return Pass::kDq;
    case TpuKernel::kDkv:
    case TpuKernel::kFused:
      return Pass::kDkv;
    default:
      return Pass::kFwd;
  }
}

KernelBlocks BlocksOf(const BlockSizes& sizes, TpuKernel kernel) {
  switch (PassOf(kernel)) {
    case Pass::kFwd:
      return {sizes.block_q, sizes.block_kv, sizes.block_kv_compute};
    case Pass::kDq:
      return {sizes.block_q_dq, sizes.block_kv_dq, sizes.block_kv_dq};
    case Pass::kDkv:
      return {sizes.block_q_dkv, sizes.block_kv_dkv, sizes.block_kv_dkv_compute};
  }
  return {};
}

bool QLiesInLanes(const BlockSizes& sizes, TpuKernel kernel) {
  return PassOf(kernel) != Pass::kFwd || sizes.q_layout == QkvLayout::kSeqMinor;
}

BlockSizes WithBlocks(BlockSizes sizes, TpuKernel kernel, const KernelBlocks& blocks) {
  switch (PassOf(kernel)) {
    case Pass::kFwd:
      std::tie(sizes.block_q, sizes.block_kv, sizes.block_kv_compute) =
          std::tie(blocks.q, blocks.kv, blocks.kv_compute);
      break;
    case Pass::kDq:
      std::tie(sizes.block_q_dq, sizes.block_kv_dq) = std::tie(blocks.q, blocks.kv);
      break;
    case Pass::kDkv:
      std::tie(sizes.block_q_dkv, sizes.block_kv_dkv, sizes.block_kv_dkv_compute) =
          std::tie(blocks.q, blocks.kv, blocks.kv_compute);
      break;
  }
  return sizes;
}

std::vector<TpuKernel> KernelsOf(const BlockSizes& sizes) {
  std::vector<TpuKernel> kernels;
  if (sizes.has_fwd()) {
    kernels.push_back(TpuKernel::kFwd);
    if (sizes.has_dkv()) kernels.push_back(TpuKernel::kFwdResiduals);
  }
  if (sizes.has_dq()) kernels.push_back(TpuKernel::kDq);
  if (sizes.has_dkv()) {
    kernels.push_back(sizes.use_fused_bwd_kernel ? TpuKernel::kFused : TpuKernel::kDkv);
  }
  return kernels;
}

int64_t KvHeadsOfPlan(const AttentionConfig& config, const PlanOptions& options) {
  return config.kv_heads == 1 ? 1 : config.kv_heads * options.head_shards;
}

void CheckAttentionConfig(const AttentionConfig& config) {
  for (const Size size :
       {Size{"batch", config.batch}, Size{"heads", config.heads}, Size{"kv_heads", config.kv_heads},
        Size{"q_len", config.q_len}, Size{"kv_len", config.kv_len},
        Size{"head_dim", config.head_dim}, Size{"head_dim_v", config.head_dim_v}}) {
    CheckAtLeastOne(size);
  }
  if (config.heads % config.kv_heads != 0) {
    Expected(fmt::format("kv_heads ({}) to divide heads ({}): {}", config.kv_heads, config.heads,
                         NearestLegal(config.kv_heads, config.heads, {})));
  }
  const BlockSizes& sizes = config.block_sizes;
  if (sizes.use_fused_bwd_kernel && sizes.has_dq()) {
    Expected("no block sizes for dq with the fused backward kernel");
  }
  if (sizes.has_fwd()) {
    CheckKernel(config, TpuKernel::kFwd, {"block_q", "block_kv", "block_kv_compute"});
  }
  if (sizes.has_dq()) {
    CheckKernel(config, TpuKernel::kDq, {"block_q_dq", "block_kv_dq", "block_kv_dq"});
  }
  if (sizes.has_dkv()) {
    CheckKernel(config, TpuKernel::kDkv, {"block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"});
  }
  CheckOperands(config);
}

PassTables TablesOf(const MaskInfo& info, const PlanOptions& options) {
  const auto operand = [&](const std::optional<Table>& table) -> std::optional<TableOperand> {
    if (!table) return std::nullopt;
    const auto& shape = table->shape();
    return TableOperand{
        table->dtype(),
        {shape[0] / options.head_shards, shape[1] / options.q_seq_shards, shape[2]}};
  };
  return {operand(info.data_next), operand(info.block_mask), operand(info.mask_next),
          info.partial_mask_blocks ? info.partial_mask_blocks->count() : 0,
          info.q_sequence.has_value()};
}

}  // namespace splashmask
