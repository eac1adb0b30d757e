// SPDX-License-Identifier: Apache-2.0
#pragma once
// The call of JAX's splash attention in a program that XLA compiled, as its buffers show it.

#include <cstdint>
#include <string>
#include <vector>

#include "splashmask/io/xla/xla_buffers.h"
#include "splashmask/planner/cost/attention_config.h"

namespace splashmask {

/// One call of the forward kernel, and how the program was compiled.
struct SplashCall {
  std::string kernel;         ///< "splash_mha_fwd_no_residuals".
  std::vector<int64_t> grid;  ///< With a batch in front where the call is vmapped.
  /// block_kv_compute and soft_cap are not among the buffers: block_kv and false.
  AttentionConfig config;
  bool residuals = false;
  bool tables_are_arguments = false;
  bool uses_faster_memory = false;  ///< An array lies elsewhere than in HBM.
  int64_t prefetch_tables = 0;      ///< Pointers in HBM of what XLA copies ahead of the kernel.
};

/// Throws kInvalidArgument, with what is there, for a program that does not call the forward kernel
/// exactly once or another splash attention kernel too, and for a call whose body or operands
/// cannot be read.
SplashCall FindSplashCall(const XlaBuffers& buffers);

/// Whether a value is part of what XLA copies to faster memory ahead of the kernel, whole or in
/// slices.
bool IsPrefetch(const XlaBuffers& buffers, const XlaValue& value);

}  // namespace splashmask
