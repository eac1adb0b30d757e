// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the body of a Mosaic (Pallas TPU) custom call says of its grid and blocks.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

/// The blocks of one operand or result.
struct MosaicWindow {
  std::vector<int64_t> bounds;  ///< The block's shape; empty where the kernel gives none.
  std::string transform;        ///< The function from grid indices to block indices: "transform_0".
  std::string pipeline_mode;    ///< "synchronous" for a single buffer; empty for the default, two.

  bool operator==(const MosaicWindow&) const = default;
};

/// A kernel's configuration.
struct MosaicKernel {
  std::string function;                   ///< "main", or the kernel's name in newer versions.
  std::vector<int64_t> iteration_bounds;  ///< The grid.
  std::vector<std::string>
      dimension_semantics;      ///< "parallel" or "arbitrary", a grid dimension each.
  int64_t scalar_prefetch = 0;  ///< Operands that are prefetched into SMEM: the first.
  int64_t scratch_operands = 0;
  std::vector<MosaicWindow> windows;  ///< Of the other operands, then of the results.
};

/// The kernel, or why it cannot be read: bodies are MLIR bytecode, whose dialects change with every
/// compiler.
struct MosaicBody {
  std::optional<MosaicKernel> kernel;
  std::string reason;  ///< Empty when there is a kernel.
};

/// Reads MLIR bytecode. Throws nothing.
MosaicBody ReadMosaicBody(std::string_view bytecode);

}  // namespace splashmask
