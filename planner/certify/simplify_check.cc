// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/simplify_check.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <unordered_set>

#include "splashmask/masks/node.h"
#include "splashmask/planner/certify/cells.h"
#include "splashmask/planner/certify/describe.h"

namespace splashmask::certify {

namespace {

constexpr int64_t kRowsAtOnce = 256;

struct Difference {
  int64_t q, kv;
  bool expected;
};

// The first column of row `q` where two masks differ.
std::optional<Difference> DifferenceInRow(CellReader& mask, CellReader& simple, int64_t q,
                                          int64_t kv_len) {
  uint64_t cells[kTileCells / 64], simple_cells[kTileCells / 64];
  for (int64_t kv = 0; kv < kv_len; kv += kTileCells) {
    const int64_t count = std::min(kTileCells, kv_len - kv);
    mask.Read(q, kv, count, cells);
    simple.Read(q, kv, count, simple_cells);
    for (int64_t i = 0; i < WordsFor(count); ++i) {
      const uint64_t different = cells[i] ^ simple_cells[i];
      if (different == 0) continue;
      const int bit = std::countr_zero(different);
      return Difference{q, kv + 64 * i + bit, (cells[i] >> bit & 1) != 0};
    }
  }
  return std::nullopt;
}

std::optional<Difference> FirstDifference(const Mask& mask, const Mask& simple,
                                          RowProgress& progress) {
  const Shape shape = mask.shape();
  const CellProgram program(mask), simple_program(simple);
  std::optional<Difference> first;
  std::mutex mutex;
  const int64_t parts = (shape.q_len - 1) / kRowsAtOnce + 1;
  tbb::parallel_for(tbb::blocked_range<int64_t>(0, parts), [&](const auto& range) {
    CellReader reader(program), simple_reader(simple_program);
    for (int64_t part = range.begin(); part < range.end(); ++part) {
      std::optional<Difference> found;
      const int64_t end = std::min((part + 1) * kRowsAtOnce, shape.q_len);
      for (int64_t q = part * kRowsAtOnce; q < end && !found; ++q) {
        found = DifferenceInRow(reader, simple_reader, q, shape.kv_len);
      }
      if (found) {
        const std::lock_guard lock(mutex);
        if (!first || found->q < first->q) first = found;
      }
      progress.FinishRow();
    }
  });
  return first;
}

}  // namespace

SimplifyCheck::SimplifyCheck(const MultiHeadMask& mask, const MultiHeadMask& simple)
    : shape_(mask.shape()) {
  std::unordered_set<const MaskNode*> seen;  // Heads mostly share a node.
  for (int64_t head = 0; head < mask.num_heads(); ++head) {
    const Mask& before = mask.masks()[static_cast<size_t>(head)];
    const Mask& after = simple.masks()[static_cast<size_t>(head)];
    if (!seen.insert(&before.node()).second || before == after) continue;
    const bool is_known = std::ranges::any_of(changed_, [&](const Changed& known) {
      return known.mask == before && known.simple == after;
    });
    if (!is_known) changed_.push_back({head, before, after});
  }
}

int64_t SimplifyCheck::CountRows() const {
  return ((shape_.q_len - 1) / kRowsAtOnce + 1) * std::ssize(changed_);
}

int64_t SimplifyCheck::CountCells() const {
  return shape_.q_len * shape_.kv_len * std::ssize(changed_);
}

std::optional<Mismatch> SimplifyCheck::Run(RowProgress& progress) const {
  for (const Changed& changed : changed_) {
    const std::optional<Difference> first = FirstDifference(changed.mask, changed.simple, progress);
    if (!first) continue;
    Mismatch mismatch = Wrong("simplify", first->expected ? "1" : "0", first->expected ? "0" : "1");
    mismatch.head = changed.head;
    mismatch.q = first->q;
    mismatch.kv = first->kv;
    return mismatch;
  }
  return std::nullopt;
}

}  // namespace splashmask::certify
