// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/block_truth.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>

#include "splashmask/planner/certify/leaves.h"

namespace splashmask::certify {

namespace {

// Whether `matches(word, mask)` holds for each word of `bits` that overlaps [begin, end), where
// mask has the bits in range.
template <typename Matches>
bool EachWord(const std::vector<uint64_t>& bits, int64_t begin, int64_t end, Matches matches) {
  for (int64_t word = begin / 64; word <= (end - 1) / 64; ++word) {
    uint64_t mask = ~uint64_t{0};
    if (word == begin / 64) mask &= ~uint64_t{0} << (begin % 64);
    if (word == (end - 1) / 64) mask &= ~uint64_t{0} >> (63 - (end - 1) % 64);
    if (!matches(bits[static_cast<size_t>(word)], mask)) return false;
  }
  return true;
}

// Every cell of one block row, reduced along q.
struct RowOfBlocks {
  explicit RowOfBlocks(int64_t kv_len)
      : any(static_cast<size_t>(WordsFor(kv_len))), all(static_cast<size_t>(WordsFor(kv_len))) {}

  std::vector<uint64_t> any, all;  // Bit kv: some row, every row sees that column.
};

// Reads rows [q_begin, q_end) tile by tile, so that a tile of any and all stays in L1. `row_sees`
// collects, for each q, whether it sees anything.
void ReadRows(CellReader& reader, int64_t q_begin, int64_t q_end, int64_t kv_len, RowOfBlocks* row,
              uint8_t* row_sees) {
  uint64_t cells[kTileCells / 64];
  std::fill(row->any.begin(), row->any.end(), 0);
  std::fill(row->all.begin(), row->all.end(), ~uint64_t{0});
  for (int64_t kv = 0; kv < kv_len; kv += kTileCells) {
    const int64_t count = std::min(kTileCells, kv_len - kv);
    uint64_t* any = row->any.data() + kv / 64;
    uint64_t* all = row->all.data() + kv / 64;
    for (int64_t q = q_begin; q < q_end; ++q) {
      reader.Read(q, kv, count, cells);
      uint64_t seen = 0;
      for (int64_t i = 0; i < WordsFor(count); ++i) {
        any[i] |= cells[i];
        all[i] &= cells[i];
        seen |= cells[i];
      }
      row_sees[q] |= seen != 0;
    }
  }
}

BlockClass Classify(const RowOfBlocks& row, int64_t begin, int64_t end) {
  if (EachWord(row.all, begin, end, [](uint64_t all, uint64_t mask) { return !(~all & mask); })) {
    return BlockClass::kFull;
  }
  if (EachWord(row.any, begin, end, [](uint64_t any, uint64_t mask) { return !(any & mask); })) {
    return BlockClass::kEmpty;
  }
  return BlockClass::kPartial;
}

// Bits that many threads set. Block rows mostly repeat each other, so a look spares the write.
void MergeBits(const std::vector<uint64_t>& bits, std::vector<std::atomic<uint64_t>>* merged) {
  for (size_t i = 0; i < bits.size(); ++i) {
    std::atomic<uint64_t>& word = (*merged)[i];
    if ((bits[i] & ~word.load(std::memory_order_relaxed)) != 0) {
      word.fetch_or(bits[i], std::memory_order_relaxed);
    }
  }
}

// The maximal ranges of [0, length) in which `is_empty` holds.
template <typename IsEmpty>
EmptyRanges RangesOf(int64_t length, IsEmpty is_empty) {
  EmptyRanges ranges;
  for (int64_t i = 0; i < length; ++i) {
    if (!is_empty(i)) continue;
    if (!ranges.empty() && ranges.back().second == i) {
      ++ranges.back().second;
    } else {
      ranges.emplace_back(i, i + 1);
    }
  }
  return ranges;
}

}  // namespace

void RowProgress::FinishRow() {
  progress_.ThrowIfStopped();
  done_.fetch_add(1, std::memory_order_relaxed);
  if (!progress_.report) return;
  // A thread that finds another one reporting has nothing newer worth waiting for.
  if (std::unique_lock lock(mutex_, std::try_to_lock); lock.owns_lock()) {
    progress_.Report(static_cast<double>(done_.load()) / static_cast<double>(total_));
  }
}

BlockTruth::BlockTruth(const std::vector<CellProgram>& programs, Shape shape, BlockShape block,
                       RowProgress& progress)
    : programs_(&programs), shape_(shape), block_(block) {
  classes_.resize(static_cast<size_t>(masks() * q_blocks() * kv_blocks()));
  for (const CellProgram& program : programs) {
    const int64_t first_class = std::ssize(empty_) * q_blocks() * kv_blocks();
    // One byte a row: threads write to different rows.
    std::vector<uint8_t> row_sees(static_cast<size_t>(shape.q_len));
    std::vector<std::atomic<uint64_t>> columns_seen(static_cast<size_t>(WordsFor(shape.kv_len)));
    tbb::parallel_for(tbb::blocked_range<int64_t>(0, q_blocks()), [&](const auto& range) {
      CellReader reader(program);
      RowOfBlocks row(shape.kv_len);
      for (int64_t i = range.begin(); i < range.end(); ++i) {
        ReadRows(reader, i * block.q, (i + 1) * block.q, shape.kv_len, &row, row_sees.data());
        BlockClass* classes = classes_.data() + first_class + i * kv_blocks();
        for (int64_t j = 0; j < kv_blocks(); ++j) {
          classes[j] = Classify(row, j * block.kv, (j + 1) * block.kv);
        }
        MergeBits(row.any, &columns_seen);
        progress.FinishRow();
      }
    });
    auto sees_nothing = [&](int64_t q) { return row_sees[static_cast<size_t>(q)] == 0; };
    auto is_unseen = [&](int64_t kv) {
      return (columns_seen[static_cast<size_t>(kv / 64)].load() >> (kv % 64) & 1) == 0;
    };
    empty_.push_back({RangesOf(shape.q_len, sees_nothing), RangesOf(shape.kv_len, is_unseen)});
  }
}

BlockAt BlockTruth::At(int64_t index) const {
  const int64_t q_row = index / kv_blocks();
  return {q_row / q_blocks(), q_row % q_blocks(), index % kv_blocks()};
}

}  // namespace splashmask::certify
