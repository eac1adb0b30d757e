// SPDX-License-Identifier: Apache-2.0
#pragma once
// Segment ids of packed documents -> block tables, a batch at a time.

#include <cstdint>
#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask {

/// int32[batch, length], C-contiguous, borrowed. Tokens with equal ids belong to one document,
/// wherever in the sequence they are; ids may be negative and in any order.
struct SegmentIds {
  const int32_t* ids = nullptr;
  int64_t batch = 0;
  int64_t length = 0;
};

struct PackedOptions {
  BlockShape fwd;                     ///< For the forward and dq kernels.
  std::optional<BlockShape> dkv;      ///< The same as fwd by default.
  std::optional<int64_t> width;       ///< Columns of the fwd tables.
  std::optional<int64_t> height;      ///< Rows of the dkv tables.
  std::optional<int32_t> pad = 0;     ///< The id of padding; nullopt: every token is in a document.
  bool use_fused_bwd_kernel = false;  ///< Then dkv is not shrunk.
  bool downcast_smem_data = true;
  int threads = 0;  ///< 0: as many as the machine has.
};

/// The tables of one pass: [batch, q blocks, width] for fwd, [batch, height, kv blocks] for dkv.
/// JAX's kernel takes the slice of one sequence with a leading axis of 1, for all heads.
struct PackedPass {
  BlockShape block;
  Table data_next;
  /// 0: may be skipped; 1: must be visited. There are no partial blocks: the kernel applies segment
  /// ids and the mask function wherever it goes.
  Table block_mask;

  friend bool operator==(const PackedPass&, const PackedPass&) = default;
};

struct PackedTables {
  PackedPass fwd;
  PackedPass dkv;
  Array q_sequence;    ///< int32[length], the same for every sequence.
  Mask mask_function;  ///< The mask that the kernel has to compute.
};

/// Tables for `batch` sequences whose tokens see those of the same document that `mask` lets them
/// see; `mask` is [length, length] and depends on q - kv alone (full, causal, local, stride and
/// their combinations), as positions are those of the whole sequence. A block is visited if and
/// only if it holds a visible pair of a document, or a (p, p) of padding: a padded row without any
/// block would be NaN in the kernel, and poison the gradients of what follows.
///
/// Shapes and dtypes depend on `options`, `mask` and the length, never on the ids, so that a jitted
/// step is compiled once: the tables are as wide as the mask alone needs (every block a row of
/// blocks may visit, for causal all of them), unless `options` says how wide, and hold the smallest
/// type for the number of blocks. Entries follow JAX's shrunk tables: fwd rows are padded with
/// zeros on the right, dkv columns at the top; the unshrunk dkv tables of the fused backward name
/// the next visited block and wrap around at the end of the sequence.
///
/// Throws kInvalidArgument when the mask tells positions apart or hides a token from itself, when
/// blocks do not divide the length, and when a sequence does not fit in the given width or height:
/// the message names the sequence and what it needs. kTooLarge when memory does not suffice.
/// The result does not depend on the number of threads. Reads the ids once.
PackedTables CompilePacked(const SegmentIds& segment_ids, const Mask& mask,
                           const PackedOptions& options);

}  // namespace splashmask
