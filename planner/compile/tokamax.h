// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mask -> the block lists that tokamax's splash attention reads.

#include "splashmask/masks/mask.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/progress.h"
#include "splashmask/planner/tokamax_mask_info.h"

namespace splashmask {

/// What to compile.
struct TokamaxOptions : TokamaxPassOptions {
  bool is_dkv = false;
  int threads = 0;  ///< 0: as many as the machine has.
  Progress progress;
};

/// Compiles one pass. Every field equals what tokamax 0.0.12's `process_mask` (or, with is_dkv,
/// `process_mask_dkv`) returns: values, shapes, dtypes, which fields are None, the order of
/// partial_mask_blocks. Positions are exact, where tokamax's may wrap in int32. The result does not
/// depend on the number of threads.
///
/// Throws kInvalidArgument when a block does not divide its axis or shards do not divide;
/// kTooLarge, before allocating, with the bytes that the lists would take; kCancelled.
TokamaxPass CompileTokamax(const Mask& mask, const TokamaxOptions& options,
                           CompileStats* stats = nullptr);

}  // namespace splashmask
