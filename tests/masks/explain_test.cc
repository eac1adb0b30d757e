// SPDX-License-Identifier: Apache-2.0
// Values against the naive reference, what decides against every assignment of the leaves.

#include "splashmask/masks/explain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/node.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

class Multiples final : public CustomFunction {
 public:
  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override {
    for (const int64_t position : q) {
      if (position > 1000) throw Error(ErrorCode::kIo, "no such row");
      for (int64_t kv = kv_begin; kv < kv_end; ++kv) *out++ = std::byte{position * kv % 3 == 0};
    }
  }
  std::string name() const override { return "multiples"; }
};

Mask CustomMask(Shape shape) { return Mask::Custom(shape, std::make_shared<Multiples>()); }

bool IsLeaf(const ExplainedPart& part) {
  const MaskExpr& expr = part.mask.node().expr;
  return !std::holds_alternative<node::Not>(expr) && !std::holds_alternative<node::Binary>(expr) &&
         !std::holds_alternative<node::Reorder>(expr);
}

TEST(ExplainTest, ValuesOfEveryPart) {
  std::mt19937_64 random(1);
  for (size_t i = 0; i < SampleSize(400); ++i) {
    const Shape shape{static_cast<int64_t>(random() % 9 + 1),
                      static_cast<int64_t>(random() % 9 + 1)};
    Mask mask = RandomMask(random, shape, static_cast<int>(i % 5));
    if (i % 7 == 0) mask = mask ^ CustomMask(shape);
    for (int64_t q = 0; q < shape.q_len; ++q) {
      for (int64_t kv = 0; kv < shape.kv_len; ++kv) {
        const Explanation explanation = Explain(mask, q, kv);
        ASSERT_EQ(NaiveAt(mask, q, kv), explanation.value()) << ToString(explanation);
        for (const ExplainedPart& part : explanation.parts) {
          ASSERT_EQ(NaiveAt(part.mask, part.q, part.kv), part.value)
              << ToString(part.mask) << " of " << ToString(explanation);
          if (IsLeaf(part)) {
            ASSERT_NE("", part.reason);
          } else {
            ASSERT_FALSE(part.decides);
          }
        }
      }
    }
  }
}

// The value of an expression whose leaves, from left to right, are bits of `leaves`.
bool Replaced(const Mask& mask, uint32_t leaves, int* next) {
  const MaskExpr& expr = mask.node().expr;
  if (const auto* n = std::get_if<node::Not>(&expr)) return !Replaced(n->mask, leaves, next);
  if (const auto* n = std::get_if<node::Reorder>(&expr)) return Replaced(n->mask, leaves, next);
  const auto* n = std::get_if<node::Binary>(&expr);
  if (n == nullptr) return (leaves >> (*next)++ & 1) != 0;
  const bool a = Replaced(n->left, leaves, next), b = Replaced(n->right, leaves, next);
  switch (n->op) {
    case node::Op::kAnd:
      return a && b;
    case node::Op::kOr:
      return a || b;
    case node::Op::kXor:
      return a != b;
    case node::Op::kSub:
      return a && !b;
  }
  return false;
}

// The leaves that decide settle the outcome, and no fewer leaves do.
TEST(ExplainTest, AsFewLeavesAsPossibleDecide) {
  constexpr int kMostLeaves = 8;
  std::mt19937_64 random(2);
  uint64_t checked = 0;
  for (size_t i = 0; checked < SampleSize(400); ++i) {
    const Shape shape{4, 8};
    const Mask mask = RandomMask(random, shape, 4);
    const auto q = static_cast<int64_t>(random() % 4), kv = static_cast<int64_t>(random() % 8);
    const Explanation explanation = Explain(mask, q, kv);
    uint32_t values = 0, deciding = 0;
    int leaves = 0;
    for (const ExplainedPart& part : explanation.parts) {
      if (!IsLeaf(part)) continue;
      values |= static_cast<uint32_t>(part.value) << std::min(leaves, 31);
      deciding |= static_cast<uint32_t>(part.decides) << std::min(leaves, 31);
      ++leaves;
    }
    if (leaves < 3 || leaves > kMostLeaves) continue;
    ++checked;
    const uint32_t count = uint32_t{1} << leaves;
    std::vector<bool> outcome;
    for (uint32_t assignment = 0; assignment < count; ++assignment) {
      int next = 0;
      outcome.push_back(Replaced(mask, assignment, &next));
      ASSERT_EQ(leaves, next);
    }
    ASSERT_EQ(explanation.value(), outcome[values]);
    int fewest = leaves;
    bool settles = false;
    for (uint32_t kept = 0; kept < count; ++kept) {
      bool is_settled = true;
      for (uint32_t assignment = 0; assignment < count && is_settled; ++assignment) {
        const bool agrees = ((assignment ^ values) & kept) == 0;
        is_settled = !agrees || outcome[assignment] == explanation.value();
      }
      if (is_settled) fewest = std::min(fewest, std::popcount(kept));
      if (kept == deciding) settles = is_settled;
    }
    ASSERT_TRUE(settles) << ToString(explanation);
    ASSERT_EQ(fewest, std::popcount(deciding)) << ToString(explanation);
  }
}

std::vector<std::string> Deciding(const char* text, int64_t q, int64_t kv) {
  std::vector<std::string> leaves;
  for (const ExplainedPart& part : Explain(ParseMask(text, {16, 16}), q, kv).parts) {
    if (part.decides) leaves.push_back(PartName(part));
  }
  return leaves;
}

TEST(ExplainTest, TheFirstOfAsFewDecides) {
  using Leaves = std::vector<std::string>;
  EXPECT_EQ((Leaves{"causal()"}), Deciding("causal() & prefix(2)", 3, 5));
  EXPECT_EQ((Leaves{"prefix(2)"}), Deciding("causal() & prefix(2)", 5, 3));
  EXPECT_EQ((Leaves{"causal()", "prefix(2)"}), Deciding("causal() & prefix(2)", 5, 1));
  EXPECT_EQ((Leaves{"causal()", "prefix(2)"}), Deciding("causal() | prefix(2)", 3, 5));
  EXPECT_EQ((Leaves{"causal()"}), Deciding("causal() | prefix(2)", 3, 1));
  EXPECT_EQ((Leaves{"prefix(2)"}), Deciding("(causal() & full()) | prefix(2)", 3, 1));
  EXPECT_EQ((Leaves{"prefix(2)"}),
            Deciding("causal() - full() - prefix(2) & empty() | prefix(2)", 3, 1));
  EXPECT_EQ((Leaves{"causal()", "prefix(2)"}), Deciding("causal() - prefix(2)", 5, 3));
  EXPECT_EQ((Leaves{"prefix(2)"}), Deciding("causal() - prefix(2)", 5, 1));
  EXPECT_EQ((Leaves{"causal()", "prefix(2)"}), Deciding("causal() ^ prefix(2)", 5, 3));
  EXPECT_EQ((Leaves{"empty()"}), Deciding("~reorder(empty() & ~~full(), q=striped(4))", 5, 3));
}

// A leaf alone: its value and its reason.
std::string Reason(const Mask& mask, int64_t q, int64_t kv) {
  const Explanation explanation = Explain(mask, q, kv);
  EXPECT_EQ(1, std::ssize(explanation.parts));
  EXPECT_TRUE(explanation.parts.front().decides);
  return (explanation.value() ? "true: " : "false: ") + explanation.parts.front().reason;
}

TEST(ExplainTest, ReasonsOfPositions) {
  const Shape shape{4096, 4096};
  EXPECT_EQ("true: always", Reason(Mask::Full(shape), 1, 2));
  EXPECT_EQ("false: never", Reason(Mask::Empty(shape), 1, 2));
  EXPECT_EQ("true: 700 >= 699", Reason(Mask::Causal(shape), 700, 699));
  EXPECT_EQ("false: 700 >= 701 is false", Reason(Mask::Causal(shape), 700, 701));
  EXPECT_EQ("true: 700 + 5 >= 705", Reason(Mask::Causal(shape, 5), 700, 705));
  EXPECT_EQ("false: 700 - 9223372036854775808 >= 0 is false",
            Reason(Mask::Causal(shape, kMin), 700, 0));
  const Mask local = Mask::Local(shape, 1023, 0);
  EXPECT_EQ("true: 700 - 1023 <= 699 <= 700", Reason(local, 700, 699));
  EXPECT_EQ("false: 701 <= 700 is false", Reason(local, 700, 701));
  EXPECT_EQ("false: 2000 - 1023 <= 976 is false", Reason(local, 2000, 976));
  EXPECT_EQ("true: 2000 - 7 - 3 <= 1990", Reason(Mask::Local(shape, 3, {}, -7), 2000, 1990));
  EXPECT_EQ("true: 12 <= 10 + 2", Reason(Mask::Local(shape, {}, 2), 10, 12));
  EXPECT_EQ(
      "true: 2 + 9223372036854775807 - 9223372036854775807 <= 2 <= "
      "2 + 9223372036854775807 + 9223372036854775807",
      Reason(Mask::Local(shape, kMax, kMax, kMax), 2, 2));
  EXPECT_EQ("true: 2 + 9223372036854775808 <= 2 is false",
            "true: " + Reason(Mask::Local(shape, kMin, {}), 2, 2).substr(7));
  EXPECT_EQ("true: unbounded on both sides", Reason(Mask::Local(shape, {}, {}), 2, 2));
  const Mask chunks = Mask::ChunkedCausal(shape, 128);
  EXPECT_EQ("true: q and kv in chunk 5, 700 >= 699", Reason(chunks, 700, 699));
  EXPECT_EQ("false: q and kv in chunk 5, 700 >= 701 is false", Reason(chunks, 700, 701));
  EXPECT_EQ("false: q in chunk 5, kv in chunk 4", Reason(chunks, 640, 639));
  EXPECT_EQ("true: 127 < 128", Reason(Mask::Prefix(shape, 128), 0, 127));
  EXPECT_EQ("false: 128 < 128 is false", Reason(Mask::Prefix(shape, 128), 0, 128));
  EXPECT_EQ("true: 5 <= 7 < 9", Reason(Mask::QRange(shape, 5, 9), 7, 0));
  EXPECT_EQ("false: 5 <= 4 is false", Reason(Mask::QRange(shape, 5, 9), 4, 0));
  EXPECT_EQ("false: 9 < 9 is false", Reason(Mask::KvRange(shape, 5, 9), 0, 9));
  EXPECT_EQ("true: (3 - 9) mod 4 = 2", Reason(Mask::Stride(shape, 4, 2), 3, 9));
  EXPECT_EQ("false: (3 - 8) mod 4 = 3, not 2", Reason(Mask::Stride(shape, 4, 2), 3, 8));
}

TEST(ExplainTest, ReasonsOfPredicates) {
  const Shape shape{4096, 4096};
  const auto reason = [&](const char* predicate, int64_t q, int64_t kv) {
    return Reason(Mask::Where(shape, predicate), q, kv);
  };
  EXPECT_EQ("true: 7 >= 6", reason("q >= kv", 7, 6));
  EXPECT_EQ("false: 7 >= 8 is false", reason("q >= kv and (q - kv) % 64 < 8", 7, 8));
  EXPECT_EQ("false: (q - kv) % 64 < 8: 12 < 8 is false",
            reason("q >= kv and (q - kv) % 64 < 8", 20, 8));
  EXPECT_EQ("true: 10 >= 8; (q - kv) % 64 < 8: 2 < 8",
            reason("q >= kv and (q - kv) % 64 < 8", 10, 8));
  EXPECT_EQ("true: q // 64 == kv // 64: 3 == 3", reason("q < kv or q // 64 == kv // 64", 200, 199));
  EXPECT_EQ("false: 200 < 150 is false; q // 64 == kv // 64: 3 == 2 is false",
            reason("q < kv or q // 64 == kv // 64", 200, 150));
  EXPECT_EQ("true: 200 < 150 is false", reason("not q < kv", 200, 150));
  EXPECT_EQ("true: 1 < q_len always holds", reason("1 < q_len", 0, 0));
  EXPECT_EQ("false: q_len < 1 always fails", reason("q_len < 1 and q < kv", 0, 0));
  EXPECT_EQ("true: 5 > 0; 5 > 1; 5 > 2; 5 > 3; and 1 more",
            reason("q > 0 and q > 1 and q > 2 and q > 3 and q > 4", 5, 0));
}

TEST(ExplainTest, ReasonsOfArrays) {
  const Shape shape{8, 8};
  const Mask documents = Mask::Documents(shape, {2, 0, 4});
  EXPECT_EQ("true: q 3 in document 2 [2, 6), kv 5 in document 2", Reason(documents, 3, 5));
  EXPECT_EQ("false: q 3 in document 2 [2, 6), kv 1 in document 0 [0, 2)", Reason(documents, 3, 1));
  EXPECT_EQ("false: q 7 in no document, kv 6 in no document", Reason(documents, 7, 6));
  const Array q_ids = Array::FromVector(std::vector<int32_t>{0, 0, 5, 5, 7, 7, -1, 9});
  const Array kv_ids = Array::FromVector(std::vector<int32_t>{0, 5, 5, 5, 5, 8, -1, 9});
  const Mask segments = Mask::Segments(shape, q_ids, kv_ids, 0);
  EXPECT_EQ("true: q id 5, kv id 5", Reason(segments, 2, 4));
  EXPECT_EQ("false: q id 7, kv id 8", Reason(segments, 4, 5));
  EXPECT_EQ("false: q id 0, kv id 0, which is padding", Reason(segments, 1, 0));
  const auto bools = [](std::vector<int64_t> extents, std::vector<uint8_t> values) {
    auto data = std::make_shared<std::vector<uint8_t>>(std::move(values));
    return Array(DType::kBool, std::move(extents), {data, data->data()});
  };
  const Mask blocks = Mask::Blocks(shape, bools({2, 2}, {1, 0, 0, 1}), 5);
  EXPECT_EQ("true: block (1, 1) is set", Reason(blocks, 5, 7));
  EXPECT_EQ("false: block (0, 1) is not set", Reason(blocks, 4, 5));
  const Mask dense = Mask::Dense({2, 3}, bools({2, 3}, {0, 1, 0, 0, 0, 1}));
  EXPECT_EQ("true: [1, 2] = true", Reason(dense, 1, 2));
  EXPECT_EQ("false: [1, 1] = false", Reason(dense, 1, 1));
  EXPECT_EQ("true: the function says true at (2, 3)", Reason(CustomMask(shape), 2, 3));
}

TEST(ExplainTest, Trees) {
  const Shape shape{4096, 4096};
  const MultiHeadMask mask =
      ParseMultiHeadMask("[causal(), causal() & ~prefix(128) & (full() | stride(2))]", shape);
  EXPECT_EQ(R"(head 1, q 700, kv 2001: masked
  causal() & ~prefix(128) & (full() | stride(2))  false
    causal()                                      false  700 >= 2001 is false  <- decides
    ~prefix(128)                                  true
      prefix(128)                                 false  2001 < 128 is false
    full() | stride(2)                            true
      full()                                      true   always
      stride(2)                                   false  (700 - 2001) mod 2 = 1, not 0
)",
            ToString(Explain(mask, 1, 700, 2001)));
  EXPECT_EQ(R"(head 0, q 700, kv 699: attends
  causal()  true   700 >= 699  <- decides
)",
            ToString(Explain(mask, 0, 700, 699)));
  const Array positions = Array::FromVector(std::vector<int64_t>{kMax, -3});
  const Mask reordered = Mask::Causal({2, 2}, 2).Reorder(Positions::FromArray(positions));
  const std::string text = ToString(Explain(~reordered, 1, 0));
  EXPECT_TRUE(text.starts_with("q 1, kv 0: attends\n  ~reorder(causal(2), q=\"sha256:")) << text;
  EXPECT_NE(std::string::npos, text.find("  false  row 1 is q position -3\n")) << text;
  EXPECT_NE(std::string::npos, text.find("false  -3 + 2 >= 0 is false  <- decides\n")) << text;
  EXPECT_EQ(-3, Explain(~reordered, 1, 0).parts.back().q);
  const Mask both = Mask::Causal({2, 2}).Reorder(
      Positions::FromArray(positions),
      Positions::FromArray(Array::FromVector(std::vector<int64_t>{70, -4})));
  EXPECT_EQ("row 1 is q position -3, column 1 is kv position -4",
            Explain(both, 1, 1).parts.front().reason);
  EXPECT_EQ("-3 >= -4", Explain(both, 1, 1).parts.back().reason);
  const Mask columns = Mask::Causal({2, 2}).Reorder(
      std::nullopt, Positions::FromArray(Array::FromVector(std::vector<int64_t>{70, -4})));
  EXPECT_EQ("column 0 is kv position 70", Explain(columns, 1, 0).parts.front().reason);
  EXPECT_TRUE(Explain(reordered, 0, 1).value());
}

int64_t CountLines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

TEST(ExplainTest, LargeExpressionsStayReadable) {
  const Shape shape{64, 64};
  Mask wide = Mask::Causal(shape, 100), deep = Mask::Prefix(shape, 3);
  for (int i = 1; i < kMaxMaskDepth - 1; ++i) {
    wide = wide & Mask::Causal(shape, i == 1500 ? -60 : i);
    const Mask leaf = Mask::Causal(shape, i);
    deep = i % 2 == 0 ? leaf & deep : deep | ~leaf;
  }
  // One operand of very many decides.
  std::string text = ToString(Explain(wide, 40, 30));
  EXPECT_LE(CountLines(text), 50) << text;
  EXPECT_NE(std::string::npos, text.find("  & (...)")) << text;
  EXPECT_NE(std::string::npos,
            text.find("  causal(-60)  false  40 - 60 >= 30 is false  <- decides"))
      << text;
  EXPECT_NE(std::string::npos, text.find("\n    ... 1462 more\n")) << text;
  // All of them do.
  text = ToString(Explain(wide, 63, 3));
  EXPECT_LE(CountLines(text), 50) << text;
  EXPECT_NE(std::string::npos, text.find("\n    ... 1960 more, which decide, too\n")) << text;
  // Far below.
  text = ToString(Explain(deep, 40, 10));
  EXPECT_LE(CountLines(text), 90) << text;
  EXPECT_NE(std::string::npos, text.find("prefix(3)")) << text;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    EXPECT_LE(end - at, 200U) << text;
  }
}

TEST(ExplainTest, PairsThatAreNotThere) {
  const MultiHeadMask mask(Mask::Causal({8, 12}), 3);
  const auto explain = [&](int64_t head, int64_t q, int64_t kv) {
    return [&mask, head, q, kv] { Explain(mask, head, q, kv); };
  };
  constexpr ErrorCode kCode = ErrorCode::kInvalidArgument;
  ExpectError(kCode, "[explain] expected q in 0..7, got 8", explain(0, 8, 0));
  ExpectError(kCode, "[explain] expected q in 0..7, got -1", explain(0, -1, 0));
  ExpectError(kCode, "[explain] expected kv in 0..11, got 12", explain(0, 0, 12));
  ExpectError(kCode, "[explain] expected a head in 0..2, got 3", explain(3, 0, 0));
  ExpectError(kCode, "[explain] expected a head in 0..2, got -1", explain(-1, 0, 0));
  ExpectError(ErrorCode::kIo, "no such row", [] { Explain(CustomMask({2000, 9}), 1001, 0); });
}

}  // namespace
}  // namespace splashmask
