// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fields of a pass in the order and form in which files and digests hold them. Private to io/.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/planner/plan.h"

namespace splashmask {

/// The datasets that a pass can have.
inline constexpr const char *kDataNext = "data_next", *kMaskNext = "mask_next",
                            *kBlockMask = "block_mask", *kPartialMaskBlocks = "partial_mask_blocks",
                            *kQSequence = "q_sequence", *kMaskFunction = "mask_function";
/// Those that only a pass in tokamax's dialect can have.
inline constexpr const char *kActiveRows = "active_rows", *kActiveCols = "active_cols",
                            *kNumActiveBlocks = "num_active_blocks";
/// The group of the passes in tokamax's dialect.
inline constexpr const char* kTokamax = "tokamax";

/// One field that is present.
struct StoredField {
  std::string name;
  std::string dtype;                  ///< For the content digest: "bool" for packed bits, "utf8".
  std::vector<int64_t> shape;         ///< For the content digest.
  DType stored_dtype;                 ///< Of the dataset; unused for text.
  std::vector<int64_t> stored_shape;  ///< Of the dataset.
  std::span<const std::byte> table;   ///< The bytes, unless the field is text.
  std::string text;                   ///< mask_function's text form.

  bool is_text() const { return name == kMaskFunction; }
  std::span<const std::byte> bytes() const {
    return is_text() ? std::as_bytes(std::span(text)) : table;
  }
};

/// Calls `visit` for each field of `pass` that is present, in the order of the content digest.
void ForEachField(const CompiledPass& pass, const std::function<void(const StoredField&)>& visit);
void ForEachField(const TokamaxPass& pass, const std::function<void(const StoredField&)>& visit);

/// The dataset shape of bools of that shape, packed along the last axis.
std::vector<int64_t> PackedShape(std::vector<int64_t> shape);

}  // namespace splashmask
