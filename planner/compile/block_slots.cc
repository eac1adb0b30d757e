// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/block_slots.h"

#include <xxhash.h>

#include <algorithm>
#include <functional>
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
constexpr int64_t kBandRows = 32;
int64_t Bands(int64_t rows) { return (rows + kBandRows - 1) / kBandRows; }

void ForEachBand(int64_t rows, const Progress& progress,
                 const std::function<void(int64_t band, int64_t begin, int64_t end)>& work) {
  ParallelFor(Bands(rows), [&](int64_t band) {
    progress.ThrowIfStopped();
    work(band, band * kBandRows, std::min(rows, (band + 1) * kBandRows));
  });
}

// What one band knows of its blocks.
class BandSlots {
 public:
  // The slot, among those of the band, of a block.
  int32_t SlotOf(const Analysis& analysis, BlockShape block, int64_t row, int64_t column,
                 RectClass block_class) {
    key_.clear();
    const auto fresh = static_cast<int32_t>(slots.size());
    const RectKey* stored_key = nullptr;
    int32_t slot = fresh;
    if (analysis.AppendKey({row * block.q, block.q, 1},
                           {column * block.kv, (column + 1) * block.kv}, &key_)) {
      const auto [entry, inserted] = index_.try_emplace(key_, fresh);
      stored_key = &entry->first;
      slot = entry->second;
    }
    if (slot == fresh) {
      slots.push_back({row, column, block_class});
      keys.push_back(stored_key);
    }
    return slot;
  }

  std::vector<Slot> slots;
  std::vector<const RectKey*> keys;  // nullptr for a block without a key.

 private:
  KeyIndex index_;
  RectKey key_;
};

}  // namespace

Slots FindSlots(const Analysis& analysis, BlockShape block, const DraftGrid& draft, bool numbered,
                const Progress& progress) {
  Slots result;
  result.row_begin.assign(1, 0);
  for (int64_t row = 0; row < draft.rows(); ++row) {
    int64_t count = 0;
    for (const DraftRun& run : draft.row(row)) {
      if (NeedsSlot(run.block_class, numbered)) count += run.alike ? 1 : run.end - run.begin;
    }
    result.row_begin.push_back(result.row_begin.back() + count);
  }
  result.slot_of.resize(static_cast<size_t>(result.row_begin.back()));

  // Each band finds its own slots; then the bands' slots are joined in order.
  std::vector<BandSlots> bands(static_cast<size_t>(Bands(draft.rows())));
  ForEachBand(draft.rows(), progress, [&](int64_t band, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t next = result.row_begin[row];
      for (const DraftRun& run : draft.row(row)) {
        if (!NeedsSlot(run.block_class, numbered)) continue;
        const int64_t last = run.alike ? run.begin + 1 : run.end;
        for (int64_t column = run.begin; column < last; ++column) {
          result.slot_of[next++] =
              bands[band].SlotOf(analysis, block, row, column, run.block_class);
        }
      }
    }
  });

  KeyIndex index;
  std::vector<std::vector<int32_t>> joined(bands.size());
  for (size_t band = 0; band < bands.size(); ++band) {
    const BandSlots& local = bands[band];
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

}  // namespace splashmask
