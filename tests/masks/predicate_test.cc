// SPDX-License-Identifier: Apache-2.0
// The text of predicates: what parses to what, and what does not.

#include "splashmask/masks/where/predicate.h"

#include <gtest/gtest.h>

#include <string>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_predicate.h"

namespace splashmask {
namespace {

TEST(PredicateTest, CanonicalTextHasMinimalParentheses) {
  const std::pair<const char*, const char*> cases[] = {
      {"q>=kv", "q >= kv"},
      {"((q)) >= (kv)", "q >= kv"},
      {"q>=kv and(q-kv)%64<8", "q >= kv and (q - kv) % 64 < 8"},
      {"kv//128<=q//128", "kv // 128 <= q // 128"},
      {"abs(q-kv)*3<kv", "abs(q - kv) * 3 < kv"},
      {"(q - kv) - 1 < 0", "q - kv - 1 < 0"},
      {"q - (kv - 1) < 0", "q - (kv - 1) < 0"},
      {"q * (kv * 2) < 0", "q * (kv * 2) < 0"},
      {"(q * kv) // 2 % 3 == 1", "q * kv // 2 % 3 == 1"},
      {"q + kv * 2 == 4", "q + kv * 2 == 4"},
      {"(q + kv) * 2 == 4", "(q + kv) * 2 == 4"},
      {"-q * kv < 3", "-q * kv < 3"},
      {"-(q * kv) < 3", "-(q * kv) < 3"},
      {"--q < +3", "--q < 3"},
      {"-(5) < -(-6) * q", "-5 < 6 * q"},
      {"q < 1_000", "q < 1000"},
      {"-9223372036854775808 < q", "-9223372036854775808 < q"},
      {"not q < kv", "not q < kv"},
      {"not (q < kv and kv < 3)", "not (q < kv and kv < 3)"},
      {"not (q < kv < 3)", "not q < kv < 3"},
      {"not not q < kv", "not not q < kv"},
      {"(q < kv) and ((kv < 3) or (q > 5))", "q < kv and (kv < 3 or q > 5)"},
      {"((q < kv) and (kv < 3)) or (q > 5)", "q < kv and kv < 3 or q > 5"},
      {"q < kv and (kv < 3 and q > 5)", "q < kv and (kv < 3 and q > 5)"},
      {"0 <= q - kv < 64", "0 <= q - kv < 64"},
      {"(0 <= q - kv) and (q - kv < 64)", "0 <= q - kv and q - kv < 64"},
      {"0 < q < kv < q_len != kv_len", "0 < q < kv < q_len != kv_len"},
      {"min(q, kv) < max(q, kv, 7)", "min(q, kv) < max(q, kv, 7)"},
      {"min(min(q, kv), 3) < 1", "min(q, kv, 3) < 1"},
      {"min(q, min(kv, 3)) < 1", "min(q, min(kv, 3)) < 1"},
      {"abs(-q) == abs((q))", "abs(-q) == abs(q)"},
      {"2 - -1 < q", "2 - -1 < q"},
  };
  for (const auto& [text, canonical] : cases) {
    EXPECT_EQ(Predicate::Parse(text).text(), canonical);
    EXPECT_EQ(Predicate::Parse(canonical).text(), canonical);
  }
}

TEST(PredicateTest, CanonicalTextParsesBack) {
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    std::mt19937_64 random(seed);
    const std::string text = RandomPredicate(random, static_cast<int>(seed % 5));
    const Predicate once = Predicate::Parse(text), twice = Predicate::Parse(once.text());
    ASSERT_EQ(once, twice) << text;
    ASSERT_EQ(once.nodes().size(), twice.nodes().size()) << text;
  }
}

TEST(PredicateTest, EqualOperationsAreOne) {
  const Predicate predicate = Predicate::Parse("q // 64 == kv // 64 and q // 64 < 3");
  EXPECT_EQ(predicate.nodes().size(), 9u);  // q, 64, q // 64, kv, kv // 64, ==, 3, <, and.
}

void ExpectPredicateSyntax(const std::string& text, const std::string& message) {
  SCOPED_TRACE(text);
  ExpectError(ErrorCode::kSyntax, "[parse] " + message, [&] { Predicate::Parse(text); });
}

TEST(PredicateErrorTest, TellsWhatIsMissing) {
  ExpectPredicateSyntax(
      "", "expected q, kv, an integer or '(', got the end of the text at column 1\n  \n  ^");
  ExpectPredicateSyntax("q >=",
                        "expected q, kv, an integer or '(', got the end of the text at column 5\n"
                        "  q >=\n      ^");
  ExpectPredicateSyntax("q >= kv kv",
                        "expected an operator, got 'kv' at column 9\n  q >= kv kv\n          ^");
  ExpectPredicateSyntax("(q >= kv", "this parenthesis is not closed at column 1\n  (q >= kv\n  ^");
  ExpectPredicateSyntax("q >= kv)", "this ')' closes nothing at column 8\n  q >= kv)\n         ^");
  ExpectPredicateSyntax(
      "abs(q, kv) < 1",
      "expected one argument of abs(), got another at column 6\n  abs(q, kv) < 1\n       ^");
  ExpectPredicateSyntax(
      "min(q) < 1",
      "expected at least two arguments of min(), got one at column 1\n  min(q) < 1\n  ^");
  ExpectPredicateSyntax(
      "q, kv", "expected ',' only between arguments of min() and max() at column 2\n  q, kv\n   ^");
  ExpectPredicateSyntax("abs q < 1",
                        "expected '(' after 'abs', got 'q' at column 5\n  abs q < 1\n      ^");
}

TEST(PredicateErrorTest, TellsWhatIsMeant) {
  ExpectPredicateSyntax(
      "q >= kv & q < 3",
      "expected an operator, got '&': write 'and' at column 9\n  q >= kv & q < 3\n"
      "          ^");
  ExpectPredicateSyntax("q >= kv | q < 3",
                        "expected an operator, got '|': write 'or' at column 9\n  q >= kv | q < 3\n"
                        "          ^");
  ExpectPredicateSyntax(
      "~(q < 3)",
      "expected q, kv, an integer or '(', got '~': write 'not' at column 1\n  ~(q < 3)\n"
      "  ^");
  ExpectPredicateSyntax("q = kv",
                        "expected an operator, got '=': write '==' at column 3\n  q = kv\n    ^");
  ExpectPredicateSyntax(
      "q / 2 < kv", "expected an operator, got '/': write '//' at column 3\n  q / 2 < kv\n    ^");
  ExpectPredicateSyntax(
      "q ** 2 < kv",
      "expected an operator, got '**': write a product at column 3\n  q ** 2 < kv\n    ^");
  ExpectPredicateSyntax("Q < kv", "unknown name 'Q': did you mean 'q'? at column 1\n  Q < kv\n  ^");
  ExpectPredicateSyntax(
      "q < kvlen",
      "unknown name 'kvlen': did you mean 'kv_len'? at column 5\n  q < kvlen\n      ^");
  ExpectPredicateSyntax("q < 0.5", "expected an integer at column 5\n  q < 0.5\n      ^");
  ExpectPredicateSyntax(
      "q < 'a'", "expected q, kv, an integer or '(', got ''a'' at column 5\n  q < 'a'\n      ^");
}

TEST(PredicateErrorTest, ChecksTypes) {
  ExpectPredicateSyntax(
      "q - kv", "expected a condition, such as q >= kv, got an integer at column 1\n  q - kv\n  ^");
  ExpectPredicateSyntax(
      "q and kv > 1",
      "expected a condition for 'and', such as q >= kv, got an integer at column 1\n"
      "  q and kv > 1\n  ^");
  ExpectPredicateSyntax(
      "not q",
      "expected a condition for 'not', such as q >= kv, got an integer at column 5\n"
      "  not q\n      ^");
  ExpectPredicateSyntax(
      "(q > 1) + 2 > 3",
      "expected an integer for '+', got a condition at column 1\n  (q > 1) + 2 > 3\n  ^");
  ExpectPredicateSyntax("(q > 1) == (kv > 1)",
                        "expected an integer for '==', got a condition at column 1\n"
                        "  (q > 1) == (kv > 1)\n  ^");
  ExpectPredicateSyntax(
      "-(q > 1) < 3",
      "expected an integer for '-', got a condition at column 2\n  -(q > 1) < 3\n   ^");
  ExpectPredicateSyntax("abs(q > 1) < 3",
                        "expected an integer for 'abs', got a condition at column 5\n"
                        "  abs(q > 1) < 3\n      ^");
  ExpectPredicateSyntax(
      "1 + not q > 1",
      "expected parentheses around 'not ...' here at column 5\n  1 + not q > 1\n      ^");
}

TEST(PredicateErrorTest, LimitsSize) {
  ExpectPredicateSyntax(
      "q < 9223372036854775808",
      "expected an integer that fits in 64 bits, got 9223372036854775808 at column 5\n"
      "  q < 9223372036854775808\n      ^");
  ExpectPredicateSyntax(
      "q < -9223372036854775809",
      "expected an integer that fits in 64 bits, got -9223372036854775809 at column 5\n"
      "  q < -9223372036854775809\n      ^");
  std::string sum = "q";
  for (int i = 0; i < 3000; ++i) sum += " + " + std::to_string(i);
  ExpectError(ErrorCode::kInvalidArgument,
              "[where] expected a predicate of at most 2000 operations",
              [&] { Predicate::Parse(sum + " < kv"); });
}

// Depth costs no stack: not of parentheses, nor of operators up to the limit.
TEST(PredicateTest, DeepTexts) {
  const std::string open(100'000, '('), close(100'000, ')');
  EXPECT_EQ(Predicate::Parse(open + "q < kv" + close).text(), "q < kv");
  ExpectError(ErrorCode::kSyntax,
              "[parse] this parenthesis is not closed at column 100000\n"
              "  ...(((((((((((((((((((((((((((((((((((((((((q < kv\n"
              "                                             ^",
              [&] { Predicate::Parse(open + "q < kv"); });
  std::string nested = "q";
  for (int i = 0; i < 1900; ++i) nested = "abs(" + nested + ")";
  EXPECT_EQ(Predicate::Parse(nested + " < kv").text(), nested + " < kv");
}

TEST(PredicateTest, StandsInTheTextOfAMask) {
  const Shape shape{8, 8};
  const Mask mask = ParseMask("causal() & ~where('q//2==kv//2')", shape);
  EXPECT_EQ(ToString(mask), "causal() & ~where(\"q // 2 == kv // 2\")");
  EXPECT_EQ(CanonicalText(mask), ToString(mask));
  EXPECT_EQ(ParseMask(ToString(mask), shape), mask);
  EXPECT_EQ(mask.Hash(), ParseMask(ToString(mask), shape).Hash());
  EXPECT_FALSE(Mask::Where(shape, "q < kv") == Mask::Where(shape, "kv > q"));
  ExpectError(ErrorCode::kSyntax,
              "[parse] expected an operator, got '&': write 'and' at column 8\n"
              "  q < kv & q > 1\n         ^",
              [&] { ParseMask("full() | where(\"q < kv & q > 1\")", shape); });
  ExpectError(
      ErrorCode::kSyntax,
      "[parse] expected a predicate in quotes, such as \"q >= kv\" for 'predicate', got '3' "
      "at column 7\n  where(3)\n        ^",
      [&] { ParseMask("where(3)", shape); });
}

}  // namespace
}  // namespace splashmask
