// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/packed_temporaries.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

// Hands out the smallest free piece that is large enough, else new bytes at the end.
class BestFitHeap {
 public:
  int64_t Allocate(int64_t bytes) {
    auto best = free_.end();
    for (auto piece = free_.begin(); piece != free_.end(); ++piece) {
      if (Size(piece) >= bytes && (best == free_.end() || Size(piece) < Size(best))) best = piece;
    }
    if (best == free_.end()) {
      const int64_t begin = RoundedUp(end_, kTemporaryAlignment);
      end_ = begin + bytes;
      return begin;
    }
    const auto [begin, end] = *best;
    free_.erase(best);
    const int64_t rest = RoundedUp(begin + bytes, kTemporaryAlignment);
    if (rest < end) free_[rest] = end;
    return begin;
  }

  // A piece ends where what was in it ends: padding is free only between two of them.
  void Free(int64_t begin, int64_t bytes) {
    auto piece = free_.emplace(begin, begin + bytes).first;
    Merge(piece, std::next(piece));
    if (piece != free_.begin()) Merge(std::prev(piece), piece);
  }

  int64_t end() const { return end_; }

 private:
  using Pieces = std::map<int64_t, int64_t>;  // By their begin, their end.

  static int64_t Size(Pieces::iterator piece) { return piece->second - piece->first; }
  void Merge(Pieces::iterator piece, Pieces::iterator next) {
    if (next == free_.end() || RoundedUp(piece->second, kTemporaryAlignment) != next->first) return;
    piece->second = next->second;
    free_.erase(next);
  }

  Pieces free_;
  int64_t end_ = 0;
};

using Temporaries = std::vector<PackedTemporary>;

// XLA's list scheduler: of the instructions that are ready that comes next which takes the fewest
// bytes more than it frees, and of equal ones that which was ready last.
std::vector<size_t> ScheduledOperands(const Temporaries& temporaries) {
  std::vector<size_t> ready, scheduled;
  const auto add_ready = [&](std::optional<size_t> source) {
    for (size_t i = 0; i < temporaries.size(); ++i) {
      const PackedTemporary& each = temporaries[i];
      if (each.lifetime == Lifetime::kOperand && each.made_from == source) ready.push_back(i);
    }
  };
  const auto cost = [&](size_t i) {
    const PackedTemporary& each = temporaries[i];
    return each.bytes - (each.made_from ? temporaries[*each.made_from].bytes : 0);
  };
  add_ready(std::nullopt);
  while (!ready.empty()) {
    const auto next =
        std::min_element(ready.rbegin(), ready.rend(),
                         [&](size_t left, size_t right) { return cost(left) < cost(right); });
    scheduled.push_back(*next);
    ready.erase(std::prev(next.base()));
    add_ready(scheduled.back());
  }
  return scheduled;
}

}  // namespace

int64_t PackedBytes(const Temporaries& temporaries) {
  BestFitHeap heap;
  std::map<size_t, int64_t> begins;  // Of those that are needed.
  const auto release = [&](size_t i) {
    heap.Free(begins.at(i), temporaries[i].bytes);
    begins.erase(i);
  };
  const auto allocate = [&](size_t i) {
    begins[i] = heap.Allocate(temporaries[i].bytes);
    if (temporaries[i].made_from) release(*temporaries[i].made_from);
  };
  const auto allocate_all = [&](Lifetime lifetime) {
    for (size_t i = 0; i < temporaries.size(); ++i) {
      if (temporaries[i].lifetime == lifetime) allocate(i);
    }
  };
  for (const size_t i : ScheduledOperands(temporaries)) allocate(i);
  allocate_all(Lifetime::kLateOperand);
  allocate_all(Lifetime::kScratch);
  allocate_all(Lifetime::kResult);
  for (size_t i = 0; i < temporaries.size(); ++i) {
    if (begins.contains(i) && temporaries[i].lifetime != Lifetime::kResult) release(i);
  }
  allocate_all(Lifetime::kAfterwards);
  return heap.end();
}

}  // namespace splashmask
