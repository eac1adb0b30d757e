// SPDX-License-Identifier: Apache-2.0
// Every small expression on a dozen shapes, through every path of the compiler: classes, runs,
// bits, and drawing whatever they leave open, each forced in turn. Cells of an expression come from
// those of its leaves, by words: nothing here is shared with the analysis.
//
// SPLASHMASK_EXHAUSTIVE=all looks at every block shape for every expression, and at expressions
// whose operands are both composed.

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/compile/partial_blocks.h"
#include "splashmask/planner/threads.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"

namespace splashmask {
namespace {

constexpr Shape kShapes[] = {{24, 24}, {24, 16}, {16, 24}, {12, 12}, {8, 24}, {21, 14},
                             {20, 15}, {7, 7},   {6, 18},  {1, 24},  {24, 1}, {10, 8}};

bool EverythingIsWanted() {
  const char* value = std::getenv("SPLASHMASK_EXHAUSTIVE");
  return value != nullptr && std::string_view(value) == "all";
}

std::vector<BlockShape> BlocksOf(Shape shape) {
  std::vector<BlockShape> blocks;
  for (int64_t q = 1; q <= 8; ++q) {
    for (int64_t kv = 1; kv <= 8; ++kv) {
      if (shape.q_len % q == 0 && shape.kv_len % kv == 0) blocks.push_back({q, kv});
    }
  }
  return blocks;
}

// Rows of at most 24 cells: bit c of word r.
using Cells = std::vector<uint32_t>;

Cells CellsOf(const Mask& mask) {
  Cells cells;
  for (int64_t q = 0; q < mask.shape().q_len; ++q) {
    uint32_t row = 0;
    for (int64_t kv = 0; kv < mask.shape().kv_len; ++kv) {
      row |= static_cast<uint32_t>(NaiveAt(mask, q, kv)) << kv;
    }
    cells.push_back(row);
  }
  return cells;
}

struct Expression {
  Mask mask;
  Cells cells;
};

enum class Path : uint8_t { kAsIs, kRuns, kBits };

// An analysis that leaves the compiler no other path than the one that is wanted.
class ForcedAnalysis final : public Analysis {
 public:
  ForcedAnalysis(const Analysis& analysis, Path path)
      : Analysis(analysis.shape()), analysis_(analysis), path_(path) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    return path_ == Path::kBits ? RectClass::kUnknown : analysis_.Classify(rows, kv);
  }
  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    return path_ != Path::kBits && analysis_.AppendKey(rows, kv, key);
  }
  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    analysis_.ReadRuns(q, kv, runs);
  }
  double RunsPerRow() const override { return path_ == Path::kRuns ? 0 : analysis_.RunsPerRow(); }
  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    analysis_.Draw(q, kv, out);
  }
  bool Scattered(int64_t begin, int64_t end) const override {
    return path_ == Path::kRuns || analysis_.Scattered(begin, end);
  }

 private:
  const Analysis& analysis_;
  const Path path_;
};

// The blocks of an expression, from its cells: 0 empty, -1 full, else 1 + the number of the partial
// block, in the order of first occurrence in row-major order.
struct Blocks {
  std::vector<int32_t> kinds;
  std::vector<Cells> contents;  // Of each number.
};

Blocks BlocksOf(const Cells& cells, Shape shape, BlockShape block) {
  Blocks blocks;
  std::map<Cells, int32_t> numbers;
  const uint32_t all = (uint32_t{1} << block.kv) - 1;
  for (int64_t q = 0; q < shape.q_len; q += block.q) {
    for (int64_t kv = 0; kv < shape.kv_len; kv += block.kv) {
      Cells content;
      bool any = false, every = true;
      for (int64_t r = q; r < q + block.q; ++r) {
        content.push_back(cells[r] >> kv & all);
        any |= content.back() != 0;
        every &= content.back() == all;
      }
      if (!any || every) {
        blocks.kinds.push_back(any ? -1 : 0);
        continue;
      }
      const auto [entry, is_new] =
          numbers.try_emplace(content, static_cast<int32_t>(numbers.size()));
      if (is_new) blocks.contents.push_back(content);
      blocks.kinds.push_back(1 + entry->second);
    }
  }
  return blocks;
}

// What the compiler makes of it, in the same form.
Blocks Compiled(const Analysis& analysis, BlockShape block) {
  Counters counters;
  PartialBlocks partial(block, {.bits = true, .transpose = false});
  const BlockGrid grid = partial.Find(analysis, nullptr, {}, counters);
  Blocks blocks;
  blocks.kinds.assign(static_cast<size_t>(grid.rows() * grid.columns), 0);
  for (int64_t row = 0; row < grid.rows(); ++row) {
    for (const GridRun& run : grid.row(row)) {
      const int32_t kind = run.block_class == BlockClass::kFull ? -1 : 1 + run.id;
      std::fill(blocks.kinds.begin() + row * grid.columns + run.begin,
                blocks.kinds.begin() + row * grid.columns + run.end, kind);
    }
  }
  const auto bits = partial.store().Take(partial.count()).bits;
  for (int64_t id = 0; id < partial.count(); ++id) {
    Cells content;
    for (int64_t r = 0; r < block.q; ++r) {
      uint32_t row = 0;
      for (int64_t c = 0; c < block.kv; ++c) row |= uint32_t{bits->At(id, r, c)} << c;
      content.push_back(row);
    }
    blocks.contents.push_back(std::move(content));
  }
  return blocks;
}

std::string Draw(const Cells& cells, Shape shape) {
  std::string text;
  for (const uint32_t row : cells) {
    for (int64_t c = 0; c < shape.kv_len; ++c) text += row >> c & 1 ? '#' : '.';
    text += '\n';
  }
  return text;
}

class Checker {
 public:
  explicit Checker(Shape shape) : shape_(shape), blocks_(BlocksOf(shape)) {}

  // Every block shape, or one of them, which goes round. For use in an arena of one thread: waking
  // others takes longer than all of it.
  void Check(const Expression& expression, bool every_block) {
    const auto analysis = Analyze(expression.mask);
    const size_t first = every_block ? 0 : turn_++ % blocks_.size();
    const size_t last = every_block ? blocks_.size() : first + 1;
    for (size_t i = first; i < last; ++i) {
      const Blocks expected = BlocksOf(expression.cells, shape_, blocks_[i]);
      for (const Path path : {Path::kAsIs, Path::kRuns, Path::kBits}) {
        const ForcedAnalysis forced(*analysis, path);
        const Blocks got = Compiled(
            path == Path::kAsIs ? *analysis : static_cast<const Analysis&>(forced), blocks_[i]);
        ++checked_;
        if (got.kinds == expected.kinds && got.contents == expected.contents) continue;
        FAIL() << ToString(expression.mask) << ", block " << blocks_[i].q << " x " << blocks_[i].kv
               << ", path " << static_cast<int>(path) << '\n'
               << Draw(expression.cells, shape_);
      }
    }
    CheckPairs(expression);
    CheckTables(expression, blocks_[first]);
  }

  int64_t checked() const { return checked_; }
  int64_t distinct() const { return static_cast<int64_t>(expected_.size()); }

 private:
  void CheckPairs(const Expression& expression) {
    int64_t pairs = 0;
    for (const uint32_t row : expression.cells) pairs += std::popcount(row);
    ASSERT_EQ(CountPairs(MultiHeadMask(expression.mask, 1), std::nullopt, 1),
              std::vector<int64_t>{pairs})
        << ToString(expression.mask);
  }

  // All three passes of expressions that no other has had the cells of, with its blocks.
  void CheckTables(const Expression& expression, BlockShape block) {
    Cells key = expression.cells;
    key.push_back(static_cast<uint32_t>(block.q * 8 + block.kv));
    if (!expected_.emplace(std::move(key), true).second) return;
    CompileOptions options;
    options.fwd = options.dq = options.dkv = block;
    options.threads = 1;
    options.plan.shrink_grid = turn_ % 3 != 0;
    options.plan.q_seq_shards = shape_.q_len % (2 * block.q) == 0 && turn_ % 2 != 0 ? 2 : 1;
    const MultiHeadMask mask(expression.mask, 1);
    const Plan got = Compile(mask, options), expected = NaivePlan(mask, options);
    for (const Pass pass : kAllPasses) {
      ASSERT_EQ(got.pass(pass), expected.pass(pass))
          << PassName(pass) << " of " << ToString(expression.mask) << ", block " << block.q << " x "
          << block.kv;
    }
  }

  Shape shape_;
  std::vector<BlockShape> blocks_;
  std::map<Cells, bool> expected_;  // Cells whose tables have been looked at.
  size_t turn_ = 0;
  int64_t checked_ = 0;
};

Array Ints(std::vector<int64_t> values) { return Array::FromVector(values); }

// A leaf of every kind, and of those with parameters a few.
std::vector<Expression> EveryLeaf(Shape shape) {
  const auto [q_len, kv_len] = shape;
  const int64_t least = std::min(q_len, kv_len);
  std::vector<int64_t> q_ids, kv_ids;
  for (int64_t i = 0; i < q_len; ++i) q_ids.push_back(i / 3 % 4);
  for (int64_t i = 0; i < kv_len; ++i) kv_ids.push_back(i / 4 % 3);
  auto bools = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(q_len * kv_len));
  for (size_t i = 0; i < bools->size(); ++i) (*bools)[i] = i * i % 7 < 3;
  const std::shared_ptr<const void> data(bools, bools->data());
  const Array bits(DType::kBool, {(q_len + 4) / 5, (kv_len + 4) / 5}, data);
  std::vector<Expression> leaves;
  for (const Mask& mask : {
           Mask::Full(shape),
           Mask::Empty(shape),
           Mask::Causal(shape),
           Mask::Causal(shape, kv_len / 3),
           Mask::Local(shape, 4, 1),
           Mask::Local(shape, std::nullopt, -2, 1),
           Mask::ChunkedCausal(shape, 5),
           Mask::Prefix(shape, 3),
           Mask::QRange(shape, 2, q_len - 3),
           Mask::KvRange(shape, 3, kv_len - 2),
           Mask::Stride(shape, 3, 1),
           Mask::Documents(shape, {least / 3, 0, least / 2}),
           Mask::Segments(shape, Ints(q_ids), Ints(kv_ids), 2),
           Mask::Blocks(shape, bits, 5),
           Mask::Dense(shape, Array(DType::kBool, {q_len, kv_len}, data)),
           Mask::Where(shape, "abs(q // 3 - kv // 3) <= 1 and (q + kv) % 4 != 0"),
       }) {
    leaves.push_back({mask, CellsOf(mask)});
  }
  return leaves;
}

std::vector<Expression> SixLeaves(Shape shape) {
  std::vector<Expression> leaves;
  for (const Mask& mask : {Mask::Causal(shape), Mask::Local(shape, 4, 1), Mask::Prefix(shape, 5),
                           Mask::Documents(shape, {std::min(shape.q_len, shape.kv_len) / 2}),
                           Mask::Stride(shape, 3), Mask::Where(shape, "kv // 4 <= q // 3")}) {
    leaves.push_back({mask, CellsOf(mask)});
  }
  return leaves;
}

// Orders of rows and of columns: pieces that stay together, backwards, one by one.
std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> Orders(Shape shape) {
  const auto [q_len, kv_len] = shape;
  const auto rotated = [](int64_t length, int64_t step) {
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < length; ++i) {
      positions.push_back(step > 0 ? (i * step + length / 3) % length : length - 1 - i);
    }
    return positions;
  };
  return {
      {rotated(q_len, 1), {}}, {{}, rotated(kv_len, 1)}, {rotated(q_len, -1), rotated(kv_len, 5)}};
}

// Calls see(expression) for each expression with one operator more: `inner` alone, reordered or
// negated, or joined with one of `others` on either side.
template <typename See>
void ForEachOperation(const Expression& inner, const std::vector<Expression>& others, See see) {
  const Shape shape = inner.mask.shape();
  const uint32_t all = shape.kv_len == 32 ? ~uint32_t{0} : (uint32_t{1} << shape.kv_len) - 1;
  const auto map = [](const Cells& a, const Cells& b, auto op) {
    Cells result(a.size());
    for (size_t i = 0; i < a.size(); ++i) result[i] = op(a[i], b[i]);
    return result;
  };
  see({~inner.mask, map(inner.cells, inner.cells, [=](uint32_t a, uint32_t) { return ~a & all; })});
  for (const auto& [q, kv] : Orders(shape)) {
    Cells cells(inner.cells.size());
    for (size_t r = 0; r < cells.size(); ++r) {
      const uint32_t row = inner.cells[q.empty() ? r : static_cast<size_t>(q[r])];
      for (int64_t c = 0; c < shape.kv_len; ++c) {
        cells[r] |= (row >> (kv.empty() ? c : kv[static_cast<size_t>(c)]) & 1) << c;
      }
    }
    std::optional<Positions> rows, columns;
    if (!q.empty()) rows = Positions::FromArray(Ints(q));
    if (!kv.empty()) columns = Positions::FromArray(Ints(kv));
    see({inner.mask.Reorder(rows, columns), cells});
  }
  for (const Expression& other : others) {
    for (const auto& [a, b] : {std::pair(&inner, &other), std::pair(&other, &inner)}) {
      see({a->mask & b->mask,
           map(a->cells, b->cells, [](uint32_t x, uint32_t y) { return x & y; })});
      see({a->mask | b->mask,
           map(a->cells, b->cells, [](uint32_t x, uint32_t y) { return x | y; })});
      see({a->mask ^ b->mask,
           map(a->cells, b->cells, [](uint32_t x, uint32_t y) { return x ^ y; })});
      see({a->mask - b->mask,
           map(a->cells, b->cells, [](uint32_t x, uint32_t y) { return x & ~y; })});
    }
  }
}

void CheckDepthTwo(Shape shape) {
  Checker checker(shape);
  const std::vector<Expression> leaves = EveryLeaf(shape);
  for (const Expression& leaf : leaves) {
    checker.Check(leaf, /*every_block=*/true);
    ForEachOperation(leaf, leaves, [&](const Expression& expression) {
      if (!testing::Test::HasFatalFailure()) checker.Check(expression, /*every_block=*/true);
    });
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(checker.checked(), 2000);
}

void CheckDepthThree(Shape shape) {
  Checker checker(shape);
  const std::vector<Expression> leaves = SixLeaves(shape);
  std::vector<Expression> composed;
  for (const Expression& leaf : leaves) {
    ForEachOperation(leaf, leaves, [&](const Expression& e) { composed.push_back(e); });
  }
  std::vector<Expression> others = leaves;
  if (EverythingIsWanted()) others.insert(others.end(), composed.begin(), composed.end());
  for (const Expression& inner : composed) {
    ForEachOperation(inner, others, [&](const Expression& expression) {
      if (!testing::Test::HasFatalFailure()) checker.Check(expression, EverythingIsWanted());
    });
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(checker.checked(), 10'000);
  EXPECT_GT(checker.distinct(), 100);
}

class ExhaustiveTest : public testing::TestWithParam<Shape> {};

TEST_P(ExhaustiveTest, DepthTwoOverEveryLeaf) {
  RunWithThreads(1, [] { CheckDepthTwo(GetParam()); });
}

TEST_P(ExhaustiveTest, DepthThreeOverSixLeaves) {
  RunWithThreads(1, [] { CheckDepthThree(GetParam()); });
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExhaustiveTest, testing::ValuesIn(kShapes),
                         [](const testing::TestParamInfo<Shape>& shape) {
                           return std::to_string(shape.param.q_len) + "x" +
                                  std::to_string(shape.param.kv_len);
                         });

}  // namespace
}  // namespace splashmask
