// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/partial_blocks.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>
#include <unordered_map>

#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

struct HashKey {
  size_t operator()(const RectKey& key) const {
    return XXH3_64bits(key.data(), key.size() * sizeof(int64_t));
  }
};
using KeyIndex = std::unordered_map<RectKey, int32_t, HashKey>;

// Rows are handled in bands, each by one thread.
constexpr int64_t kBand = 32;
int64_t Bands(int64_t rows) { return (rows + kBand - 1) / kBand; }

void ForEachBand(int64_t rows, const Progress& progress,
                 const std::function<void(int64_t band, int64_t begin, int64_t end)>& work) {
  ParallelFor(Bands(rows), [&](int64_t band) {
    progress.ThrowIfStopped();
    work(band, band * kBand, std::min(rows, (band + 1) * kBand));
  });
}

bool SameBits(BitRows a, BitRows b, int64_t rows, int64_t words) {
  return std::memcmp(a.words, b.words, static_cast<size_t>(rows * words) * sizeof(uint64_t)) == 0;
}

}  // namespace

BlockGrid PartialBlocks::Settle(const Analysis& analysis, const DraftGrid& draft,
                                const Progress& progress, Counters& counters) {
  Slots slots = FindSlots(analysis, draft, progress);
  DrawSlots(analysis, progress, counters, slots.slots);
  return Finish(draft, slots, analysis.shape().kv_len / block_.kv);
}

PartialBlocks::Slots PartialBlocks::FindSlots(const Analysis& analysis, const DraftGrid& draft,
                                              const Progress& progress) const {
  Slots result;
  result.row_begin.assign(1, 0);
  for (int64_t row = 0; row < draft.rows(); ++row) {
    int64_t count = 0;
    for (const auto& run : draft.row(row)) {
      if (NeedsSlot(run.block_class)) count += run.end - run.begin;
    }
    result.row_begin.push_back(result.row_begin.back() + count);
  }
  result.slot_of.resize(static_cast<size_t>(result.row_begin.back()));

  // Each band finds its own slots; then the bands' slots are joined in order.
  struct LocalSlots {
    KeyIndex index;
    std::vector<Slot> slots;
    std::vector<const RectKey*> keys;  // nullptr for a block without a key.
  };
  std::vector<LocalSlots> locals(static_cast<size_t>(Bands(draft.rows())));
  ForEachBand(draft.rows(), progress, [&](int64_t band, int64_t begin, int64_t end) {
    LocalSlots& local = locals[band];
    RectKey key;
    for (int64_t row = begin; row < end; ++row) {
      int64_t next = result.row_begin[row];
      for (const auto& run : draft.row(row)) {
        if (!NeedsSlot(run.block_class)) continue;
        for (int64_t column = run.begin; column < run.end; ++column) {
          key.clear();
          const auto fresh = static_cast<int32_t>(local.slots.size());
          const bool has_key = analysis.AppendKey(
              {row * block_.q, block_.q, 1}, {column * block_.kv, (column + 1) * block_.kv}, &key);
          const RectKey* stored_key = nullptr;
          int32_t slot = fresh;
          if (has_key) {
            const auto [entry, inserted] = local.index.try_emplace(key, fresh);
            stored_key = &entry->first;
            slot = entry->second;
          }
          if (slot == fresh) {
            local.slots.push_back({row, column, run.block_class});
            local.keys.push_back(stored_key);
          }
          result.slot_of[next++] = slot;
        }
      }
    }
  });

  KeyIndex index;
  std::vector<std::vector<int32_t>> joined(locals.size());
  for (size_t band = 0; band < locals.size(); ++band) {
    const LocalSlots& local = locals[band];
    for (size_t i = 0; i < local.slots.size(); ++i) {
      const auto fresh = static_cast<int32_t>(result.slots.size());
      const int32_t slot =
          local.keys[i] == nullptr ? fresh : index.try_emplace(*local.keys[i], fresh).first->second;
      if (slot == fresh) result.slots.push_back(local.slots[i]);
      joined[band].push_back(slot);
    }
  }
  ForEachBand(draft.rows(), progress, [&](int64_t band, int64_t begin, int64_t end) {
    for (int64_t i = result.row_begin[begin]; i < result.row_begin[end]; ++i) {
      result.slot_of[i] = joined[band][result.slot_of[i]];
    }
  });
  return result;
}

/// Slots drawn together, into memory that all waves share.
struct PartialBlocks::Wave {
  std::span<Slot*> slots;
  uint64_t* words;  // Of all blocks, one after another.
  int64_t row_words, block_words;
  std::span<uint64_t> hashes;

  BitRows block(int64_t index) const { return {words + index * block_words, row_words}; }
};

void PartialBlocks::DrawSlots(const Analysis& analysis, const Progress& progress,
                              Counters& counters, std::vector<Slot>& slots) {
  std::vector<Slot*> pending(slots.size());
  std::transform(slots.begin(), slots.end(), pending.begin(), [](Slot& slot) { return &slot; });

  const int64_t row_words = WordsFor(block_.kv);
  const int64_t block_words = block_.q * row_words;
  constexpr int64_t kWaveBytes = int64_t{32} << 20;
  const size_t most = std::max<int64_t>(1, kWaveBytes / (8 * block_words));
  const size_t size = std::min(most, pending.size());
  const auto memory = AllocateBytes(static_cast<int64_t>(size) * block_words * 8);
  std::vector<uint64_t> hashes(size);

  for (size_t begin = 0; begin < pending.size(); begin += size) {
    progress.ThrowIfStopped();
    const size_t count = std::min(size, pending.size() - begin);
    const Wave wave{std::span(pending).subspan(begin, count),
                    reinterpret_cast<uint64_t*>(memory.get()), row_words, block_words,
                    std::span(hashes).first(count)};
    DrawWave(analysis, wave);
    if (store_.keep().any()) NumberWave(wave);
    counters.blocks_drawn += static_cast<int64_t>(count);
    counters.cells += static_cast<int64_t>(count) * block_.q * block_.kv;
    progress.Report(static_cast<double>(begin + count) / static_cast<double>(pending.size()));
  }
}

void PartialBlocks::DrawWave(const Analysis& analysis, const Wave& wave) const {
  ParallelFor(std::ssize(wave.slots), [&](int64_t i) {
    Slot& slot = *wave.slots[i];
    std::vector<int64_t> q(static_cast<size_t>(block_.q));
    std::iota(q.begin(), q.end(), slot.row * block_.q);
    const BitRows bits = wave.block(i);
    analysis.Draw(q, {slot.column * block_.kv, (slot.column + 1) * block_.kv}, bits);
    const AnyAll found = TestBits(bits, block_.q, block_.kv);
    slot.block_class = !found.any  ? RectClass::kEmpty
                       : found.all ? RectClass::kFull
                                   : RectClass::kPartial;
    wave.hashes[i] = XXH3_64bits(bits.words, static_cast<size_t>(wave.block_words) * 8);
  });
}

void PartialBlocks::NumberWave(const Wave& wave) {
  // In the order of first occurrence, by one thread: that is JAX's order.
  const int64_t wave_begin = count_;
  std::vector<int64_t> fresh;  // The wave's block that each new id stands for.
  for (int64_t i = 0; i < std::ssize(wave.slots); ++i) {
    if (wave.slots[i]->block_class != RectClass::kPartial) continue;
    const auto [entry, inserted] = newest_.try_emplace(wave.hashes[i], -1);
    int32_t id = entry->second;
    while (id >= 0 && !(id < wave_begin ? store_.Equals(id, wave.block(i))
                                        : SameBits(wave.block(fresh[id - wave_begin]),
                                                   wave.block(i), block_.q, wave.row_words))) {
      id = older_[id];
    }
    if (id < 0) {
      id = static_cast<int32_t>(count_++);
      older_.push_back(entry->second);
      entry->second = id;
      fresh.push_back(i);
    }
    wave.slots[i]->id = id;
  }
  store_.Reserve(count_);
  ParallelFor(std::ssize(fresh),
              [&](int64_t i) { store_.Store(wave_begin + i, wave.block(fresh[i])); });
}

BlockGrid PartialBlocks::Finish(const DraftGrid& draft, const Slots& slots, int64_t columns) const {
  BlockGrid grid;
  grid.columns = columns;
  grid.row_begin.push_back(0);
  grid.partial_begin.push_back(0);
  const auto append = [&](int64_t begin, int64_t end, BlockClass block_class) {
    const bool row_is_empty = static_cast<int64_t>(grid.runs.size()) == grid.row_begin.back();
    if (!row_is_empty && grid.runs.back().end == begin &&
        grid.runs.back().block_class == block_class) {
      grid.runs.back().end = static_cast<int32_t>(end);
    } else {
      grid.runs.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(end), block_class});
    }
  };
  for (int64_t row = 0; row < draft.rows(); ++row) {
    int64_t next = slots.row_begin[row];
    for (const auto& run : draft.row(row)) {
      if (!NeedsSlot(run.block_class)) {
        append(run.begin, run.end,
               run.block_class == RectClass::kFull ? BlockClass::kFull : BlockClass::kPartial);
        continue;
      }
      for (int64_t column = run.begin; column < run.end; ++column) {
        const Slot& slot = slots.slots[slots.slot_of[next++]];
        if (slot.block_class == RectClass::kEmpty) continue;
        const bool full = slot.block_class == RectClass::kFull;
        append(column, column + 1, full ? BlockClass::kFull : BlockClass::kPartial);
        if (slot.id >= 0) grid.partial_ids.push_back(slot.id);
      }
    }
    grid.row_begin.push_back(static_cast<int64_t>(grid.runs.size()));
    grid.partial_begin.push_back(static_cast<int64_t>(grid.partial_ids.size()));
  }
  return grid;
}

}  // namespace splashmask
