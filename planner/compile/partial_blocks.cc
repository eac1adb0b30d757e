// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/partial_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>

#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

bool SameBits(BitRows a, BitRows b, int64_t rows) {
  return std::memcmp(a.words, b.words, static_cast<size_t>(rows * a.stride) * 8) == 0;
}

RectClass ClassOf(AnyAll bits) {
  return !bits.any ? RectClass::kEmpty : bits.all ? RectClass::kFull : RectClass::kPartial;
}

}  // namespace

BlockGrid PartialBlocks::Find(const Analysis& analysis, const KnownRows* known_rows,
                              const Progress& progress, Counters& counters) {
  constexpr double kClassified = 0.2;
  const DraftGrid draft = ClassifyBlocks(analysis, block_, known_rows, progress, counters);
  progress.Report(kClassified);
  const Progress drawing = progress.Part(kClassified, 1);
  Slots slots = FindSlots(analysis, block_, draft, known_rows, store_.keep().any(), drawing);
  DrawSlots(analysis, drawing, counters, slots.slots);
  return Finish(draft, slots, analysis.shape().kv_len / block_.kv);
}

/// Slots drawn in one go, into memory that all waves share. Neighbours in a block row may be drawn
/// together, as one wide rectangle, some rows at a time.
struct PartialBlocks::Wave {
  std::span<Slot> slots;
  std::vector<size_t> group_begin;  // Of each such rectangle, then the number of slots.
  int64_t piece_rows, pieces;       // Into which each is cut.
  std::vector<AnyAll> found;        // Of each piece of each slot.
  std::vector<uint64_t> hashes;
  uint64_t* memory;
  int64_t row_words, block_words;

  Wave(std::span<Slot> wave_slots, size_t most_together, BlockShape block, uint64_t* wave_memory)
      : slots(wave_slots),
        hashes(wave_slots.size()),
        memory(wave_memory),
        row_words(WordsFor(block.kv)),
        block_words(block.q * row_words) {
    for (size_t begin = 0, end = 0; begin < slots.size(); begin = end) {
      group_begin.push_back(begin);
      const bool is_known = slots[begin].known_id != kNone;
      while (end < slots.size() && end - begin < (is_known ? 1 : most_together) &&
             slots[end].row == slots[begin].row && (end == begin || slots[end].known_id == kNone) &&
             slots[end].column - slots[begin].column == static_cast<int64_t>(end - begin)) {
        ++end;
      }
    }
    group_begin.push_back(slots.size());
    // Of wide ones as much as the nearest cache holds.
    constexpr int64_t kCells = int64_t{1} << 19;
    const auto width = static_cast<int64_t>(most_together) * block.kv;
    piece_rows = std::clamp<int64_t>(kCells / std::max<int64_t>(width, 1), 1, block.q);
    pieces = (block.q + piece_rows - 1) / piece_rows;
    found.resize(slots.size() * static_cast<size_t>(pieces));
  }

  int64_t groups() const { return std::ssize(group_begin) - 1; }
  BitRows block(size_t i) const {
    return {memory + static_cast<int64_t>(i) * block_words, row_words};
  }
  std::span<AnyAll> found_of(size_t i) {
    return std::span(found).subspan(i * static_cast<size_t>(pieces), static_cast<size_t>(pieces));
  }
};

void PartialBlocks::DrawSlots(const Analysis& analysis, const Progress& progress,
                              Counters& counters, std::vector<Slot>& slots) {
  if (slots.empty()) return;  // Blocks without bits may be of any size.
  if (!FitsInMemory(static_cast<ByteCount>(block_.q) * WordsFor(block_.kv) * 8)) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[compile] expected a partial block that fits in memory, got {} x {} "
                            "cells: use smaller blocks",
                            block_.q, block_.kv));
  }
  const int64_t block_words = block_.q * WordsFor(block_.kv);
  const int64_t together =
      block_.kv % 64 == 0 ? std::max<int64_t>(1, analysis.DrawWidth() / block_.kv) : 1;
  // What stays in the cache until it is stored; of wide rectangles most leaves no trace.
  const int64_t wave_bytes = int64_t{together == 1 ? 8 : 32} << 20;
  const size_t most = std::max<int64_t>(1, wave_bytes / (8 * block_words));
  const size_t size = std::min(most, slots.size());
  const auto memory = AllocateBytes(static_cast<int64_t>(size) * block_words * 8);

  for (size_t begin = 0; begin < slots.size(); begin += size) {
    progress.ThrowIfStopped();
    const size_t count = std::min(size, slots.size() - begin);
    Wave wave(std::span<Slot>(slots).subspan(begin, count), static_cast<size_t>(together), block_,
              reinterpret_cast<uint64_t*>(memory.get()));
    const auto drawn = std::count_if(wave.slots.begin(), wave.slots.end(),
                                     [](const Slot& slot) { return slot.known_id == kNone; });
    counters.blocks_drawn += drawn;
    counters.cells += drawn * block_.q * block_.kv;
    DrawWave(analysis, wave);
    if (store_.keep().any()) NumberWave(wave);
    progress.Report(static_cast<double>(begin + count) / static_cast<double>(slots.size()));
  }
}

void PartialBlocks::DrawWave(const Analysis& analysis, Wave& wave) const {
  ParallelFor(wave.groups() * wave.pieces, [&](int64_t index) {
    const int64_t piece = index % wave.pieces;
    const size_t group = static_cast<size_t>(index / wave.pieces);
    if (wave.slots[wave.group_begin[group]].known_id != kNone) return;
    DrawPiece(analysis, wave, wave.group_begin[group], wave.group_begin[group + 1], piece);
    if (wave.pieces == 1) {
      for (size_t i = wave.group_begin[group]; i < wave.group_begin[group + 1]; ++i) {
        Conclude(wave, i);
      }
    }
  });
  if (wave.pieces == 1) return;
  ParallelFor(std::ssize(wave.slots), [&](int64_t i) { Conclude(wave, static_cast<size_t>(i)); });
}

// Rows of the slots [begin, end). What is all alike leaves no trace but in `found`.
void PartialBlocks::DrawPiece(const Analysis& analysis, Wave& wave, size_t begin, size_t end,
                              int64_t piece) const {
  const int64_t first_row = piece * wave.piece_rows;
  const int64_t rows = std::min(wave.piece_rows, block_.q - first_row);
  std::vector<int64_t> q(static_cast<size_t>(rows));
  std::iota(q.begin(), q.end(), wave.slots[begin].row * block_.q + first_row);
  const KvRange kv{wave.slots[begin].column * block_.kv,
                   (wave.slots[end - 1].column + 1) * block_.kv};
  const auto rows_of = [&](size_t i) {
    return BitRows{wave.block(i).row(first_row), wave.row_words};
  };
  if (end - begin == 1) {
    analysis.Draw(q, kv, rows_of(begin));
    wave.found_of(begin)[piece] = TestBits(rows_of(begin), rows, block_.kv);
    return;
  }
  const int64_t stride = static_cast<int64_t>(end - begin) * wave.row_words;
  const auto scratch = std::make_unique_for_overwrite<uint64_t[]>(rows * stride);
  const auto found = std::make_unique<AnyAll[]>(end - begin);
  analysis.Draw(q, kv, {scratch.get(), stride});
  TestBits({scratch.get(), stride}, rows, block_.kv, static_cast<int64_t>(end - begin),
           found.get());
  for (size_t i = begin; i < end; ++i) {
    wave.found_of(i)[piece] = found[i - begin];
    if (ClassOf(found[i - begin]) != RectClass::kPartial) continue;
    const BitRows drawn{scratch.get() + static_cast<int64_t>(i - begin) * wave.row_words, stride};
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(drawn.row(r), wave.row_words, rows_of(i).row(r));
    }
  }
}

// Sets the class of a slot of which all pieces have been drawn and, when it is partial, its hash.
void PartialBlocks::Conclude(Wave& wave, size_t i) const {
  if (wave.slots[i].known_id != kNone) return;
  AnyAll found;
  for (const AnyAll& piece : wave.found_of(i)) {
    found.any |= piece.any;
    found.all &= piece.all;
  }
  wave.slots[i].block_class = ClassOf(found);
  if (wave.slots[i].block_class != RectClass::kPartial) return;
  for (int64_t piece = 0; piece < wave.pieces; ++piece) {
    const AnyAll& part = wave.found_of(i)[piece];
    if (ClassOf(part) == RectClass::kPartial) continue;
    const int64_t end = std::min((piece + 1) * wave.piece_rows, block_.q);
    for (int64_t r = piece * wave.piece_rows; r < end; ++r) {
      FillRow(wave.block(i).row(r), block_.kv, part.all);
    }
  }
  wave.hashes[i] = HashBits(wave.block(i), block_.q);
}

void PartialBlocks::NumberWave(const Wave& wave) {
  // In the order of first occurrence, by one thread: that is JAX's order.
  const int64_t wave_begin = count_;
  std::vector<size_t> fresh;  // The wave's slot that each new number stands for.
  for (size_t i = 0; i < wave.slots.size(); ++i) {
    Slot& slot = wave.slots[i];
    if (slot.block_class != RectClass::kPartial) continue;
    if (slot.known_id == kNone) slot.known_id = FindKnown(wave.hashes[i], wave.block(i));
    if (slot.known_id != kNone) {
      if (number_of_known_.empty()) number_of_known_.resize(known_.blocks.count(), kNone);
      int32_t& number = number_of_known_[slot.known_id];
      if (number == kNone) {
        number = static_cast<int32_t>(count_++);
        fresh.push_back(i);
        store_.StoreKnown(number, known_.blocks, slot.known_id);
      }
      slot.id = number;
      continue;
    }
    slot.id = drawn_.Find(wave.hashes[i], [&](int32_t id) {
      return id < wave_begin
                 ? store_.Equals(id, wave.block(i))
                 : SameBits(wave.block(fresh[id - wave_begin]), wave.block(i), block_.q);
    });
    if (slot.id != kNone) continue;
    slot.id = static_cast<int32_t>(count_++);
    fresh.push_back(i);
    drawn_.Add(wave.hashes[i], slot.id);
  }
  const auto is_known = [&](size_t i) { return wave.slots[i].known_id != kNone; };
  if (std::all_of(fresh.begin(), fresh.end(), is_known)) return;
  store_.Reserve(count_);
  ParallelFor(std::ssize(fresh), [&](int64_t i) {
    if (!is_known(fresh[i])) store_.Store(wave_begin + i, wave.block(fresh[i]));
  });
}

// The number that a drawn block has among the known ones.
int32_t PartialBlocks::FindKnown(uint64_t hash, BitRows drawn) {
  if (known_.blocks.count() == 0) return kNone;
  if (!known_index_) known_index_ = known_.blocks.Index(known_.Numbers());
  return known_index_->Find(hash, [&](int32_t id) { return known_.blocks.Equals(id, drawn); });
}

BlockGrid PartialBlocks::Finish(const DraftGrid& draft, const Slots& slots, int64_t columns) const {
  BlockGrid grid;
  grid.columns = columns;
  grid.row_begin.push_back(0);
  grid.runs.reserve(draft.runs.size());
  const auto append = [&](int64_t begin, int64_t end, BlockClass block_class, int32_t id) {
    const bool row_is_empty = static_cast<int64_t>(grid.runs.size()) == grid.row_begin.back();
    if (!row_is_empty && grid.runs.back().end == begin &&
        grid.runs.back().block_class == block_class && grid.runs.back().id == id) {
      grid.runs.back().end = static_cast<int32_t>(end);
    } else {
      grid.runs.push_back(
          {static_cast<int32_t>(begin), static_cast<int32_t>(end), block_class, id});
    }
  };
  for (int64_t row = 0; row < draft.rows(); ++row) {
    int64_t next = slots.row_begin[row];
    for (const DraftRun& run : draft.row(row)) {
      if (!NeedsSlot(run.block_class, store_.keep().any())) {
        const bool full = run.block_class == RectClass::kFull;
        append(run.begin, run.end, full ? BlockClass::kFull : BlockClass::kPartial, kNone);
        continue;
      }
      const int64_t width = run.alike ? run.end - run.begin : 1;
      for (int64_t column = run.begin; column < run.end; column += width) {
        const Slot& slot = slots.slots[slots.slot_of[next++]];
        if (slot.block_class == RectClass::kEmpty) continue;
        const bool full = slot.block_class == RectClass::kFull;
        append(column, column + width, full ? BlockClass::kFull : BlockClass::kPartial, slot.id);
      }
    }
    grid.row_begin.push_back(static_cast<int64_t>(grid.runs.size()));
  }
  return grid;
}

}  // namespace splashmask
