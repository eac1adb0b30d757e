// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/copied_bytes.h"

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

// Of one position of one head: a tile of HBM has 128 lanes, and 8 sublanes of 32 bits.
double RowBytes(int64_t dim, QkvLayout layout, int64_t item) {
  const int64_t padded = layout == QkvLayout::kHeadDimMinor
                             ? RoundedUp(dim, kLanes)
                             : RoundedUp(dim, kSublanes * kWordBytes / item);
  return static_cast<double>(padded * item);
}

// XLA keeps what has a head dimension of no whole number of lanes with its positions minor.
QkvLayout KeptLayout(int64_t dim) {
  return dim % kLanes == 0 ? QkvLayout::kHeadDimMinor : QkvLayout::kSeqMinor;
}

// What the fused kernel writes of dq for each kv block: q's type, but tokamax keeps float32 where
// more than four are added.
int64_t PartialDqItem(const AttentionConfig& config, SplashLibrary library) {
  const int64_t kv_blocks = config.kv_len / config.block_sizes.block_kv_dkv;
  return library == SplashLibrary::kTokamax && kv_blocks > 4 ? kWordBytes
                                                             : OperandBytes(config.dtype);
}

}  // namespace

double CopiedBytes(TpuKernel kernel, const AttentionConfig& config, const StepCounts& counts,
                   SplashLibrary library) {
  const int64_t item = OperandBytes(config.dtype);
  const BlockSizes& sizes = config.block_sizes;
  const KernelBlocks blocks = BlocksOf(sizes, kernel);
  const auto q = static_cast<double>(blocks.q), kv = static_cast<double>(blocks.kv);
  const double q_row = RowBytes(config.head_dim, sizes.q_layout, item);
  const double kv_rows = RowBytes(config.head_dim, sizes.k_layout, item) +
                         RowBytes(config.head_dim_v, sizes.v_layout, item);
  const double dim_row = RowBytes(config.head_dim, QkvLayout::kHeadDimMinor, item);
  const double dim_v_row = RowBytes(config.head_dim_v, QkvLayout::kHeadDimMinor, item);
  constexpr double kAcrossLanes = kLanes * kWordBytes, kAcrossSublanes = kSublanes * kWordBytes;
  const bool is_dkv = PassOf(kernel) == Pass::kDkv;

  double q_bytes = 0, kv_bytes = kv_rows, bytes = 0;
  switch (PassOf(kernel)) {
    case Pass::kFwd: {
      // tokamax has the largest logits beside logsumexp.
      const double residuals = library == SplashLibrary::kTokamax ? 2 : 1;
      q_bytes = q_row + dim_v_row;
      if (kernel == TpuKernel::kFwdResiduals) q_bytes += residuals * kAcrossLanes;
      break;
    }
    case Pass::kDq:  // q, do, logsumexp, di, dq.
      q_bytes = q_row + dim_v_row + 2 * kAcrossSublanes + dim_row;
      break;
    case Pass::kDkv:  // q, do, logsumexp, di; k, v, dk, dv.
      q_bytes = q_row + dim_v_row + 2 * kAcrossSublanes;
      kv_bytes += dim_row + dim_v_row;
      break;
  }
  bytes += static_cast<double>(counts.q_copies) * q * q_bytes;
  bytes += static_cast<double>(counts.kv_copies) * kv * kv_bytes;
  if (kernel == TpuKernel::kFused) {  // A block of dq for each step, skipped or not.
    const double row =
        static_cast<double>(RoundedUp(config.head_dim, kLanes) * PartialDqItem(config, library));
    bytes += static_cast<double>(counts.steps()) * q * row;
  }
  const double position_row = is_dkv ? kAcrossSublanes : kAcrossLanes;
  const int operands = static_cast<int>(counts.computes_mask) + static_cast<int>(config.segments);
  bytes += operands * static_cast<double>(counts.q_only_copies) * q * position_row;
  if (config.segments) {
    const double row = is_dkv ? kAcrossLanes : kAcrossSublanes;
    bytes += static_cast<double>(counts.kv_only_copies) * kv * row;
  }
  // Bools enter as int32.
  return bytes + static_cast<double>(counts.partial_copies) * q * kv * kWordBytes;
}

PassBytes BytesAround(TpuKernel kernel, const AttentionConfig& config, const CallOptions& options) {
  const int64_t item = OperandBytes(config.dtype);
  const BlockSizes& sizes = config.block_sizes;
  const auto heads = static_cast<double>(config.batch * config.heads * config.q_len);
  const auto kv_heads = static_cast<double>(config.batch * config.kv_heads * config.kv_len);
  PassBytes passes;
  const auto move = [&](double positions, int64_t dim, QkvLayout to, bool is_scaled = false) {
    const QkvLayout kept = KeptLayout(dim);
    const double bytes = positions * (RowBytes(dim, kept, item) + RowBytes(dim, to, item));
    if (!options.is_length_major) {
      // Only what the caller asked for: the kernel swaps axes of an operand that came without.
      if (to == QkvLayout::kSeqMinor && kept == QkvLayout::kHeadDimMinor) passes.transpose += bytes;
    } else if (kept == QkvLayout::kSeqMinor && to == QkvLayout::kSeqMinor) {
      if (is_scaled) passes.stream += bytes;
    } else {
      (kept == to ? passes.copy : passes.transpose) += bytes;
    }
  };
  constexpr QkvLayout kMinor = QkvLayout::kHeadDimMinor;
  if (kernel == TpuKernel::kDq) {  // Its operands are those of dkv, which are counted there.
    if (options.is_length_major) move(heads, config.head_dim, kMinor);
    return passes;
  }
  move(heads, config.head_dim, sizes.q_layout, true);
  move(kv_heads, config.head_dim, sizes.k_layout);
  move(kv_heads, config.head_dim_v, sizes.v_layout);
  move(heads, config.head_dim_v, kMinor);  // out, or do.
  if (PassOf(kernel) == Pass::kFwd) {
    // Residuals leave the kernel along 128 lanes, and one is kept.
    const double residuals = options.library == SplashLibrary::kTokamax ? 2 : 1;
    if (kernel == TpuKernel::kFwdResiduals)
      passes.stream += heads * residuals * kLanes * kWordBytes;
    return passes;
  }
  if (kernel == TpuKernel::kFused) move(heads, config.head_dim, kMinor);  // dq
  move(kv_heads, config.head_dim, kMinor);                                // dk
  move(kv_heads, config.head_dim_v, kMinor);                              // dv
  // di, the sums of out * do over rows; XLA also writes out in float32 where it rearranges it.
  const QkvLayout kept = KeptLayout(config.head_dim_v);
  passes.stream += heads * 2 * RowBytes(config.head_dim_v, kept, item);
  if (options.is_length_major) {
    const auto wide = static_cast<double>(RoundedUp(config.head_dim_v, kLanes) * kWordBytes);
    passes.stream += heads * wide * (kept == kMinor ? 2 : 4);
  }
  if (kernel == TpuKernel::kFused) {  // The parts of dq are added.
    const int64_t kv_blocks = config.kv_len / sizes.block_kv_dkv;
    const int64_t parts = kv_blocks > 1 ? kv_blocks * PartialDqItem(config, options.library) : item;
    passes.stream +=
        heads * static_cast<double>(RoundedUp(config.head_dim, kLanes) * (parts + item));
  }
  return passes;
}

}  // namespace splashmask
