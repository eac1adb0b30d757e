// SPDX-License-Identifier: Apache-2.0
// Predicates that fail: every cell of a shape decides, whatever intervals prune.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splashmask/masks/interruption.h"
#include "splashmask/masks/mask.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/where/ranges.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_predicate.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

using Wide = __int128;

// A predicate at one cell as Python evaluates it, in integers wide enough for one operation on
// 64-bit ones; nullopt where it fails.
class Cell {
 public:
  Cell(std::span<const PredicateNode> nodes, Shape shape, int64_t q, int64_t kv)
      : nodes_(nodes), shape_(shape), q_(q), kv_(kv) {}

  std::optional<Wide> Value(int32_t index) const {
    const PredicateNode& node = nodes_[index];
    switch (node.op) {
      case PredicateOp::kConstant:
        return node.constant;
      case PredicateOp::kQ:
        return q_;
      case PredicateOp::kKv:
        return kv_;
      case PredicateOp::kQLen:
        return shape_.q_len;
      case PredicateOp::kKvLen:
        return shape_.kv_len;
      default:
        break;
    }
    const std::optional<Wide> a = Value(node.left);
    if (!a) return std::nullopt;
    if (node.op == PredicateOp::kAnd && *a == 0) return 0;
    if (node.op == PredicateOp::kOr && *a == 1) return 1;
    std::optional<Wide> b;
    if (node.right >= 0) {
      b = Value(node.right);
      if (!b) return std::nullopt;
    }
    const std::optional<Wide> value = Operate(node.op, *a, b.value_or(0));
    if (!value || *value < INT64_MIN || *value > INT64_MAX) return std::nullopt;
    return value;
  }

 private:
  static std::optional<Wide> Operate(PredicateOp op, Wide a, Wide b) {
    switch (op) {
      case PredicateOp::kNegate:
        return -a;
      case PredicateOp::kAbs:
        return a < 0 ? -a : a;
      case PredicateOp::kAdd:
        return a + b;
      case PredicateOp::kSubtract:
        return a - b;
      case PredicateOp::kMultiply:
        return a * b;
      case PredicateOp::kFloorDivide:
      case PredicateOp::kModulo: {
        if (b == 0) return std::nullopt;
        Wide quotient = a / b;  // Towards zero; Python rounds down.
        if (quotient * b != a && (a < 0) != (b < 0)) --quotient;
        return op == PredicateOp::kFloorDivide ? quotient : a - quotient * b;
      }
      case PredicateOp::kMin:
        return a < b ? a : b;
      case PredicateOp::kMax:
        return a < b ? b : a;
      case PredicateOp::kEqual:
        return a == b;
      case PredicateOp::kNotEqual:
        return a != b;
      case PredicateOp::kLess:
        return a < b;
      case PredicateOp::kLessEqual:
        return a <= b;
      case PredicateOp::kGreater:
        return a > b;
      case PredicateOp::kGreaterEqual:
        return a >= b;
      case PredicateOp::kNot:
        return 1 - a;
      default:
        return b;  // `and`, `or`: the left side left it open.
    }
  }

  std::span<const PredicateNode> nodes_;
  Shape shape_;
  int64_t q_, kv_;
};

bool Fails(const Predicate& predicate, Shape shape, int64_t q, int64_t kv) {
  const auto last = static_cast<int32_t>(predicate.nodes().size()) - 1;
  return !Cell(predicate.nodes(), shape, q, kv).Value(last);
}

// " at (q, kv) = (3, 0)" for the first cell in row order that fails; "" if none does.
std::string FirstFailingCell(const Predicate& predicate, Shape shape) {
  for (int64_t q = 0; q < shape.q_len; ++q) {
    for (int64_t kv = 0; kv < shape.kv_len; ++kv) {
      if (Fails(predicate, shape, q, kv)) {
        return " at (q, kv) = (" + std::to_string(q) + ", " + std::to_string(kv) + ")";
      }
    }
  }
  return "";
}

TEST(WhereTest, FailsIfAndOnlyIfSomeCellFails) {
  int64_t failing = 0, sound = 0;
  for (uint64_t seed = 0; seed < SampleSize(24'000); ++seed) {
    std::mt19937_64 random(seed);
    const Shape shape{static_cast<int64_t>(random() % 14 + 1),
                      static_cast<int64_t>(random() % 14 + 1)};
    const Predicate predicate = Predicate::Parse(RandomPredicate(random, 1 + seed % 4));
    const std::string expected = FirstFailingCell(predicate, shape);
    std::string got;
    try {
      Mask::Where(shape, predicate);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kInvalidArgument);
      got = error.what();
      const size_t at = got.rfind(" at (q, kv) = ");
      ASSERT_NE(at, std::string::npos) << got;
      got = got.substr(at);
    }
    ASSERT_EQ(got, expected) << predicate.text() << " on " << shape.q_len << " x " << shape.kv_len;
    ++(expected.empty() ? sound : failing);
  }
  EXPECT_GT(failing, sound / 20);
  EXPECT_GT(sound, failing / 20);
}

// The same for positions that a reordering brings in.
TEST(WhereTest, ReorderingsFailIfAndOnlyIfSomeCellFails) {
  int64_t failing = 0, sound = 0;
  const Shape shape{5, 6};
  for (uint64_t seed = 0; seed < SampleSize(16'000); ++seed) {
    std::mt19937_64 random(seed);
    const Predicate predicate = Predicate::Parse(RandomPredicate(random, 1 + seed % 3));
    if (!FirstFailingCell(predicate, shape).empty()) continue;
    const Mask mask = Mask::Where(shape, predicate);
    std::vector<int64_t> q, kv;
    for (int64_t i = 0; i < shape.q_len; ++i) q.push_back(static_cast<int64_t>(random() % 30) - 10);
    for (int64_t i = 0; i < shape.kv_len; ++i)
      kv.push_back(static_cast<int64_t>(random() % 30) - 10);
    if (seed % 7 == 0) q[seed % 5] = INT64_MAX;
    if (seed % 11 == 0) kv[seed % 6] = -kMostKvPosition;
    const bool reorder_kv = seed % 3 != 0;
    std::string expected;
    for (int64_t r = 0; r < shape.q_len && expected.empty(); ++r) {
      for (int64_t c = 0; c < shape.kv_len && expected.empty(); ++c) {
        const int64_t position = reorder_kv ? kv[c] : c;
        if (!Fails(predicate, shape, q[r], position)) continue;
        expected = "row " + std::to_string(r) + ", column " + std::to_string(c) +
                   " of the reordering, where (q, kv) = (" + std::to_string(q[r]) + ", " +
                   std::to_string(position) + ")";
      }
    }
    const Positions rows = Positions::FromArray(Array::FromVector(q));
    const Positions columns = Positions::FromArray(Array::FromVector(kv));
    std::string got;
    try {
      (~mask | Mask::Causal(shape))
          .Reorder(rows, reorder_kv ? std::optional(columns) : std::nullopt);
    } catch (const Error& error) {
      got = error.what();
      got = got.substr(got.rfind(" at ") + 4);
    }
    ASSERT_EQ(got, expected) << predicate.text();
    ++(expected.empty() ? sound : failing);
  }
  EXPECT_GT(failing, 30);
  EXPECT_GT(sound, 1000);
}

TEST(WhereTest, NamesTheOperationAndTheCell) {
  const Shape shape{10, 10};
  const auto expect = [&](const std::string& predicate, const std::string& what) {
    ExpectError(ErrorCode::kInvalidArgument,
                "[where] expected a predicate that holds or not in every cell, but " + what,
                [&] { Mask::Where(shape, predicate); });
  };
  expect("q // (kv - 3) > 1", "q // (kv - 3) divides by zero at (q, kv) = (0, 3)");
  expect("kv % q == 0", "kv % q divides by zero at (q, kv) = (0, 0)");
  expect("q > 4 and kv % (q - 7) == 0", "kv % (q - 7) divides by zero at (q, kv) = (7, 0)");
  expect("q * 9223372036854775807 > kv",
         "q * 9223372036854775807 leaves 64 bits at (q, kv) = (2, 0)");
  expect("-9223372036854775808 // (kv - 2) < q",
         "-9223372036854775808 // (kv - 2) leaves 64 bits at (q, kv) = (0, 1)");
  expect("abs(-9223372036854775808) > q",
         "abs(-9223372036854775808) leaves 64 bits at (q, kv) = "
         "(0, 0)");
  expect("1 // 0 > q", "1 // 0 divides by zero at (q, kv) = (0, 0)");
  // Python looks no further than it must.
  EXPECT_NO_THROW(Mask::Where(shape, "q == 0 or kv % q == 0"));
  EXPECT_NO_THROW(Mask::Where(shape, "q != kv and 64 // (q - kv) > 3"));
  EXPECT_NO_THROW(Mask::Where(shape, "q < 100 or 1 // 0 == 1"));
  ExpectError(ErrorCode::kInvalidArgument,
              "[where] expected a predicate that holds or not in every cell, but kv % q divides by "
              "zero at (q, kv) = (0, 0) at column 10\n"
              "  full() & where(\"kv % q == 0\")\n           ^",
              [&] { ParseMask("full() & where(\"kv % q == 0\")", shape); });
}

TEST(WhereTest, LargeShapesAreCheckedWithoutVisitingCells) {
  const Shape shape{1 << 20, 1 << 20};
  for (const char* predicate :
       {"q >= kv and (q - kv) % 64 < 8", "kv // 128 <= q // 128", "abs(q - kv) * 3 < kv",
        "q == 0 or kv % q == 0", "kv != 77 and q // (kv - 77) < 3", "q_len // kv_len == 1",
        "(q + kv) % 7 == 0 or q // ((q + kv) % 7) > 3", "q * kv % 6 != 5 or 9 // (q * kv % 6) < 2",
        "(q - kv) % 64 == 0 or kv % ((q - kv) % 64) == 0",
        "(q - kv) % 2 == 0 or kv // (q - kv) > 1"}) {
    EXPECT_NO_THROW(Mask::Where(shape, predicate));
  }
  ExpectError(ErrorCode::kInvalidArgument,
              "[where] expected a predicate that holds or not in every cell, but 5 // (q - kv + "
              "1000003) divides by zero at (q, kv) = (0, 1000003)",
              [&] { Mask::Where(shape, "5 // (q - kv + 1000003) == 1"); });
}

// Its remainder has nothing to do with what may fail.
TEST(WhereTest, RemaindersDoNotStandInTheWay) {
  EXPECT_NO_THROW(Mask::Where({1 << 15, 1 << 15},
                              "q // 9 != kv // 9 and q // (q // 9 - kv // 9) > 3 and "
                              "(q + kv) % 1000 < 500"));
}

// Cells tell nothing of it but one by one.
constexpr const char* kUndecided =
    "(q // 5 + kv) % (q + 2) == 0 or q // ((q // 5 + kv) % (q + 2)) > 3";

TEST(WhereTest, CallersMayEndALongCheck) {
  const Shape shape{1 << 17, 1 << 17};
  int calls = 0;
  struct Stopped {};
  const InterruptionCheck never([] { ADD_FAILURE() << "the inner one counts"; });
  {
    const InterruptionCheck check([&] {
      if (++calls == 3) throw Stopped();
    });
    EXPECT_THROW(Mask::Where(shape, kUndecided), Stopped);
    EXPECT_EQ(calls, 3);
    std::vector<int64_t> rows(4000);
    std::iota(rows.begin(), rows.end(), 200'000);
    calls = 0;
    const Mask mask = Mask::Where(
        {4000, 4000}, "q < 150000 or kv * kv % 4099 == 2 or q // (kv * kv % 4099 - 2) > 3");
    EXPECT_THROW(mask.Reorder(Positions::FromArray(Array::FromVector(rows))), Stopped);
  }
  calls = 0;
  const InterruptionCheck small([&] { ++calls; });
  Mask::Where({8, 8}, "q >= kv");
  EXPECT_EQ(calls, 0);
}

#if !defined(SPLASHMASK_SANITIZED)  // A minute there.
TEST(WhereTest, GivesUpWhatTakesTooLong) {
  ExpectError(
      ErrorCode::kTooLarge,
      "[where] expected a predicate that soon shows whether it divides by zero or leaves 64 "
      "bits, but that was still open after 33554432 rectangles",
      [] {
        Mask::Where({1 << 17, 1 << 17}, kUndecided);
      });
}
#endif

// What hangs on remainders, in more cells than are looked at one by one.
TEST(WhereTest, RemaindersFailWhereTheFirstCellDoes) {
  std::mt19937_64 random(1);
  const auto any_of = [&](std::initializer_list<const char*> texts) {
    return std::string(texts.begin()[random() % texts.size()]);
  };
  int64_t failed = 0;
  for (uint64_t i = 0; i < SampleSize(120); ++i) {
    const Shape shape{static_cast<int64_t>(140 + random() % 60),
                      static_cast<int64_t>(140 + random() % 60)};
    const std::string value = any_of(
        {"(q + kv)", "(q * kv)", "(q - kv)", "abs(q - kv)", "(3 * q - kv)", "-q", "(kv * kv)"});
    const uint64_t modulus = 2 + random() % 11, seen = random() % modulus;
    const std::string remainder = fmt::format("{} % {}", value, modulus);
    const std::string text =
        fmt::format("{} {} {} {} {} // ({} - {}) > 1", remainder, any_of({"==", "!=", "<"}), seen,
                    any_of({"or", "and"}), any_of({"q", "kv", "9"}), remainder,
                    random() % 3 == 0 ? random() % modulus : seen);
    const Predicate predicate = Predicate::Parse(text);
    std::string expected;
    for (int64_t q = 0; q < shape.q_len && expected.empty(); ++q) {
      for (int64_t kv = 0; kv < shape.kv_len && expected.empty(); ++kv) {
        const Cell cell(predicate.nodes(), shape, q, kv);
        if (!cell.Value(static_cast<int32_t>(predicate.nodes().size()) - 1)) {
          expected = fmt::format("divides by zero at (q, kv) = ({}, {})", q, kv);
        }
      }
    }
    failed += !expected.empty();
    try {
      Mask::Where(shape, predicate);
      ASSERT_EQ(expected, "") << text;
    } catch (const Error& error) {
      ASSERT_TRUE(!expected.empty() && std::string(error.what()).ends_with(expected))
          << text << ": " << error.what();
    }
  }
  EXPECT_GT(failed, SampleSize(16));
}

// Every value of every operation lies in the range that intervals give it, in every rectangle.
TEST(WhereTest, RangesHoldEveryValue) {
  int64_t checked = 0;
  for (uint64_t seed = 0; seed < SampleSize(2000); ++seed) {
    std::mt19937_64 random(seed);
    const Shape shape{40, 40};
    const Predicate predicate = Predicate::Parse(RandomPredicate(random, 1 + seed % 4));
    const PredicateProgram program(predicate, shape);
    std::vector<ValueRange> ranges(static_cast<size_t>(program.size()));
    const PositionRange q{static_cast<int64_t>(random() % 20) - 5,
                          static_cast<int64_t>(random() % 12) + 15};
    const PositionRange kv{static_cast<int64_t>(random() % 20) - 5,
                           static_cast<int64_t>(random() % 12) + 15};
    // All positions, or those of a class.
    ResidueClass in{static_cast<int64_t>(1 + random() % 12)};
    if (random() % 2 == 0) in.q = static_cast<int64_t>(random() % 100) % in.modulus;
    if (random() % 2 == 0) in.kv = static_cast<int64_t>(random() % 100) % in.modulus;
    const bool has_class = seed % 2 == 0;
    if (has_class) {
      FindRanges(program, q, kv, in, ranges);
    } else {
      FindRanges(program, q, kv, ranges);
    }
    const auto modulo = [&](Wide value) { return (value % in.modulus + in.modulus) % in.modulus; };
    for (int64_t row = q.first; row <= q.last; row += 1 + seed % 3) {
      for (int64_t column = kv.first; column <= kv.last; ++column) {
        if (has_class &&
            ((in.q >= 0 && modulo(row) != in.q) || (in.kv >= 0 && modulo(column) != in.kv))) {
          continue;
        }
        const Cell cell(predicate.nodes(), shape, row, column);
        for (int32_t i = 0; i < program.size(); ++i) {
          const ProgramNode& node = program.nodes()[i];
          const std::optional<Wide> value = cell.Value(node.source);
          if (!value) {
            ASSERT_TRUE(ranges[i].may_fail)
                << predicate.TextOf(node.source) << " at " << row << ", " << column;
            continue;
          }
          ++checked;
          ASSERT_TRUE(ranges[i].low <= *value && *value <= ranges[i].high)
              << predicate.TextOf(node.source) << " of " << predicate.text() << " at " << row
              << ", " << column;
          ASSERT_TRUE(ranges[i].residue < 0 || ranges[i].residue == modulo(*value))
              << predicate.TextOf(node.source) << " of " << predicate.text() << " at " << row
              << ", " << column;
        }
      }
    }
  }
  EXPECT_GT(checked, SampleSize(400'000));
}

}  // namespace
}  // namespace splashmask
