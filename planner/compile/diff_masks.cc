// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/diff_masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/difference_mask.h"
#include "splashmask/planner/compile/row_counter.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

std::string Described(const MultiHeadMask& mask) {
  return fmt::format("({}, {}) with {} head{}", mask.shape().q_len, mask.shape().kv_len,
                     mask.num_heads(), mask.num_heads() == 1 ? "" : "s");
}

void Check(const MultiHeadMask& a, const MultiHeadMask& b) {
  const Shape shape = a.shape();
  if (shape != b.shape() || a.num_heads() != b.num_heads()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[diff] expected masks of one shape and number of heads, got {} and {}",
                            Described(a), Described(b)));
  }
  const ByteCount cells =
      static_cast<ByteCount>(shape.q_len) * static_cast<ByteCount>(shape.kv_len);
  if (cells > static_cast<ByteCount>(std::numeric_limits<int64_t>::max())) {
    throw Error(ErrorCode::kTooLarge, "[diff] expected fewer cells than 64 bits count");
  }
}

// The number of pairs in which a mask is true, and the first of them.
struct Pairs {
  // A pair lies in row `q` of `part`, and none in an earlier row or part.
  struct Place {
    int64_t q = 0;
    KvRange part;
    bool operator<(const Place& other) const {
      return std::pair(q, part.begin) < std::pair(other.q, other.part.begin);
    }
  };
  int64_t count = 0;
  std::optional<Place> first;

  void Add(int64_t pairs, const Place& at) {
    count += pairs;
    if (!first || at < *first) first = at;
  }
};

Pairs FindPairs(const Analysis& mask, int threads, const Progress& progress) {
  Pairs found;
  std::mutex adding;
  const auto work = [&](RowCounter& counter, int64_t begin, int64_t end) {
    Pairs of_piece;
    counter.Count(begin, end, [&](int64_t q, KvRange part, int64_t pairs) {
      of_piece.Add(pairs, {q, part});
    });
    if (!of_piece.first) return;
    const std::lock_guard lock(adding);
    found.Add(of_piece.count, *of_piece.first);
  };
  const Shape shape = mask.shape();
  ForEachRowPiece(mask, 0, shape.q_len, {0, shape.kv_len}, threads, progress, work);
  return found;
}

MaskDifference Diff(const Mask& a, const Mask& b, int threads, const Progress& progress) {
  const Mask mask = DifferenceMask(a, b);
  const auto analysis = Analyze(mask);
  const Pairs pairs = FindPairs(*analysis, threads, progress);
  if (!pairs.first) return {};
  const auto [q, part] = *pairs.first;
  Runs runs;
  analysis->ReadRuns(q, part, &runs);
  const int64_t kv = runs.front().begin;
  Analyze(a)->ReadRuns(q, {kv, kv + 1}, &runs);
  const bool in_a = !runs.empty();
  return {pairs.count, DifferingPair{q, kv, in_a, !in_a}};
}

}  // namespace

std::vector<MaskDifference> DiffMasks(const MultiHeadMask& a, const MultiHeadMask& b, int threads,
                                      const Progress& progress) {
  Check(a, b);
  using Nodes = std::pair<const MaskNode*, const MaskNode*>;
  std::map<Nodes, size_t> index_of;  // Of each pair of masks that occurs.
  std::vector<size_t> indices, first_heads;
  for (size_t head = 0; head < a.masks().size(); ++head) {
    const Nodes nodes(&a.masks()[head].node(), &b.masks()[head].node());
    const auto [at, is_new] = index_of.try_emplace(nodes, first_heads.size());
    if (is_new) first_heads.push_back(head);
    indices.push_back(at->second);
  }
  std::vector<MaskDifference> found;
  const auto share = [&](size_t i) {
    return static_cast<double>(i) / static_cast<double>(first_heads.size());
  };
  for (const size_t head : first_heads) {
    const Progress part = progress.Part(share(found.size()), share(found.size() + 1));
    found.push_back(Diff(a.masks()[head], b.masks()[head], threads, part));
  }
  std::vector<MaskDifference> of_heads;
  of_heads.reserve(indices.size());
  for (const size_t index : indices) of_heads.push_back(found[index]);
  return of_heads;
}

}  // namespace splashmask
