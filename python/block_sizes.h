// SPDX-License-Identifier: Apache-2.0
#pragma once
// Block sizes as Python hands them in.

#include <array>
#include <cstdint>

#include "splashmask/planner/cost/attention_config.h"

namespace splashmask::python {

/// Those of one kernel. `blocks` are its q, kv and kv_compute; `seq_minor` says of q, k and v
/// whether the sequence is the fastest axis.
inline BlockSizes ToBlockSizes(TpuKernel kernel, const std::array<int64_t, 3>& blocks,
                               const std::array<bool, 3>& seq_minor) {
  const auto layout = [&](size_t i) {
    return seq_minor[i] ? QkvLayout::kSeqMinor : QkvLayout::kHeadDimMinor;
  };
  BlockSizes sizes = WithBlocks({}, kernel, {blocks[0], blocks[1], blocks[2]});
  sizes.use_fused_bwd_kernel = kernel == TpuKernel::kFused;
  sizes.q_layout = layout(0);
  sizes.k_layout = layout(1);
  sizes.v_layout = layout(2);
  return sizes;
}

}  // namespace splashmask::python
