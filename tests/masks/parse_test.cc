// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/parse.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "splashmask/masks/print.h"
#include "tests/support/random_case.h"

namespace splashmask {
namespace {

constexpr Shape kSquare{12, 12};

Mask Parse(const std::string& text) { return ParseMask(text, kSquare); }

TEST(ParseTest, EveryCallMakesItsMask) {
  EXPECT_EQ(Mask::Full(kSquare), Parse("full()"));
  EXPECT_EQ(Mask::Empty(kSquare), Parse("empty()"));
  EXPECT_EQ(Mask::Causal(kSquare), Parse("causal()"));
  EXPECT_EQ(Mask::Causal(kSquare, -3), Parse("causal(-3)"));
  EXPECT_EQ(Mask::Causal(kSquare, 3), Parse("causal(offset=3)"));
  EXPECT_EQ(Mask::Local(kSquare, 2, 1), Parse("local(2, 1)"));
  EXPECT_EQ(Mask::Local(kSquare, {}, -1, 5), Parse("local(none, -1, 5)"));
  EXPECT_EQ(Mask::Local(kSquare, 4, {}, 5), Parse("local(offset=5, right=None, left=4)"));
  EXPECT_EQ(Mask::ChunkedCausal(kSquare, 4), Parse("chunked_causal(4)"));
  EXPECT_EQ(Mask::Prefix(kSquare, 3), Parse("prefix(n=3)"));
  EXPECT_EQ(Mask::QRange(kSquare, 1, 5), Parse("q_range(1, 5)"));
  EXPECT_EQ(Mask::KvRange(kSquare, 1, 5), Parse("kv_range(1, b=5)"));
  EXPECT_EQ(Mask::Stride(kSquare, 3), Parse("stride(3)"));
  EXPECT_EQ(Mask::Stride(kSquare, 3, 2), Parse("stride(3, phase=2)"));
  EXPECT_EQ(Mask::Documents(kSquare, {5, 0, 7}), Parse("documents([5, 0, 7])"));
  EXPECT_EQ(Mask::Documents(kSquare, std::vector<int64_t>{}), Parse("documents([])"));
  EXPECT_EQ(Mask::Causal(kSquare).Reorder(Positions::Zigzag(3)),
            Parse("reorder(causal(), q=zigzag(3))"));
  EXPECT_EQ(Mask::Causal(kSquare).Reorder(Positions::Striped(4)),
            Parse("reorder(causal(), q=striped(4))"));
  EXPECT_EQ(Mask::Causal(kSquare).Reorder(std::nullopt, Positions::Zigzag(3)),
            Parse("reorder(causal(), kv=zigzag(3))"));
  EXPECT_EQ(Mask::Causal(kSquare).Reorder(Positions::Striped(4), Positions::Zigzag(3)),
            Parse("reorder(causal(), kv=zigzag(3), q=striped(4))"));
  EXPECT_EQ(Mask::Causal(kSquare, 9223372036854775807), Parse("causal(9_223_372036854775807)"));
  EXPECT_EQ(Mask::Causal(kSquare, INT64_MIN), Parse("causal(-9223372036854775808)"));
}

TEST(ParseTest, OperatorsHavePythonsPrecedence) {
  const Mask a = Mask::Causal(kSquare), b = Mask::Prefix(kSquare, 2), c = Mask::Stride(kSquare, 2);
  EXPECT_EQ(a | (b & c), Parse("causal() | prefix(2) & stride(2)"));
  EXPECT_EQ((a & b) | c, Parse("causal() & prefix(2) | stride(2)"));
  EXPECT_EQ(a | (b ^ c), Parse("causal() | prefix(2) ^ stride(2)"));
  EXPECT_EQ(a ^ (b & c), Parse("causal() ^ prefix(2) & stride(2)"));
  EXPECT_EQ(a & (b - c), Parse("causal() & prefix(2) - stride(2)"));
  EXPECT_EQ((a - b) - c, Parse("causal() - prefix(2) - stride(2)"));
  EXPECT_EQ(a - (b - c), Parse("causal() - (prefix(2) - stride(2))"));
  EXPECT_EQ(~a & b, Parse("~causal() & prefix(2)"));
  EXPECT_EQ(~(a & b), Parse("~(causal() & prefix(2))"));
  EXPECT_EQ(~~a, Parse("~ ~causal( )"));
  EXPECT_EQ((a | b) & c, Parse(" ( (causal() |\n prefix(2)) ) & stride(2) "));
  EXPECT_EQ((a & b).Reorder(Positions::Zigzag(3)) | c,
            Parse("reorder(causal() & prefix(2), q=zigzag(3)) | stride(2)"));
}

TEST(ParseTest, ListsGiveOneMaskAHead) {
  const Mask a = Mask::Causal(kSquare), b = Mask::Prefix(kSquare, 2);
  EXPECT_EQ(MultiHeadMask({a, a, b}), ParseMultiHeadMask("[causal() * 2, prefix(2)]", kSquare));
  EXPECT_EQ(MultiHeadMask({a & b, a & b}),
            ParseMultiHeadMask("[(causal() & prefix(2)) * 2,]", kSquare));
  EXPECT_EQ(MultiHeadMask({~a, ~a}), ParseMultiHeadMask("[~causal() * 2]", kSquare, 2));
  EXPECT_EQ(MultiHeadMask(a, 4), ParseMultiHeadMask("causal()", kSquare, 4));
  EXPECT_EQ(MultiHeadMask(a, 1), ParseMultiHeadMask("causal()", kSquare));
}

TEST(ParseTest, PrintsMinimalParenthesesAndNoDefaults) {
  for (const char* text : {"full()",
                           "empty()",
                           "causal()",
                           "causal(-3)",
                           "local(none, 0)",
                           "local(3, none, -2)",
                           "chunked_causal(4)",
                           "prefix(3)",
                           "q_range(-1, 5)",
                           "kv_range(2, 3)",
                           "stride(3)",
                           "stride(3, 1)",
                           "documents([5, 7])",
                           "documents([])",
                           "reorder(causal(), q=zigzag(2))",
                           "reorder(causal(), kv=zigzag(2))",
                           "reorder(causal(), q=zigzag(2), kv=striped(3))",
                           "causal() & where(\"q // 3 == kv // 3\")",
                           "reorder(causal() | full(), q=striped(3))",
                           "causal() | prefix(2) ^ full() & ~empty()",
                           "(causal() | prefix(2)) & full()",
                           "causal() - (prefix(2) - full())",
                           "causal() - prefix(2) - full()",
                           "~(causal() & full())",
                           "~~causal()"}) {
    EXPECT_EQ(text, ToString(Parse(text)));
    EXPECT_EQ(text, CanonicalText(Parse(text)));
  }
  for (const char* text : {"[causal()]", "[causal() * 8]", "[causal() * 2, prefix(2)]",
                           "[(causal() & full()) * 3, ~causal() * 2, causal() & full()]"}) {
    EXPECT_EQ(text, ToString(ParseMultiHeadMask(text, kSquare)));
  }
  EXPECT_EQ("[(causal() - full()) * 2]",
            ToString(MultiHeadMask(Mask::Causal(kSquare) - Mask::Full(kSquare), 2)));
}

TEST(ParseTest, ArraysComeFromTheResolverUnderTheirNames) {
  std::vector<std::string> asked;
  const std::vector<int32_t> ids = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3};
  const ArrayResolver resolve = [&](const std::string& name) {
    asked.push_back(name);
    return Array::FromVector(ids);
  };
  const char* text = R"(segments("a \"b\" \\.npy", pad=3) | segments("q", "kv"))";
  const Mask mask = ParseMask(text, kSquare, resolve);
  EXPECT_EQ((std::vector<std::string>{"a \"b\" \\.npy", "q", "kv"}), asked);
  EXPECT_EQ(text, ToString(mask));
  const std::string name = Array::FromVector(ids).Digest();
  EXPECT_EQ("segments(\"" + name + "\", pad=3) | segments(\"" + name + "\")", CanonicalText(mask));
  EXPECT_EQ(mask, ParseMask(CanonicalText(mask), kSquare, resolve));
  EXPECT_EQ(mask, ParseMask("segments('a', pad=3) | segments(\"b\", 'b')", kSquare, resolve));
}

TEST(ParseTest, EveryPrintedExpressionParsesBackToItself) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::mt19937_64 random(seed);
    const Mask mask = RandomMask(random, {16, 12}, 5);
    std::map<std::string, Array> arrays;
    ForEachArray(mask, [&](const Array& array) { arrays.emplace(array.Digest(), array); });
    const auto resolve = [&](const std::string& name) { return arrays.at(name); };
    const std::string text = ToString(mask);
    const Mask back = ParseMask(text, mask.shape(), resolve);
    ASSERT_EQ(mask, back) << text;
    ASSERT_EQ(text, ToString(back));
    const MultiHeadMask heads({mask, mask, ~mask});
    ASSERT_EQ(heads, ParseMultiHeadMask(CanonicalText(heads), mask.shape(), 3, resolve)) << text;
  }
}

TEST(ParseTest, AHundredThousandParenthesesAreFine) {
  const std::string open(100000, '('), close(100000, ')');
  EXPECT_EQ(Mask::Causal(kSquare), Parse(open + "causal()" + close));
}

}  // namespace
}  // namespace splashmask
