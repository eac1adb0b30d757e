// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/known_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace splashmask {

KnownRows::KnownRows(const Source& source, std::vector<bool> is_known, int64_t columns)
    : is_known_(std::move(is_known)),
      rows_(is_known_.size()),
      columns_(columns),
      is_dkv_(source.is_dkv),
      blocks_(source.pass.info.partial_mask_blocks) {
  const MaskInfo& info = source.pass.info;
  const int64_t head = source.table_head;
  const int64_t height = info.block_mask->shape()[1], width = info.block_mask->shape()[2];
  const auto see = [&](int64_t row, int64_t column, int64_t i, int64_t j) {
    const int32_t block_class = info.block_mask->At(head, i, j);
    const bool partial = block_class == static_cast<int32_t>(BlockClass::kPartial);
    Append(row, column, block_class,
           partial && info.mask_next ? info.mask_next->At(head, i, j) : kNone);
  };
  // Where a block is visible, data_next is its own index along the axis that may be shrunk.
  if (!is_dkv_) {
    for (int64_t i = 0; i < height; ++i) {
      for (int64_t j = 0; j < width; ++j) see(i, info.data_next->At(head, i, j), i, j);
    }
    return;
  }
  const int64_t rows_per_shard = std::ssize(is_known_) / source.q_seq_shards;
  const int64_t entries_per_shard = height / source.q_seq_shards;
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t i = 0; i < height; ++i) {
      const int64_t first = i / entries_per_shard * rows_per_shard;
      see(first + info.data_next->At(head, i, j), j, i, j);
    }
  }
}

void KnownRows::Append(int64_t row, int64_t column, int32_t block_class, int32_t id) {
  const bool is_empty = block_class == static_cast<int32_t>(BlockClass::kEmpty);
  if (is_empty || column >= columns_ || !has(row)) return;
  std::vector<GridRun>& runs = rows_[static_cast<size_t>(row)];
  const auto known = static_cast<BlockClass>(block_class);
  const auto at = static_cast<int32_t>(column);
  if (!runs.empty() && runs.back().end == at && runs.back().block_class == known &&
      runs.back().id == id) {
    ++runs.back().end;
  } else {
    runs.push_back({at, at + 1, known, id});
  }
}

int64_t KnownRows::count() const { return std::count(is_known_.begin(), is_known_.end(), true); }

void KnownRows::Draw(int32_t id, int64_t first, int64_t count, BitRows out) const {
  const auto unpack = [&](int64_t row, uint64_t* words, int64_t bits) {
    std::fill_n(words, WordsFor(bits), 0);
    std::memcpy(words, blocks_->block(id) + row * blocks_->row_bytes(),
                static_cast<size_t>(blocks_->row_bytes()));
  };
  if (!is_dkv_) {
    for (int64_t r = 0; r < count; ++r) unpack(first + r, out.row(r), blocks_->columns());
    return;
  }
  // The stored rows are columns.
  const int64_t in_words = WordsFor(blocks_->columns()), out_words = WordsFor(blocks_->rows());
  std::vector<uint64_t> stored(static_cast<size_t>(blocks_->rows() * in_words));
  const BitRows in{stored.data(), in_words};
  for (int64_t r = 0; r < blocks_->rows(); ++r) unpack(r, in.row(r), blocks_->columns());
  std::vector<uint64_t> turned(static_cast<size_t>(blocks_->columns() * out_words));
  const BitRows whole{turned.data(), out_words};
  TransposeBits(in, blocks_->rows(), blocks_->columns(), whole);
  for (int64_t r = 0; r < count; ++r) std::copy_n(whole.row(first + r), out_words, out.row(r));
}

}  // namespace splashmask
