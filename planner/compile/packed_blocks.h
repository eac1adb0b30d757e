// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which blocks of one packed sequence must be visited. Private to compile.

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/compile/distances.h"
#include "splashmask/planner/compile/packed_documents.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask {

/// A bit for each block of one sequence. Keeps its memory from one sequence to the next.
class PackedBlocks {
 public:
  /// `block` divides `length` on both axes.
  PackedBlocks(BlockShape block, int64_t length);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  bool Has(int64_t row, int64_t column) const {
    return (bits(row)[column / 64] >> (column % 64) & 1) != 0;
  }
  int64_t CountRow(int64_t row) const;
  /// Calls visit(column) for the blocks of a row that must be visited, from left to right.
  template <typename Visit>
  void ForEachInRow(int64_t row, Visit&& visit) const;

  /// Marks the blocks that hold a pair of one document whose distance is in `distances`, and those
  /// that hold a (p, p) of the document `pad`; no others.
  void Set(const PackedDocuments& documents, const Distances& distances,
           std::optional<int32_t> pad);
  /// The same for a sequence that is one document.
  void SetWhole(const Distances& distances);

 private:
  using RunSpan = std::span<const Run>;

  void Clear();
  void MarkDocument(RunSpan runs, const Distances& distances);
  void MarkDiagonal(RunSpan runs);
  void MarkWindow(RunSpan q_runs, RunSpan kv_runs, int64_t nearest, int64_t farthest);
  void MarkPairs(RunSpan runs, const Progression& distances);
  void MarkResidues(RunSpan runs, const Progression& distances);
  void MarkRange(int64_t row, int64_t first, int64_t last);
  void MarkTouched(int64_t row, int64_t first, int64_t last);

  uint64_t* bits(int64_t row) { return bits_.data() + row * words_; }
  const uint64_t* bits(int64_t row) const { return bits_.data() + row * words_; }

  BlockShape block_;
  int64_t length_, rows_, columns_, words_;
  std::vector<uint64_t> bits_;     // rows_ x words_
  std::vector<uint64_t> touched_;  // The kv blocks in which a document has a token.
  std::vector<Run> tokens_;        // Of a document, by residue.
};

template <typename Visit>
void PackedBlocks::ForEachInRow(int64_t row, Visit&& visit) const {
  const uint64_t* words = bits(row);
  for (int64_t w = 0; w < words_; ++w) {
    for (uint64_t word = words[w]; word != 0; word &= word - 1) {
      visit(w * 64 + std::countr_zero(word));
    }
  }
}

}  // namespace splashmask
