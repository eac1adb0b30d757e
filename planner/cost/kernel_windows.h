// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a splash attention kernel keeps in VMEM and SMEM by name: blocks of its operands and
// results.

#include <cstdint>
#include <string_view>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"

namespace splashmask {

/// One operand's or result's place in VMEM.
struct KernelWindow {
  std::string_view name;  ///< As the kernel's arguments are called: "q", "k", "logsumexp", ...
  int64_t rows = 0, columns = 0;
  int64_t element_bytes = 4;
  /// Two, so that the next block is copied meanwhile; accumulators have one, in a batch two.
  int buffers = 2;
  /// The whole operand, padded: where XLA keeps it in VMEM the window is not needed.
  int64_t operand_bytes = 0;

  /// Of all its buffers; rows and columns are padded to the tiles of VMEM, 8 by 128 words.
  int64_t bytes() const;
};

/// The windows of one kernel, in the order of its arguments. Source: the block shapes that JAX
/// 0.10.2's kernel declares; that the compiler takes two buffers of each block, and one of what has
/// one block in the whole grid, is held against libtpu's sizes by a test.
std::vector<KernelWindow> KernelWindows(TpuKernel kernel, const AttentionConfig& config,
                                        const PassTables& tables);

}  // namespace splashmask
