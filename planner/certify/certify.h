// SPDX-License-Identifier: Apache-2.0
#pragma once
// Proof that a plan's tables say exactly what its mask says.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// The first thing found wrong with a plan. Passes are looked at in the order fwd, dq, dkv,
/// tokamax/fwd, tokamax/dkv; in each, mask_function, q_sequence, is_dynamic_mask, block_mask,
/// data_next (of tokamax active_rows, active_cols, num_active_blocks), partial_mask_blocks,
/// mask_next; in each of those first presence, dtype and shape, then elements in C order (stored
/// blocks by the first place of the mask that has each). Where passes are of simplified masks,
/// "simplify" comes before them all: a cell in which a head's simplified mask, on which which heads
/// share tables and what the kernel computes depend, differs from its mask.
struct Mismatch {
  Pass pass = Pass::kFwd;
  bool is_tokamax = false;  ///< The pass is one of tokamax's dialect.
  std::string table;        ///< One of the names above, or "simplify".
  /// Where in that table; empty when the whole table is wrong (absent, or another dtype or shape).
  /// A column beyond those of a partial block is a pad bit.
  std::vector<int64_t> index;
  /// A position of the mask that shows it, where there is one.
  std::optional<int64_t> head, q, kv;
  std::string expected, got;

  /// "fwd", "tokamax/fwd", ...: the pass as plan files name it.
  std::string PassPath() const;
  /// One line that names the place and both values.
  std::string ToString() const;
};

/// Half-open ranges of positions, in order.
using EmptyRanges = std::vector<std::pair<int64_t, int64_t>>;

/// Rows (q) and columns (kv) of one distinct mask that attend to nothing.
struct EmptyLines {
  int64_t head = 0;  ///< The first head that has this mask.
  EmptyRanges rows, columns;
};

struct Certificate {
  std::optional<Mismatch> mismatch;  ///< nullopt: every entry of every table is right.
  std::vector<EmptyLines> empty;     ///< One for each distinct mask that has any; needs a pass.
  /// Cells of all distinct masks, once for each block shape; partial blocks are read once more.
  /// Those of a mask that simplifying changes once more, too.
  int64_t cells = 0;
  int64_t entries = 0;  ///< Elements of tables and of q_sequence compared.
};

struct CertifyOptions {
  int threads = 0;  ///< 0: as many as the machine has.
  Progress progress = {};
};

/// Evaluates every cell of every distinct mask and compares every table of every pass: each block's
/// class, each partial block's bits, each next index and pad, q_sequence, dtypes, shapes, and which
/// fields are absent. It shares no code with Compile or with the rectangle, run and bit code of
/// masks/. A pass that the plan lacks is not looked for. The result does not depend on the number
/// of threads. Throws kInvalidArgument when the plan's options cannot belong to its mask (blocks or
/// shards that do not divide, a dq pass with use_fused_bwd_kernel, several masks beside tokamax's
/// lists), kTooLarge, kCancelled.
Certificate Certify(const Plan& plan, const CertifyOptions& options = {});

}  // namespace splashmask
