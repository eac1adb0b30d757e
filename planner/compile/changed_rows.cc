// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/changed_rows.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstring>
#include <numeric>

#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

bool NamesLengths(const Predicate& predicate) {
  const auto nodes = predicate.nodes();
  return std::any_of(nodes.begin(), nodes.end(), [](const PredicateNode& node) {
    return node.op == PredicateOp::kQLen || node.op == PredicateOp::kKvLen;
  });
}

// Whether two masks say the same of every pair of integers that both may be asked about.
bool SameFunction(const Mask& before, const Mask& now) {
  if (&before.node() == &now.node()) return true;
  const MaskExpr& expr = now.node().expr;
  if (before.node().expr.index() != expr.index()) return false;
  return std::visit(
      Overloaded{
          [&](const node::Documents& a) {
            return a.lengths == std::get<node::Documents>(expr).lengths;
          },
          [&](const node::Where& a) {
            return a.predicate == std::get<node::Where>(expr).predicate &&
                   (before.shape() == now.shape() || !NamesLengths(a.predicate));
          },
          [&](const node::Not& a) { return SameFunction(a.mask, std::get<node::Not>(expr).mask); },
          [&](const node::Binary& a) {
            const auto& b = std::get<node::Binary>(expr);
            return a.op == b.op && SameFunction(a.left, b.left) && SameFunction(a.right, b.right);
          },
          [&](const auto&) { return SamePayload(before.node().expr, expr); },
      },
      before.node().expr);
}

// Half-open ranges of positions, one a document, in order.
std::vector<std::pair<int64_t, int64_t>> Ranges(const std::vector<int64_t>& lengths) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    if (length > 0) ranges.emplace_back(begin, begin + length);
    begin += length;
  }
  return ranges;
}

// The first elements of an array.
std::vector<int64_t> First(const Array& array, int64_t count) {
  std::vector<int64_t> values(static_cast<size_t>(count));
  array.Read(0, values);
  return values;
}

// The first positions of an axis.
std::vector<int64_t> First(const std::optional<node::Order>& order, int64_t count) {
  if (order) return First(order->positions, count);
  std::vector<int64_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

class RowMarker {
 public:
  RowMarker(Shape before, Shape now)
      : rows_(std::min(before.q_len, now.q_len)), columns_(std::min(before.kv_len, now.kv_len)) {}

  std::vector<uint8_t> Find(const Mask& before, const Mask& now) const {
    std::vector<uint8_t> changed(static_cast<size_t>(rows_), 0);
    Mark(before, now, &changed);
    return changed;
  }

 private:
  using Changed = std::vector<uint8_t>;

  // Recursion is bounded by kMaxMaskDepth.
  void Mark(const Mask& before, const Mask& now, Changed* changed) const {
    if (SameFunction(before, now)) return;
    if (before.node().expr.index() != now.node().expr.index()) return MarkAll(changed);
    const MaskExpr& expr = now.node().expr;
    std::visit(
        Overloaded{
            [&](const node::Documents& a) {
              MarkDocuments(a.lengths, std::get<node::Documents>(expr).lengths, changed);
            },
            [&](const node::Segments& a) {
              MarkSegments(a, std::get<node::Segments>(expr), changed);
            },
            [&](const node::Dense& a) {
              MarkCells(a.array, std::get<node::Dense>(expr).array, 1, changed);
            },
            [&](const node::Blocks& a) {
              const auto& b = std::get<node::Blocks>(expr);
              if (a.block != b.block) return MarkAll(changed);
              MarkCells(a.bits, b.bits, a.block, changed);
            },
            [&](const node::Reorder& a) {
              MarkReordered(a, std::get<node::Reorder>(expr), changed);
            },
            [&](const node::Not& a) { Mark(a.mask, std::get<node::Not>(expr).mask, changed); },
            [&](const node::Binary& a) {
              const auto& b = std::get<node::Binary>(expr);
              if (a.op != b.op) return MarkAll(changed);
              Mark(a.left, b.left, changed);
              Mark(a.right, b.right, changed);
            },
            [&](const auto&) { MarkAll(changed); },
        },
        before.node().expr);
  }

  static void MarkAll(Changed* changed) { std::fill(changed->begin(), changed->end(), 1); }

  void MarkRange(int64_t begin, int64_t end, Changed* changed) const {
    begin = std::clamp<int64_t>(begin, 0, rows_);
    end = std::clamp<int64_t>(end, begin, rows_);
    std::fill(changed->begin() + begin, changed->begin() + end, 1);
  }

  // A row sees its document: it changes where that begins or ends elsewhere.
  void MarkDocuments(const std::vector<int64_t>& before, const std::vector<int64_t>& now,
                     Changed* changed) const {
    const auto a = Ranges(before), b = Ranges(now);
    // Documents of one list that are not in the other; both are in order.
    const auto mark_missing = [&](const auto& from, const auto& in) {
      for (const auto& range : from) {
        if (!std::binary_search(in.begin(), in.end(), range)) {
          MarkRange(range.first, range.second, changed);
        }
      }
    };
    mark_missing(a, b);
    mark_missing(b, a);
  }

  // A row changes with its id, and with the columns of that id.
  void MarkSegments(const node::Segments& before, const node::Segments& now,
                    Changed* changed) const {
    if (before.pad != now.pad) return MarkAll(changed);
    boost::unordered_flat_set<int64_t> moved;
    const auto old_columns = First(before.kv_ids, columns_), columns = First(now.kv_ids, columns_);
    for (size_t c = 0; c < columns.size(); ++c) {
      if (old_columns[c] == columns[c]) continue;
      moved.insert(old_columns[c]);
      moved.insert(columns[c]);
    }
    const auto old_rows = First(before.q_ids, rows_), rows = First(now.q_ids, rows_);
    for (size_t q = 0; q < rows.size(); ++q) {
      (*changed)[q] |= rows[q] != old_rows[q] || moved.contains(rows[q]);
    }
  }

  // Bools that stand for `block` rows and columns each.
  void MarkCells(const Array& before, const Array& now, int64_t block, Changed* changed) const {
    const int64_t rows = (rows_ - 1) / block + 1, columns = (columns_ - 1) / block + 1;
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* a = before.data() + r * before.shape()[1];
      const std::byte* b = now.data() + r * now.shape()[1];
      if (std::memcmp(a, b, static_cast<size_t>(columns)) != 0) {
        MarkRange(r * block, (r + 1) * block, changed);
      }
    }
  }

  void MarkReordered(const node::Reorder& before, const node::Reorder& now,
                     Changed* changed) const {
    if (First(before.kv, columns_) != First(now.kv, columns_)) return MarkAll(changed);
    const bool same = SameFunction(before.mask, now.mask);
    if (!same && now.kv) return MarkAll(changed);  // Columns may be any that the mask has.
    Changed below(static_cast<size_t>(rows_), 0);
    if (!same) Mark(before.mask, now.mask, &below);
    const auto old_rows = First(before.q, rows_), rows = First(now.q, rows_);
    for (size_t q = 0; q < rows.size(); ++q) {
      const int64_t at = rows[q];
      const bool is_known = same || (at >= 0 && at < rows_ && below[at] == 0);
      (*changed)[q] |= at != old_rows[q] || !is_known;
    }
  }

  const int64_t rows_, columns_;
};

}  // namespace

std::vector<uint8_t> ChangedRows(const Mask& before, const Mask& now) {
  return RowMarker(before.shape(), now.shape()).Find(before, now);
}

}  // namespace splashmask
