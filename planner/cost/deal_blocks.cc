// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/deal_blocks.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

namespace splashmask {

namespace {

struct Block {
  int64_t work, index;
  friend auto operator<=>(const Block&, const Block&) = default;
};

struct Shard {
  int64_t load = 0;
  std::vector<Block> blocks;  // Sorted once all are dealt.
};

std::vector<Shard> DealHeaviestFirst(std::span<const int64_t> work, int64_t shards) {
  std::vector<int64_t> order(work.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](int64_t block) { return work[block]; });

  std::vector<Shard> dealt(static_cast<size_t>(shards));
  std::set<std::pair<int64_t, int64_t>> with_room;  // (load, shard)
  for (int64_t shard = 0; shard < shards; ++shard) with_room.emplace(0, shard);
  const size_t room = work.size() / dealt.size();
  for (const int64_t block : order) {
    const int64_t shard = with_room.extract(with_room.begin()).value().second;
    Shard& to = dealt[shard];
    to.blocks.push_back({work[block], block});
    to.load += work[block];
    if (to.blocks.size() < room) with_room.emplace(to.load, shard);
  }
  for (Shard& shard : dealt) std::ranges::sort(shard.blocks);
  return dealt;
}

struct Exchange {
  size_t with, give, take;  // A shard, and places in the two shards' blocks.
  int64_t most;             // The load of the more loaded of the two, afterwards.
};

// The best exchange of `from` with the less loaded `to`, if it is better than `best`.
void FindExchange(const Shard& from, const Shard& to, size_t with, std::optional<Exchange>* best) {
  const int64_t gap = from.load - to.load;
  const auto consider = [&](size_t give, size_t take) {
    const int64_t moved = from.blocks[give].work - to.blocks[take].work;
    if (moved <= 0 || moved >= gap) return;
    const int64_t most = std::max(from.load - moved, to.load + moved);
    if (!*best || most < (*best)->most) *best = Exchange{with, give, take, most};
  };
  // Both are sorted: the partner that moves half the gap only goes up.
  size_t take = 0;
  for (size_t give = 0; give < from.blocks.size(); ++give) {
    const int64_t wanted = from.blocks[give].work - gap / 2;
    while (take < to.blocks.size() && to.blocks[take].work < wanted) ++take;
    if (take < to.blocks.size()) consider(give, take);
    if (take > 0) consider(give, take - 1);
  }
}

void Replace(std::vector<Block>& blocks, size_t at, Block by) {
  blocks.erase(blocks.begin() + static_cast<int64_t>(at));
  blocks.insert(std::ranges::upper_bound(blocks, by), by);
}

// Each exchange makes the sum of the squares of the loads smaller, so that it ends.
void ExchangeBlocks(std::vector<Shard>& shards) {
  while (true) {
    const auto most = std::ranges::max_element(shards, {}, &Shard::load);
    std::optional<Exchange> best;
    for (size_t i = 0; i < shards.size(); ++i) {
      if (shards[i].load < most->load) FindExchange(*most, shards[i], i, &best);
    }
    if (!best) return;
    Shard& other = shards[best->with];
    const Block given = most->blocks[best->give], taken = other.blocks[best->take];
    Replace(most->blocks, best->give, taken);
    Replace(other.blocks, best->take, given);
    most->load += taken.work - given.work;
    other.load += given.work - taken.work;
  }
}

}  // namespace

std::vector<std::vector<int64_t>> DealBlocks(std::span<const int64_t> work, int64_t shards) {
  std::vector<Shard> dealt = DealHeaviestFirst(work, shards);
  ExchangeBlocks(dealt);
  std::vector<std::vector<int64_t>> blocks;
  for (const Shard& shard : dealt) {
    std::vector<int64_t>& of_shard = blocks.emplace_back();
    for (const Block& block : shard.blocks) of_shard.push_back(block.index);
    std::ranges::sort(of_shard);
  }
  std::ranges::sort(blocks);
  return blocks;
}

}  // namespace splashmask
