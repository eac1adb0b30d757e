// SPDX-License-Identifier: Apache-2.0
// Simplify against single cells: every small expression, and random large ones.

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/simplify.h"
#include "tests/masks/simplify_support.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

constexpr Shape kShapes[] = {{1, 1}, {1, 7}, {7, 1}, {2, 2}, {3, 5},  {5, 3},
                             {6, 6}, {8, 8}, {7, 9}, {9, 7}, {24, 8}, {24, 24}};

// Cells of expressions without reorderings: leaves by definition, operators cell by cell. It
// remembers leaves.
class Reference {
 public:
  using Cells = std::bitset<24 * 24>;

  Cells Of(const Mask& mask) {
    return std::visit(
        Overloaded{
            [&](const node::Not& n) {
              Cells cells = Of(n.mask);
              return cells.flip() & Known(mask.shape());
            },
            [&](const node::Binary& n) { return Combine(n.op, Of(n.left), Of(n.right)); },
            [&](const auto&) { return OfLeaf(mask); },
        },
        mask.node().expr);
  }

  static Cells Combine(node::Op op, const Cells& a, const Cells& b) {
    return op == node::Op::kAnd   ? a & b
           : op == node::Op::kOr  ? a | b
           : op == node::Op::kXor ? a ^ b
                                  : a & ~b;
  }

 private:
  static Cells Known(Shape shape) {
    return ~Cells() >> (Cells().size() - static_cast<size_t>(shape.q_len * shape.kv_len));
  }

  const Cells& OfLeaf(const Mask& leaf) {
    const auto [entry, is_new] = leaves_.try_emplace(ToString(leaf));
    if (is_new) {
      size_t i = 0;
      for (const uint8_t cell : NaiveCells(leaf)) entry->second[i++] = cell != 0;
    }
    return entry->second;
  }

  std::map<std::string, Cells> leaves_;
};

Mask Apply(node::Op op, const Mask& a, const Mask& b) {
  return op == node::Op::kAnd   ? a & b
         : op == node::Op::kOr  ? a | b
         : op == node::Op::kXor ? a ^ b
                                : a - b;
}
constexpr node::Op kOps[] = {node::Op::kAnd, node::Op::kOr, node::Op::kXor, node::Op::kSub};

// Leaves with parameters near nothing, one, the middle, and the ends of a shape.
std::vector<Mask> Leaves(Shape shape) {
  std::vector<Mask> masks = {Mask::Full(shape), Mask::Empty(shape)};
  const int64_t q_len = shape.q_len, kv_len = shape.kv_len;
  for (int64_t offset : {int64_t{0}, int64_t{2}, int64_t{-1}, 1 - q_len, kv_len - 1}) {
    masks.push_back(Mask::Causal(shape, offset));
  }
  masks.push_back(Mask::Local(shape, 2, 0));
  masks.push_back(Mask::Local(shape, 1, std::nullopt));
  masks.push_back(Mask::Local(shape, std::nullopt, -2));
  masks.push_back(Mask::Local(shape, 1, 1, 3));
  masks.push_back(Mask::Local(shape, std::nullopt, std::nullopt));
  for (int64_t chunk : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, q_len, kv_len}) {
    masks.push_back(Mask::ChunkedCausal(shape, chunk));
  }
  for (int64_t n : {int64_t{0}, int64_t{1}, kv_len / 2, kv_len}) {
    masks.push_back(Mask::Prefix(shape, n));
  }
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 2}, {1, 3}, {2, 99}, {-3, 1}}) {
    masks.push_back(Mask::QRange(shape, begin, end));
    masks.push_back(Mask::KvRange(shape, begin, end));
  }
  for (int64_t step : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, q_len + kv_len - 1}) {
    for (int64_t phase = 0; phase < std::min<int64_t>(step, 2); ++phase) {
      masks.push_back(Mask::Stride(shape, step, phase));
    }
  }
  const int64_t shortest = std::min(q_len, kv_len);
  masks.push_back(Mask::Documents(shape, std::vector<int64_t>{}));
  masks.push_back(Mask::Documents(shape, {shortest}));
  masks.push_back(Mask::Documents(shape, {shortest / 2, 0, shortest - shortest / 2}));
  masks.push_back(Mask::Documents(shape, std::vector<int64_t>(shortest, 1)));
  if (shortest > 3) masks.push_back(Mask::Documents(shape, {1, 2}));
  return masks;
}

TEST(SimplifyCellsTest, EveryExpressionOfDepthTwo) {
  for (const Shape shape : kShapes) {
    Reference reference;
    const std::vector<Mask> leaves = Leaves(shape);
    // Under a sanitizer an eighth of the pairs.
    const size_t step = leaves.size() * leaves.size() / SampleSize(leaves.size() * leaves.size());
    for (size_t i = 0; i < leaves.size() * leaves.size(); i += step) {
      const Mask &a = leaves[i / leaves.size()], &b = leaves[i % leaves.size()];
      std::vector<Mask> masks = {~a};
      for (const node::Op op : kOps) masks.push_back(Apply(op, a, b));
      for (const Mask& mask : masks) {
        SCOPED_TRACE(Trace(mask));
        const Mask simple = Simplify(mask);
        ASSERT_TRUE(reference.Of(mask) == reference.Of(simple)) << ToString(simple);
        ExpectNormal(mask, simple);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

// Two bands, a range of each axis, and two that are no sets of one coordinate.
std::vector<Mask> SixLeaves(Shape shape) {
  const int64_t shortest = std::min(shape.q_len, shape.kv_len);
  const std::vector<int64_t> documents = {(shortest + 1) / 2, shortest / 3};
  const bool even = (shape.q_len + shape.kv_len) % 2 == 0;
  return {Mask::Causal(shape),
          Mask::Local(shape, 2, 1),
          Mask::QRange(shape, 1, 4),
          Mask::KvRange(shape, 2, 1000),
          even ? Mask::ChunkedCausal(shape, 3) : Mask::Documents(shape, documents),
          Mask::Stride(shape, even ? 2 : 3)};
}

TEST(SimplifyCellsTest, ExpressionsOfDepthThreeOverSixLeaves) {
  uint64_t number = 0;
  // Each one on one shape or another; under a sanitizer an eighth of them.
  const uint64_t every = std::size(kShapes) * (8 / SampleSize(8));
  for (const Shape shape : kShapes) {
    Reference reference;
    const std::vector<Mask> leaves = SixLeaves(shape);
    std::vector<Mask> masks = leaves;
    for (const Mask& a : leaves) {
      masks.push_back(~a);
      for (const Mask& b : leaves) {
        for (const node::Op op : kOps) masks.push_back(Apply(op, a, b));
      }
    }
    std::vector<Reference::Cells> cells;
    for (const Mask& mask : masks) cells.push_back(reference.Of(mask));
    ++number;
    for (size_t i = 0; i < masks.size(); ++i) {
      for (size_t j = 0; j < masks.size(); ++j) {
        for (const node::Op op : kOps) {
          if (++number % every != 0) continue;
          const Mask mask = Apply(op, masks[i], masks[j]);
          SCOPED_TRACE(Trace(mask));
          const Mask simple = Simplify(mask);
          ASSERT_TRUE(Reference::Combine(op, cells[i], cells[j]) == reference.Of(simple))
              << ToString(simple);
          ExpectNormal(mask, simple);
          ASSERT_FALSE(HasFailure());
        }
      }
    }
  }
}

// Expressions of one coordinate alone are equal as functions exactly when their normal forms are.
TEST(SimplifyCellsTest, EqualSetsOfOneCoordinateAreEqualMasks) {
  for (const Shape shape : {Shape{5, 5}, Shape{3, 8}, Shape{8, 2}, Shape{2, 2}}) {
    std::vector<std::vector<Mask>> families(3);
    for (int64_t a = -3; a <= 4; a += 2) {
      families[0].push_back(Mask::Causal(shape, a));
      families[0].push_back(Mask::Local(shape, a, 2));
      families[0].push_back(Mask::Local(shape, std::nullopt, 1, a));
      families[0].push_back(Mask::Local(shape, 1, std::nullopt, a));
      families[1].push_back(Mask::QRange(shape, a, a + 2));
      families[1].push_back(Mask::QRange(shape, a, 100));
      families[2].push_back(Mask::KvRange(shape, a, a + 3));
      families[2].push_back(Mask::Prefix(shape, a));
    }
    for (std::vector<Mask>& leaves : families) {
      leaves.push_back(Mask::Full(shape));
      Reference reference;
      std::unordered_map<Reference::Cells, std::string> normal_forms;
      std::mt19937_64 random(1);
      std::vector<Mask> masks = leaves;
      for (uint64_t i = 0; i < SampleSize(4000); ++i) {
        // Sums and differences of what there is, so that the pool grows deep.
        const Mask a = masks[random() % masks.size()], b = masks[random() % masks.size()];
        const Mask mask = random() % 5 == 0 ? ~a : Apply(kOps[random() % std::size(kOps)], a, b);
        if (mask.node().nodes > 30) continue;
        masks.push_back(mask);
        const std::string text = ToString(Simplify(mask));
        const auto [entry, is_new] = normal_forms.try_emplace(reference.Of(mask), text);
        ASSERT_EQ(entry->second, text) << Trace(mask);
      }
      EXPECT_GT(normal_forms.size(), 3u);
    }
  }
}

TEST(SimplifyCellsTest, RandomMasks) {
  std::mt19937_64 random(7);
  for (uint64_t i = 0; i < SampleSize(30000); ++i) {
    const Shape shape{static_cast<int64_t>(1 + random() % 24),
                      static_cast<int64_t>(1 + random() % 24)};
    const Mask mask = RandomMask(random, shape, static_cast<int>(random() % 7));
    SCOPED_TRACE("case " + std::to_string(i) + ": " + Trace(mask));
    ExpectSimplified(mask);
    ASSERT_FALSE(HasFailure());
  }
}

// A leaf with parameters of the size of a long sequence.
Mask LongLeaf(std::mt19937_64& random, Shape shape) {
  const auto draw = [&](int64_t least, int64_t most) {
    return least + static_cast<int64_t>(random() % static_cast<uint64_t>(most - least + 1));
  };
  const int64_t length = shape.q_len, a = draw(0, length), b = draw(0, length);
  switch (draw(0, 4)) {
    case 0:
      return Mask::Causal(shape, a - b);
    case 1:
      return Mask::Local(shape, draw(0, 99), draw(0, 99), a - b);
    case 2:
      return Mask::ChunkedCausal(shape, a + 1);
    case 3:
      return draw(0, 1) == 0 ? Mask::QRange(shape, a, b) : Mask::KvRange(shape, a, b);
    default:
      return Mask::Stride(shape, a + 1, draw(0, a));
  }
}

Mask BalancedTree(std::mt19937_64& random, Shape shape, int64_t leaves) {
  if (leaves == 1) return LongLeaf(random, shape);
  const Mask a = BalancedTree(random, shape, leaves / 2);
  const Mask b = BalancedTree(random, shape, leaves - leaves / 2);
  return Apply(kOps[random() % std::size(kOps)], a, b);
}

TEST(SimplifyCellsTest, LargeAndDeepExpressions) {
  std::mt19937_64 random(3);
  const Shape shape{1 << 20, 1 << 20};
  std::vector<Mask> masks;
  for (const int64_t leaves : {int64_t{2000}, static_cast<int64_t>(SampleSize(40000))}) {
    masks.push_back(BalancedTree(random, shape, leaves));
  }
  for (const bool from_left : {true, false}) {
    for (int variety = 1; variety <= 4; ++variety) {
      Mask chain = LongLeaf(random, shape);
      while (chain.node().depth < kMaxMaskDepth) {
        const node::Op op = kOps[random() % static_cast<uint64_t>(variety)];
        const Mask leaf = LongLeaf(random, shape);
        chain = from_left ? Apply(op, chain, leaf) : Apply(op, leaf, chain);
      }
      masks.push_back(chain);
    }
  }
  Mask wide = Mask::Empty(shape), inverse = Mask::Causal(shape);
  for (int64_t d = 0; d < 1900; ++d) wide = wide | Mask::Local(shape, -3 * d, 3 * d);
  while (inverse.node().depth < kMaxMaskDepth) inverse = ~inverse;
  masks.push_back(wide);
  masks.push_back(inverse);
  for (const Mask& mask : masks) {
    const Mask simple = Simplify(mask);
    ExpectNormal(mask, simple);
    for (int i = 0; i < 40; ++i) {
      const int64_t q = static_cast<int64_t>(random() % (1 << 20));
      const int64_t near = q - 50 + static_cast<int64_t>(random() % 100);
      const int64_t kv = i % 2 == 0 ? static_cast<int64_t>(random() % (1 << 20))
                                    : std::clamp<int64_t>(near, 0, shape.kv_len - 1);
      EXPECT_EQ(NaiveAt(mask, q, kv), NaiveAt(simple, q, kv)) << q << ", " << kv;
    }
  }
}

}  // namespace
}  // namespace splashmask
