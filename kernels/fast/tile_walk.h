// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiles that the rows of a task visit, in the order of their positions. Private to kernels/.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "splashmask/kernels/fast/task.h"

namespace splashmask::fast {

/// kv positions of a tile: their weights stay in the first cache beside a panel.
inline constexpr int64_t kTile = 128;

/// The visits of some rows, in the order of positions, as far as they are not done.
struct VisitQueue {
  std::span<const Visit> left;
  bool is_begun = false;
};

/// Some positions of one block, and where the next tile begins.
struct Tile {
  int64_t kv = 0, count = 0;
  int64_t next_kv = 0, next_count = 0;  ///< 0: it is the last.
  int64_t block_begin = 0;
  bool begins_block = false, ends_block = false;

  /// The visit that the tile is a part of; null: these rows do not visit it.
  const Visit* VisitOf(const VisitQueue& queue) const {
    const bool is_there = !queue.left.empty() && queue.left.front().kv_begin == block_begin;
    return is_there ? &queue.left.front() : nullptr;
  }
  /// Of rows that visit it: whether they have visited nothing before, and will nothing after.
  bool IsFirstOf(const VisitQueue& queue) const { return begins_block && !queue.is_begun; }
  bool IsLastOf(const VisitQueue& queue) const { return ends_block && queue.left.size() == 1; }
};

/// Calls work(tile) for every tile that any of `groups` visits, each of which has a VisitQueue,
/// `visits`, of blocks of one length. The queues are empty in the end.
template <class Group, class Work>
void ForEachTile(std::span<Group> groups, const Work& work) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  // Where the first visits begin that are left, one of each queue that begins at `done` aside.
  const auto next_begin = [&](int64_t done) {
    int64_t begin = kNone;
    for (const Group& group : groups) {
      const std::span<const Visit> left = group.visits.left;
      const size_t next = !left.empty() && left.front().kv_begin == done ? 1 : 0;
      if (next < left.size()) begin = std::min(begin, left[next].kv_begin);
    }
    return begin;
  };
  int64_t length = 0;  // Of every block.
  for (const Group& group : groups) {
    if (!group.visits.left.empty()) length = group.visits.left.front().kv_count;
  }
  for (int64_t begin = next_begin(kNone); begin != kNone;) {
    const int64_t next = next_begin(begin);
    for (int64_t at = 0; at < length; at += kTile) {
      const bool is_last = at + kTile >= length;
      const int64_t next_kv = is_last ? next : begin + at + kTile;
      const int64_t next_left = is_last ? (next == kNone ? 0 : length) : length - at - kTile;
      work(Tile{begin + at, std::min(kTile, length - at), next_kv, std::min(kTile, next_left),
                begin, at == 0, is_last});
    }
    for (Group& group : groups) {
      VisitQueue& visits = group.visits;
      if (visits.left.empty() || visits.left.front().kv_begin != begin) continue;
      visits.left = visits.left.subspan(1);
      visits.is_begun = true;
    }
    begin = next;
  }
}

}  // namespace splashmask::fast
