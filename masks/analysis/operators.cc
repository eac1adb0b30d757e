// SPDX-License-Identifier: Apache-2.0
// Combinations of masks: three-valued logic on classes, merging of runs, word operations on bits.

#include <algorithm>
#include <utility>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/runs.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

RectClass Negate(RectClass c) {
  switch (c) {
    case RectClass::kEmpty:
      return RectClass::kFull;
    case RectClass::kFull:
      return RectClass::kEmpty;
    default:
      return c;
  }
}

RectClass And(RectClass a, RectClass b) {
  if (a == RectClass::kEmpty || b == RectClass::kEmpty) return RectClass::kEmpty;
  if (a == RectClass::kFull) return b;
  if (b == RectClass::kFull) return a;
  return RectClass::kUnknown;  // Two partial rectangles may still meet nowhere.
}

RectClass Combine(node::Op op, RectClass a, RectClass b) {
  switch (op) {
    case node::Op::kAnd:
      return And(a, b);
    case node::Op::kSub:
      return And(a, Negate(b));
    case node::Op::kOr:
      return Negate(And(Negate(a), Negate(b)));
    case node::Op::kXor:
      if (a == RectClass::kEmpty) return b;
      if (b == RectClass::kEmpty) return a;
      if (a == RectClass::kFull) return Negate(b);
      if (b == RectClass::kFull) return Negate(a);
      return RectClass::kUnknown;
  }
  return RectClass::kUnknown;
}

bool Holds(node::Op op, bool a, bool b) {
  switch (op) {
    case node::Op::kAnd:
      return a && b;
    case node::Op::kSub:
      return a && !b;
    case node::Op::kOr:
      return a || b;
    case node::Op::kXor:
      return a != b;
  }
  return false;
}

bool AreNeighbours(std::span<const int64_t> q) {
  for (size_t r = 1; r < q.size(); ++r) {
    if (q[r - 1] == INT64_MAX || q[r] != q[r - 1] + 1) return false;
  }
  return true;
}

void DrawNot(const Analysis& mask, std::span<const int64_t> q, KvRange kv, BitRows out) {
  mask.Draw(q, kv, out);
  for (int64_t r = 0; r < std::ssize(q); ++r) FlipBits(out.row(r), kv.size());
}

class NotAnalysis final : public Analysis {
 public:
  NotAnalysis(const Mask& mask, KvRange domain)
      : Analysis(mask.shape()), child_(Analyze(mask, domain)) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    return Negate(child_->Classify(rows, kv));
  }
  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows,
               int64_t tile_columns) const override {
    return child_->Repeats(rows, kv, tile_rows, tile_columns);
  }
  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    return child_->AppendKey(rows, kv, key);
  }
  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    Runs inner;
    child_->ReadRuns(q, kv, &inner);
    ComplementRuns(inner, kv, runs);
  }
  double RunsPerRow() const override { return child_->RunsPerRow() + 1; }
  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    DrawNot(*child_, q, kv, out);
  }
  bool DrawsStrided(KvRange span) const override { return child_->DrawsStrided(span); }
  void DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const override {
    child_->DrawStrided(q, columns, out);
    for (int64_t r = 0; r < std::ssize(q); ++r) FlipBits(out.row(r), columns.count);
  }
  int64_t DrawWidth() const override { return child_->DrawWidth(); }
  bool Scattered(int64_t begin, int64_t end) const override {
    return child_->Scattered(begin, end);
  }

 private:
  std::unique_ptr<const Analysis> child_;
};

class BinaryAnalysis final : public Analysis {
 public:
  BinaryAnalysis(Shape shape, const node::Binary& n, KvRange domain)
      : Analysis(shape),
        op_(n.op),
        left_(Analyze(n.left, domain)),
        right_(Analyze(n.right, domain)) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    const RectClass left = left_->Classify(rows, kv);
    if (Decides(left)) return Combine(op_, left, RectClass::kUnknown);
    return Combine(op_, left, right_->Classify(rows, kv));
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows,
               int64_t tile_columns) const override {
    return (left_->Repeats(rows, kv, tile_rows, tile_columns) &&
            right_->Repeats(rows, kv, tile_rows, tile_columns)) ||
           IsUniform(Classify(rows, kv));
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    const RectClass left = left_->Classify(rows, kv);
    const RectClass right = right_->Classify(rows, kv);
    if (AppendUniform(Combine(op_, left, right), key)) return true;
    return left_->AppendKey(rows, kv, key) && right_->AppendKey(rows, kv, key);
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    Runs left, right;
    left_->ReadRuns(q, kv, &left);
    right_->ReadRuns(q, kv, &right);
    switch (op_) {
      case node::Op::kAnd:
        return CombineRuns(
            left, right, [](bool a, bool b) { return a && b; }, runs);
      case node::Op::kOr:
        return CombineRuns(
            left, right, [](bool a, bool b) { return a || b; }, runs);
      case node::Op::kXor:
        return CombineRuns(
            left, right, [](bool a, bool b) { return a != b; }, runs);
      case node::Op::kSub:
        return CombineRuns(
            left, right, [](bool a, bool b) { return a && !b; }, runs);
    }
  }

  double RunsPerRow() const override { return left_->RunsPerRow() + right_->RunsPerRow(); }

  bool HasIntervals() const override {
    return op_ == node::Op::kAnd && left_->HasIntervals() && right_->HasIntervals();
  }

  void ReadIntervals(std::span<const int64_t> q, KvRange kv, int64_t* begins,
                     int64_t* ends) const override {
    constexpr size_t kRows = 64;  // At a time.
    int64_t other_begins[kRows], other_ends[kRows];
    left_->ReadIntervals(q, kv, begins, ends);
    for (size_t first = 0; first < q.size(); first += kRows) {
      const auto rows = q.subspan(first, std::min(kRows, q.size() - first));
      right_->ReadIntervals(rows, kv, other_begins, other_ends);
      for (size_t r = 0; r < rows.size(); ++r) {
        begins[first + r] = std::max(begins[first + r], other_begins[r]);
        ends[first + r] = std::min(ends[first + r], other_ends[r]);
      }
    }
  }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    if (HasIntervals()) return Analysis::Draw(q, kv, out);
    if (AreNeighbours(q) && DrawUniform(q, kv, out)) return;
    left_->Draw(q, kv, out);
    const OwnedBits right(std::ssize(q), kv.size());
    right_->Draw(q, kv, right.rows());
    CombineBits(right.rows(), std::ssize(q), kv.size(), out);
  }

  bool DrawsStrided(KvRange span) const override {
    return left_->DrawsStrided(span) && right_->DrawsStrided(span);
  }
  void DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const override {
    left_->DrawStrided(q, columns, out);
    const OwnedBits right(std::ssize(q), columns.count);
    right_->DrawStrided(q, columns, right.rows());
    CombineBits(right.rows(), std::ssize(q), columns.count, out);
  }

  int64_t DrawWidth() const override { return std::max(left_->DrawWidth(), right_->DrawWidth()); }

  bool Scattered(int64_t begin, int64_t end) const override {
    return left_->Scattered(begin, end) || right_->Scattered(begin, end);
  }

 private:
  // left = left op right
  void CombineBits(BitRows right, int64_t rows, int64_t columns, BitRows left) const {
    const int64_t words = WordsFor(columns);
    for (int64_t r = 0; r < rows; ++r) {
      switch (op_) {
        case node::Op::kAnd:
          AndWords(left.row(r), right.row(r), words);
          break;
        case node::Op::kOr:
          OrWords(left.row(r), right.row(r), words);
          break;
        case node::Op::kXor:
          XorWords(left.row(r), right.row(r), words);
          break;
        case node::Op::kSub:
          AndNotWords(left.row(r), right.row(r), words);
          break;
      }
    }
  }

  // Whether the left class alone settles the result.
  bool Decides(RectClass left) const {
    return op_ == node::Op::kOr ? left == RectClass::kFull
                                : op_ != node::Op::kXor && left == RectClass::kEmpty;
  }

  // Draws a rectangle of which one side or both are empty or full.
  bool DrawUniform(std::span<const int64_t> q, KvRange kv, BitRows out) const {
    const Rows rows{q.front(), std::ssize(q), 1};
    const RectClass left = left_->Classify(rows, kv), right = right_->Classify(rows, kv);
    const RectClass both = Combine(op_, left, right);
    if (IsUniform(both)) {
      for (int64_t r = 0; r < rows.count; ++r) {
        FillRow(out.row(r), kv.size(), both == RectClass::kFull);
      }
      return true;
    }
    if (!IsUniform(left) && !IsUniform(right)) return false;
    // The result is what the other side says, or its negation.
    const Analysis& other = IsUniform(left) ? *right_ : *left_;
    const bool negated = IsUniform(left) ? Holds(op_, left == RectClass::kFull, false)
                                         : Holds(op_, false, right == RectClass::kFull);
    if (negated) {
      DrawNot(other, q, kv, out);
    } else {
      other.Draw(q, kv, out);
    }
    return true;
  }

  node::Op op_;
  std::unique_ptr<const Analysis> left_, right_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeOperator(const Mask& mask, KvRange domain) {
  if (const auto* negation = std::get_if<node::Not>(&mask.node().expr)) {
    return std::make_unique<NotAnalysis>(negation->mask, domain);
  }
  return std::make_unique<BinaryAnalysis>(mask.shape(), std::get<node::Binary>(mask.node().expr),
                                          domain);
}

}  // namespace splashmask
