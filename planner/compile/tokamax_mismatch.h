// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a plan's tokamax lists are what the compiler makes of its mask.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// The first difference found. Passes are looked at in the order fwd, dkv; in each, mask_function,
/// q_sequence, block_mask, active_rows, active_cols, num_active_blocks, partial_mask_blocks,
/// mask_next; in each of those first presence, dtype and shape, then elements in C order.
struct TokamaxMismatch {
  Pass pass = Pass::kFwd;
  std::string table;  ///< One of the names above.
  /// Where in that table; empty when the whole table is wrong (absent, or another dtype or shape).
  /// A column beyond those of a partial block is a pad bit.
  std::vector<int64_t> index;
  std::string expected, got;

  /// "tokamax/fwd" or "tokamax/dkv".
  std::string PassPath() const;
  /// One line that names the place and both values.
  std::string ToString() const;
};

/// Compiles each tokamax pass of `plan` anew and compares; nullopt when all are equal, and for a
/// plan without any. It finds what was changed after compiling. It is no proof as Certify's is: an
/// error of the compiler would be made twice.
///
/// Throws kInvalidArgument when heads have several masks, and as CompileTokamax does.
std::optional<TokamaxMismatch> FindTokamaxMismatch(const Plan& plan, int threads = 0,
                                                   const Progress& progress = {});

}  // namespace splashmask
