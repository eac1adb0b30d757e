// SPDX-License-Identifier: Apache-2.0
#pragma once
// The documents of one packed sequence, as runs of positions. Private to compile.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"

namespace splashmask {

/// Keeps its memory from one sequence to the next.
class PackedDocuments {
 public:
  /// Finds the documents of `ids`, int32[length], length >= 1.
  void Read(const int32_t* ids, int64_t length);

  int64_t count() const { return static_cast<int64_t>(documents_.size()); }
  int32_t id(int64_t document) const { return documents_[document].id; }
  /// Every run of the document's positions, in order; at least one.
  std::span<const Run> runs(int64_t document) const {
    const auto [id, begin, end] = documents_[document];
    return std::span(runs_).subspan(begin, end - begin);
  }

 private:
  struct Document {
    int32_t id;
    size_t begin, end;  // Of its runs.
  };

  std::vector<int32_t> starts_;  // Of the runs of equal ids.
  std::vector<uint64_t> order_;  // Those runs by id, then by position.
  std::vector<Run> runs_;        // In that order.
  std::vector<Document> documents_;
};

}  // namespace splashmask
