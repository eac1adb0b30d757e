// SPDX-License-Identifier: Apache-2.0
// What Simplify makes of a mask, written down from what the mask says.

#include "splashmask/masks/simplify.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/node.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "tests/masks/simplify_support.h"

namespace splashmask {
namespace {

struct Rewrite {
  const char* from;
  const char* to;
};

void ExpectRewrites(Shape shape, const std::vector<Rewrite>& rewrites) {
  for (const Rewrite& rewrite : rewrites) {
    const Mask mask = ParseMask(rewrite.from, shape);
    EXPECT_EQ(ToString(Simplify(mask)), rewrite.to) << rewrite.from;
    ExpectSimplified(mask);
  }
}

TEST(SimplifyTest, Constants) {
  ExpectRewrites({10, 12}, {{"~full()", "empty()"},
                            {"~~causal(3)", "causal(3)"},
                            {"full() & stride(3)", "stride(3)"},
                            {"full() - stride(3)", "~stride(3)"},
                            {"full() ^ stride(3)", "~stride(3)"},
                            {"empty() ^ stride(3)", "stride(3)"},
                            {"stride(3) - full()", "empty()"},
                            {"empty() - stride(3)", "empty()"},
                            {"stride(3) | full()", "full()"},
                            {"stride(3) ^ stride(3)", "empty()"},
                            {"stride(3) - stride(3)", "empty()"},
                            {"stride(3) | ~stride(3)", "full()"},
                            {"stride(3) & ~stride(3)", "empty()"},
                            {"~(stride(3) ^ ~stride(4))", "stride(3) ^ stride(4)"},
                            {"~stride(3) ^ ~stride(4)", "stride(3) ^ stride(4)"}});
}

TEST(SimplifyTest, Bands) {
  ExpectRewrites({1000, 1000}, {{"local(1000000000, 0)", "causal()"},
                                {"causal() & local(1024, none)", "causal()"},
                                {"causal() & local(100, none)", "local(100, 0)"},
                                {"~causal(3)", "local(-4, none)"},
                                {"local(none, none)", "full()"},
                                {"causal(999)", "full()"},
                                {"causal(998)", "causal(998)"},
                                {"causal(-1000)", "empty()"},
                                {"local(3, -4)", "empty()"},
                                {"local(5, 2, 10)", "local(-5, 12)"},
                                {"local(none, 2, 10)", "causal(12)"},
                                {"local(10, 0) | local(20, -5)", "local(20, 0)"},
                                {"local(10, 0) | local(20, -11)", "local(20, 0)"},
                                {"local(10, 0) | local(20, -12)", "local(20, -12) | local(10, 0)"},
                                {"causal() - local(10, 0)", "causal(-11)"},
                                {"causal() ^ causal(5)", "local(-1, 5)"},
                                {"~(causal(-1) | local(-1, none))", "local(0, 0)"},
                                {"causal(-5) | local(-5, none)", "~local(4, 4)"},
                                {"chunked_causal(1000)", "causal()"},
                                {"chunked_causal(1)", "local(0, 0)"},
                                {"stride(1)", "full()"},
                                {"stride(1200, 500)", "stride(1200, 500)"},
                                {"stride(1500, 500)", "local(500, -500)"},
                                {"stride(1999, 1500)", "local(-499, 499)"},
                                {"stride(5000, 3)", "local(3, -3)"},
                                {"stride(5000, 2000)", "empty()"}});
}

TEST(SimplifyTest, Ranges) {
  ExpectRewrites({10, 12},
                 {{"prefix(99)", "full()"},
                  {"kv_range(-5, 4)", "prefix(4)"},
                  {"kv_range(3, 12)", "kv_range(3, 12)"},
                  {"kv_range(3, 99)", "kv_range(3, 12)"},
                  {"~prefix(3)", "kv_range(3, 12)"},
                  {"~kv_range(3, 12)", "prefix(3)"},
                  {"~q_range(4, 10)", "q_range(0, 4)"},
                  {"~q_range(2, 4)", "~q_range(2, 4)"},
                  {"q_range(4, 4)", "empty()"},
                  {"q_range(-9, 10)", "full()"},
                  {"q_range(0, 4) | q_range(4, 6) | q_range(5, 8)", "q_range(0, 8)"},
                  {"q_range(0, 5) | q_range(5, 10)", "full()"},
                  {"q_range(0, 5) & q_range(5, 10)", "empty()"},
                  {"kv_range(1, 5) - kv_range(3, 12)", "kv_range(1, 3)"},
                  {"q_range(2, 4) & kv_range(1, 5)", "kv_range(1, 5) & q_range(2, 4)"},
                  {"kv_range(1, 5) & q_range(2, 4)", "kv_range(1, 5) & q_range(2, 4)"},
                  // What one set leaves of another.
                  {"causal() & q_range(4, 10) & prefix(4)", "prefix(4) & q_range(4, 10)"},
                  {"causal() & q_range(0, 4) & kv_range(4, 12)", "empty()"},
                  {"causal() & q_range(0, 4) & prefix(6)", "causal() & q_range(0, 4)"},
                  {"causal() | q_range(4, 10) | kv_range(4, 12)", "causal() | kv_range(4, 12)"},
                  {"causal() | q_range(4, 10) | kv_range(6, 12)",
                   "causal() | kv_range(6, 12) | q_range(4, 10)"},
                  {"causal(3) | q_range(0, 10)", "full()"}});
}

TEST(SimplifyTest, ChunksAndStrides) {
  ExpectRewrites(
      {60, 60},
      {{"chunked_causal(10) & causal(3)", "chunked_causal(10)"},
       {"chunked_causal(10) & local(9, none)", "chunked_causal(10)"},
       {"chunked_causal(10) & local(8, none)", "local(8, none) & chunked_causal(10)"},
       {"chunked_causal(10) & causal(-10)", "empty()"},
       {"chunked_causal(10) | causal()", "causal()"},
       {"chunked_causal(10) & local(0, 3)", "local(0, 0)"},
       {"chunked_causal(10) & chunked_causal(20)", "chunked_causal(10)"},
       {"chunked_causal(10) | chunked_causal(20)", "chunked_causal(20)"},
       {"chunked_causal(10) - chunked_causal(20)", "empty()"},
       {"chunked_causal(10) & chunked_causal(15)", "chunked_causal(10) & chunked_causal(15)"},
       {"chunked_causal(10) & q_range(0, 10)", "causal() & q_range(0, 10)"},
       {"stride(4, 1) & stride(6, 3)", "stride(12, 9)"},
       {"stride(4, 1) & stride(6, 2)", "empty()"},
       {"stride(4, 1) | stride(2, 1)", "stride(2, 1)"},
       {"stride(4, 1) - stride(2)", "stride(4, 1)"},
       {"stride(4, 1) - stride(2, 1)", "empty()"},
       {"stride(2) | stride(2, 1)", "full()"},
       {"~stride(2)", "stride(2, 1)"},
       {"stride(7, 3) & stride(11, 5) & stride(13, 1)", "empty()"},
       {"stride(7, 3) & stride(11, 5)", "stride(77, 38)"},
       {"stride(8) & stride(9) & causal()", "local(0, 0)"},
       {"stride(10) & local(4, 4)", "local(0, 0)"}});
}

TEST(SimplifyTest, Documents) {
  ExpectRewrites({30, 30},
                 {{"documents([30])", "full()"},
                  {"documents([])", "empty()"},
                  {"documents([0, 10, 0, 20])", "documents([10, 20])"},
                  {"documents([10, 20]) & documents([12, 6])", "documents([10, 2, 6])"},
                  {"documents([10, 20]) & documents([10, 5, 15])", "documents([10, 5, 15])"},
                  {"documents([10, 20]) | documents([10, 5, 15])", "documents([10, 20])"},
                  {"documents([10, 5, 15]) - documents([10, 20])", "empty()"},
                  {"documents([10, 20]) & q_range(0, 10)", "prefix(10) & q_range(0, 10)"},
                  {"documents([10, 20]) & prefix(10)", "prefix(10) & q_range(0, 10)"},
                  {"documents([10, 20]) & local(0, 0)", "local(0, 0)"},
                  {"documents([10, 12]) & local(0, 0)", "local(0, 0) & q_range(0, 22)"},
                  {"documents([10, 20]) & local(19, 25)", "documents([10, 20])"},
                  {"documents([10, 20]) & causal(-20)", "empty()"}});
  ExpectRewrites({4, 9}, {{"documents([4])", "prefix(4)"},
                          {"documents([1, 1, 1, 1])", "local(0, 0)"},
                          {"documents([1, 1, 1])", "documents([1, 1, 1])"}});
  ExpectRewrites({9, 4}, {{"documents([4])", "q_range(0, 4)"}});
}

TEST(SimplifyTest, Absorption) {
  ExpectRewrites(
      {20, 20},
      {{"stride(3) & (stride(3) | stride(4))", "stride(3)"},
       {"stride(3) | (stride(3) & stride(4))", "stride(3)"},
       {"stride(3) & (~stride(3) | stride(5))", "stride(15)"},
       {"(stride(3) | stride(4)) & (stride(3) | stride(4) | stride(5))", "stride(3) | stride(4)"},
       {"(stride(3) | stride(4)) & (stride(3) | stride(5))", "local(0, 0) | stride(3)"},
       {"(stride(3) & causal()) | (stride(3) - causal())", "stride(3)"},
       {"stride(3) ^ (stride(3) & q_range(1, 4))", "stride(3) - q_range(1, 4)"},
       {"stride(3) ^ (q_range(1, 4) - stride(3))", "q_range(1, 4) | stride(3)"},
       {"(stride(3) & prefix(4)) ^ (q_range(1, 4) & stride(3))",
        "stride(3) & (prefix(4) ^ q_range(1, 4))"},
       {"causal() & (causal(3) | stride(3))", "causal()"},
       {"causal() & (local(-1, none) | stride(3))", "causal() & stride(3)"},
       {"causal() | (local(-1, none) & stride(3))", "causal() | stride(3)"},
       {"q_range(0, 5) & (q_range(5, 20) ^ prefix(3) & q_range(0, 5))",
        "prefix(3) & q_range(0, 5)"},
       {"stride(3) | stride(4) | stride(3)", "stride(3) | stride(4)"},
       {"stride(4) | (stride(3) | stride(5))", "stride(3) | stride(4) | stride(5)"},
       {"causal() & ~stride(3) & ~stride(4)", "causal() - stride(3) - stride(4)"},
       {"~(~stride(3) & ~causal())", "causal() | stride(3)"},
       {"~(stride(3) & chunked_causal(4))", "~(chunked_causal(4) & stride(3))"},
       {"~stride(3) - stride(4)", "~(stride(3) | stride(4))"}});
}

TEST(SimplifyTest, Reorderings) {
  ExpectRewrites({8, 8},
                 {{"reorder(prefix(3), q=zigzag(2))", "prefix(3)"},
                  {"reorder(full(), q=striped(4))", "full()"},
                  {"reorder(causal(), q=striped(4)) & ~reorder(causal(-1), q=striped(4))",
                   "reorder(local(0, 0), q=striped(4))"},
                  {"reorder(causal(), q=striped(4)) & prefix(3)",
                   "reorder(causal() & prefix(3), q=striped(4))"},
                  {"~reorder(causal(), q=striped(4))", "reorder(local(-1, none), q=striped(4))"},
                  {"reorder(q_range(0, 4) | q_range(4, 8), q=striped(4))", "full()"},
                  // Back where they were.
                  {"reorder(~reorder(stride(3), q=striped(2)), q=striped(4))", "~stride(3)"}});

  const Shape shape{3, 4};
  const auto reorder = [](const Mask& mask, std::vector<int64_t> positions) {
    return mask.Reorder(Positions::FromArray(Array::FromVector(positions)));
  };
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  // Positions of no row count for nothing; those beyond the shape count.
  EXPECT_EQ(Simplify(reorder(Mask::QRange(shape, 5, 9), {8, 5, 6})), Mask::Full(shape));
  EXPECT_EQ(Simplify(reorder(Mask::Causal(shape), {3, 100, kMax})), Mask::Full(shape));
  EXPECT_EQ(Simplify(reorder(Mask::Causal(shape), {-1, kMin, kMin})), Mask::Empty(shape));
  EXPECT_EQ(Simplify(reorder(Mask::Causal(shape), {0, 1, 2})), Mask::Causal(shape));
  for (const int64_t offset : {kMin, kMin + 1, int64_t{-1}, int64_t{0}, int64_t{1}, kMax}) {
    for (const std::optional<int64_t> left :
         {std::optional(kMin), std::optional(kMax - 1), std::optional<int64_t>(0),
          std::optional<int64_t>()}) {
      for (const std::optional<int64_t> right : {std::optional(kMin), std::optional(kMax)}) {
        const Mask band = Mask::Local(shape, left, right, offset);
        for (const Mask& mask : {band, ~band, band ^ Mask::QRange(shape, kMin, 1),
                                 Mask::QRange(shape, 0, kMax) ^ Mask::Stride(shape, kMax, 3),
                                 Mask::ChunkedCausal(shape, kMax) - band,
                                 Mask::Stride(shape, kMax, 3) & Mask::Stride(shape, kMax - 1, 3)}) {
          SCOPED_TRACE(Trace(mask));
          ExpectSimplified(mask);
          ExpectSimplified(reorder(mask, {kMin, 0, kMax}));
          ExpectSimplified(reorder(mask, {kMax, kMax, kMax - 1}));
          ExpectSimplified(reorder(mask, {kMin, kMin + 1, -1}));
        }
      }
    }
  }
}

Array Bools(int64_t rows, int64_t columns, const std::string& text) {
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  for (const char c : text) bytes->push_back(c == '1');
  return Array(DType::kBool, {rows, columns}, std::shared_ptr<const void>(bytes, bytes->data()));
}

TEST(SimplifyTest, Arrays) {
  const Shape shape{2, 3};
  const Mask a = Mask::Dense(shape, Bools(2, 3, "011010")),
             b = Mask::Dense(shape, Bools(2, 3, "110001"));
  EXPECT_EQ(Simplify(a & b), Simplify(b & a));
  EXPECT_EQ(Simplify(a | Mask::Dense(shape, Bools(2, 3, "011010"))), a) << "equal by content";
  EXPECT_EQ(Simplify(Mask::Blocks(shape, Bools(1, 2, "11"), 2)), Mask::Full(shape));
  EXPECT_EQ(Simplify(Mask::Blocks(shape, Bools(1, 2, "00"), 2)), Mask::Empty(shape));
  const auto ids = [](std::vector<int64_t> values) { return Array::FromVector(values, "ids.npy"); };
  EXPECT_EQ(Simplify(Mask::Segments(shape, ids({7, 7}), ids({7, 7, 7}))), Mask::Full(shape));
  EXPECT_EQ(Simplify(Mask::Segments(shape, ids({7, 7}), ids({7, 7, 7}), 7)), Mask::Empty(shape));
  EXPECT_EQ(Simplify(Mask::Segments(shape, ids({7, 7}), ids({8, 8, 8}))), Mask::Empty(shape));
  const Mask split = Mask::Segments(shape, ids({7, 7}), ids({7, 8, 7}));
  EXPECT_EQ(Simplify(split), split);
  // An array of lengths keeps its name, whatever else says the same.
  const Mask named = Mask::Documents(shape, ids({1, 0, 1})),
             listed = Mask::Documents(shape, {1, 1});
  const Mask other = Mask::Stride(shape, 3);
  EXPECT_EQ(ToString(Simplify((named ^ other) & (listed ^ other) & a)),
            ToString(Simplify((listed ^ other) & (named ^ other) & a)));
  const Shape square{4, 4};
  EXPECT_EQ(
      ToString(Simplify(Mask::Documents(square, {1, 3}) & Mask::Documents(square, ids({1, 0, 3})))),
      "documents(\"ids.npy\")");
}

TEST(SimplifyTest, NeverReadsDenseCells) {
  const Shape shape{64, 64};
  void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  const std::shared_ptr<void> owner(page, [](void* data) { munmap(data, 4096); });
  const Mask dense = Mask::Dense(shape, Array(DType::kBool, {64, 64}, owner));
  EXPECT_TRUE(Simplify((dense & Mask::Causal(shape)) | dense) == dense);
}

class NamedFunction final : public CustomFunction {
 public:
  explicit NamedFunction(std::string name) : name_(std::move(name)) {}
  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override {
    for (const int64_t row : q) {
      for (int64_t kv = kv_begin; kv < kv_end; ++kv) {
        *out++ = std::byte{(row * 7 + kv * static_cast<int64_t>(name_.size())) % 3 == 0};
      }
    }
  }
  std::string name() const override { return name_; }

 private:
  std::string name_;
};

TEST(SimplifyTest, FunctionsAreKnownByNameAndIdentity) {
  const Shape shape{5, 6};
  const Mask a = Mask::Custom(shape, std::make_shared<NamedFunction>("a"));
  const Mask b = Mask::Custom(shape, std::make_shared<NamedFunction>("bb"));
  const Mask other = Mask::Custom(shape, std::make_shared<NamedFunction>("a"));
  EXPECT_TRUE(Simplify(b & a & b) == (a & b));
  EXPECT_TRUE(Simplify(a | (a & b)) == a);
  EXPECT_EQ(Simplify(a ^ other).node().nodes, 3) << "two functions of one name are two";
  for (const Mask& mask : {b & a, a - b, ~(a ^ b) & other}) ExpectSimplified(mask);
}

TEST(SimplifyTest, HeadsOneByOne) {
  const Shape shape{8, 8};
  const Mask first = Mask::Causal(shape) & Mask::Local(shape, 99, std::nullopt);
  const MultiHeadMask simple =
      Simplify(MultiHeadMask({first, ~Mask::Empty(shape), first, Mask::Causal(shape)}));
  const Mask causal = Mask::Causal(shape);
  EXPECT_EQ(simple, MultiHeadMask({causal, Mask::Full(shape), causal, causal}));
}

}  // namespace
}  // namespace splashmask
