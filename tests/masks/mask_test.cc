// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/mask.h"

#include <gtest/gtest.h>

#include <random>

#include "splashmask/masks/head_identity.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"

namespace splashmask {
namespace {

constexpr Shape kShape{8, 8};

Array Ints(std::vector<int64_t> values, std::string name = "") {
  return Array::FromVector(std::span<const int64_t>(values), std::move(name));
}

Array Bools(std::vector<uint8_t> bytes, int64_t rows, int64_t columns) {
  auto data = std::make_shared<std::vector<uint8_t>>(std::move(bytes));
  return Array(DType::kBool, {rows, columns}, std::shared_ptr<const void>(data, data->data()), "m");
}

std::string Draw(const Mask& mask) {
  std::string text;
  for (int64_t q = 0; q < mask.shape().q_len; ++q) {
    for (int64_t kv = 0; kv < mask.shape().kv_len; ++kv) text += NaiveAt(mask, q, kv) ? '#' : '.';
    text += '\n';
  }
  return text;
}

TEST(MaskTest, EqualityIsStructural) {
  const Mask causal = Mask::Causal(kShape);
  const Mask local = Mask::Local(kShape, 2, 0);
  EXPECT_EQ(causal & local, Mask::Causal(kShape) & Mask::Local(kShape, 2, 0));
  EXPECT_FALSE((causal & local) == (local & causal));
  EXPECT_FALSE((causal & local) == (causal | local));
  EXPECT_FALSE(causal == Mask::Causal(kShape, 1));
  EXPECT_FALSE(causal == Mask::Causal({8, 9}));
  EXPECT_FALSE(Mask::Local(kShape, std::nullopt, 0) == Mask::Local(kShape, 0, std::nullopt));
  EXPECT_FALSE(causal == Mask::Local(kShape, std::nullopt, 0));
  EXPECT_FALSE(Mask::Documents(kShape, {4, 4}) == Mask::Documents(kShape, Ints({4, 4})));
  EXPECT_EQ(Mask::Documents(kShape, Ints({4, 4}, "a")), Mask::Documents(kShape, Ints({4, 4}, "b")));
}

// Equal masks have equal hashes and equal canonical texts; different masks have different texts.
TEST(MaskTest, EqualityHashAndCanonicalTextAgree) {
  std::vector<Mask> masks;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    std::mt19937_64 random(seed / 2);  // Every mask twice.
    masks.push_back(RandomMask(random, kShape, 2));
  }
  std::vector<std::string> texts;
  for (const Mask& mask : masks) texts.push_back(CanonicalText(mask));
  int equal = 0;
  for (size_t i = 0; i < masks.size(); ++i) {
    for (size_t j = 0; j < masks.size(); ++j) {
      ASSERT_EQ(texts[i] == texts[j], masks[i] == masks[j]) << texts[i] << "\n" << texts[j];
      if (masks[i] != masks[j]) continue;
      ASSERT_EQ(masks[i].Hash(), masks[j].Hash()) << texts[i];
      ++equal;
    }
  }
  EXPECT_GE(equal, 300);
}

TEST(MaskTest, HashesOfDifferentMasksDiffer) {
  const std::vector<Mask> masks = {Mask::Full(kShape),
                                   Mask::Empty(kShape),
                                   Mask::Causal(kShape),
                                   Mask::Causal(kShape, 1),
                                   Mask::Prefix(kShape, 1),
                                   Mask::QRange(kShape, 1, 2),
                                   Mask::KvRange(kShape, 1, 2),
                                   Mask::Stride(kShape, 2),
                                   Mask::Stride(kShape, 2, 1),
                                   Mask::Local(kShape, 1, 2),
                                   Mask::Local(kShape, 2, 1),
                                   Mask::Local(kShape, {}, 1),
                                   ~Mask::Causal(kShape),
                                   Mask::Causal({8, 9}),
                                   Mask::ChunkedCausal(kShape, 1),
                                   Mask::Documents(kShape, {1}),
                                   Mask::Documents(kShape, std::vector<int64_t>{})};
  for (size_t i = 0; i < masks.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(masks[i].Hash(), masks[j].Hash()) << i << " " << j;
  }
}

TEST(MaskTest, ReorderWithTheInt32IdentityIsTheMaskItself) {
  const Mask causal = Mask::Causal({4, 4});
  const std::vector<int32_t> identity32 = {0, 1, 2, 3};
  const std::vector<int64_t> identity64 = {0, 1, 2, 3};
  EXPECT_EQ(causal, causal.Reorder(Positions::FromArray(Array::FromVector(identity32))));
  // JAX keeps the dtype of q_sequence, so an int64 identity is another mask.
  EXPECT_FALSE(causal == causal.Reorder(Positions::FromArray(Array::FromVector(identity64))));
  EXPECT_EQ(causal, causal.Reorder(Positions::Striped(1)));
  EXPECT_EQ(causal, causal.Reorder(Positions::Zigzag(1)));
}

// JAX hashes the bytes of q_sequence and compares its values.
TEST(MaskTest, HeadsAreOneWhateverTheSignOfTheirPositionsDtype) {
  static const uint32_t values[4] = {3, 2, 1, 0};
  const std::shared_ptr<const void> data(values, [](const void*) {});
  const auto reorder = [&](Shape shape, DType dtype) {
    const Mask causal = Mask::Causal(shape, 2);
    return causal.Reorder(Positions::FromArray(Array(dtype, {4}, data))) | Mask::Prefix(shape, 1);
  };
  const Shape shape{4, 4};
  const Mask from_unsigned = reorder(shape, DType::kUInt32);
  EXPECT_FALSE(from_unsigned == reorder(shape, DType::kInt32));
  EXPECT_EQ(HeadIdentity(reorder(shape, DType::kInt32)), HeadIdentity(from_unsigned));

  // Values that only the unsigned dtype holds are other values.
  static const uint32_t large[4] = {3, 4000000000, 1, 0};
  const std::shared_ptr<const void> large_data(large, [](const void*) {});
  const Mask causal = Mask::Causal(shape);
  const auto of_large = [&](DType dtype) {
    return causal.Reorder(Positions::FromArray(Array(dtype, {4}, large_data)));
  };
  EXPECT_FALSE(HeadIdentity(of_large(DType::kInt32)) == HeadIdentity(of_large(DType::kUInt32)));

  // A layout is the positions it stands for; another item size is another mask, as in JAX.
  const std::vector<int32_t> zigzag = {0, 3, 1, 2};
  const std::vector<int64_t> wide = {0, 3, 1, 2};
  const Mask layout = ~causal.Reorder(Positions::Zigzag(2));
  EXPECT_EQ(HeadIdentity(layout),
            HeadIdentity(~causal.Reorder(Positions::FromArray(Array::FromVector(zigzag)))));
  EXPECT_FALSE(HeadIdentity(layout) ==
               HeadIdentity(~causal.Reorder(Positions::FromArray(Array::FromVector(wide)))));
}

TEST(MaskTest, ReorderingTwiceComposes) {
  const Mask causal = Mask::Causal({4, 4});
  const Mask once = causal.Reorder(Positions::FromArray(Ints({30, -20, 10, 1})));
  const Mask twice = once.Reorder(Positions::FromArray(Ints({3, 3, 0, 1})));
  EXPECT_EQ(causal.Reorder(Positions::FromArray(Ints({1, 1, 30, -20}))), twice);
  EXPECT_EQ("##..\n##..\n####\n....\n", Draw(twice));
}

TEST(MaskTest, ColumnsAreReorderedAsRowsAre) {
  const Mask causal = Mask::Causal({4, 4});
  const Positions kv = Positions::FromArray(Ints({3, 0, 9, -5}));
  const Mask columns = causal.Reorder(std::nullopt, kv);
  EXPECT_EQ(".#.#\n.#.#\n.#.#\n##.#\n", Draw(columns));
  // One axis after the other is both at once.
  const Positions q = Positions::FromArray(Ints({9, 1, 0, -7}));
  EXPECT_EQ(causal.Reorder(q, kv), columns.Reorder(q));
  EXPECT_EQ(causal.Reorder(q, kv), causal.Reorder(q).Reorder(std::nullopt, kv));
  EXPECT_EQ("####\n.#.#\n.#.#\n....\n", Draw(causal.Reorder(q, kv)));
  EXPECT_EQ(causal.Reorder(std::nullopt, Positions::FromArray(Ints({0, 3, 3, 9}))),
            columns.Reorder(std::nullopt, Positions::FromArray(Ints({1, 0, 0, 2}))));
  // Of columns the dtype says nothing; of rows it does.
  const Positions identity = Positions::FromArray(Ints({0, 1, 2, 3}));
  EXPECT_EQ(causal, causal.Reorder(std::nullopt, identity));
  EXPECT_EQ(causal.Reorder(identity), causal.Reorder(identity, identity));
  EXPECT_FALSE(columns == causal);
  EXPECT_FALSE(columns == causal.Reorder(kv));
  EXPECT_NE(columns.Hash(), causal.Reorder(kv).Hash());
  const std::vector<int32_t> narrow = {3, 0, 9, -5};
  EXPECT_EQ(
      HeadIdentity(columns),
      HeadIdentity(causal.Reorder(std::nullopt, Positions::FromArray(Array::FromVector(narrow)))));
}

TEST(MaskTest, ZigzagAndStripedDealPositionsToShards) {
  const Mask rows = Mask::Local({8, 8}, 0, 0);  // Row q sees column q: the positions themselves.
  EXPECT_EQ(
      "#.......\n.#......\n......#.\n.......#\n"
      "..#.....\n...#....\n....#...\n.....#..\n",
      Draw(rows.Reorder(Positions::Zigzag(2))));
  EXPECT_EQ(
      "#.......\n....#...\n.#......\n.....#..\n"
      "..#.....\n......#.\n...#....\n.......#\n",
      Draw(rows.Reorder(Positions::Striped(4))));
}

TEST(MaskTest, RefusesParametersOutsideTheirRange) {
  const auto invalid = ErrorCode::kInvalidArgument;
  ExpectError(invalid, "[mask] expected q_len and kv_len of at least 1, got (0, 4)", [] {
    Mask::Full({0, 4});
  });
  ExpectError(invalid, "[mask] expected q_len and kv_len of at least 1, got (4, -1)", [] {
    Mask::Causal({4, -1});
  });
  ExpectError(invalid, "[mask] expected chunk of at least 1, got 0",
              [] { Mask::ChunkedCausal(kShape, 0); });
  ExpectError(invalid, "[mask] expected step of at least 1, got -2",
              [] { Mask::Stride(kShape, -2); });
  ExpectError(invalid, "[mask] expected 0 <= phase < step, got phase 3 and step 3",
              [] { Mask::Stride(kShape, 3, 3); });
  ExpectError(invalid, "[mask] expected 0 <= phase < step, got phase -1 and step 3",
              [] { Mask::Stride(kShape, 3, -1); });
  ExpectError(invalid, "[mask] expected document lengths of at least 0, got -1 at index 1", [] {
    Mask::Documents(kShape, {1, -1});
  });
  ExpectError(invalid,
              "[mask] expected document lengths to sum to at most 6 (the shorter axis), got more "
              "at index 1",
              [] {
                Mask::Documents({8, 6}, {5, 2});
              });
  ExpectError(invalid,
              "[mask] expected document lengths to sum to at most 8 (the shorter axis), got more "
              "at index 1",
              [] {
                Mask::Documents(kShape, {1, INT64_MAX});
              });
  ExpectError(invalid, "[mask] expected block of at least 1, got 0",
              [] { Mask::Blocks(kShape, Bools({1}, 1, 1), 0); });
  ExpectError(invalid, "[mask] expected masks of one shape, got (8, 8) and (8, 9)", [] {
    Mask::Full(kShape) & Mask::Full({8, 9});
  });
  ExpectError(invalid, "[mask] expected zigzag(n) with 2n to divide q_len (8), got n = 3",
              [] { Mask::Causal(kShape).Reorder(Positions::Zigzag(3)); });
  ExpectError(invalid, "[mask] expected striped(n) with n to divide q_len (8), got n = 0",
              [] { Mask::Causal(kShape).Reorder(Positions::Striped(0)); });
  ExpectError(invalid,
              "[mask] expected q positions in [0, 8), as this mask holds an array or a reordering; "
              "got 8 at index 2",
              [] {
                const Mask dense = Mask::Dense(kShape, Bools(std::vector<uint8_t>(64), 8, 8));
                (dense & Mask::Causal(kShape))
                    .Reorder(Positions::FromArray(Ints({0, 1, 8, 0, 0, 0, 0, 0})));
              });
}

TEST(MaskTest, RefusesKvPositionsThatDoNotFit) {
  const auto invalid = ErrorCode::kInvalidArgument;
  const auto kv = [](std::vector<int64_t> positions) {
    return Positions::FromArray(Array::FromVector(positions));
  };
  ExpectError(invalid,
              "[mask] expected kv positions in [0, 2), as this mask holds an array or a "
              "reordering; got -1 at index 1",
              [&] {
                Mask::Dense({2, 2}, Bools(std::vector<uint8_t>(4), 2, 2))
                    .Reorder(std::nullopt, kv({0, -1}));
              });
  ExpectError(invalid,
              "[mask] expected kv positions in [0, 2), as this mask holds an array or a "
              "reordering; got 5 at index 0",
              [&] {
                Mask::Causal({2, 2}).Reorder({}, kv({7, 9})).Reorder({}, kv({5, 0}));
              });
  ExpectError(invalid,
              "[mask] expected kv positions of magnitude up to 2^60, got 1152921504606846977 at "
              "index 1",
              [&] {
                Mask::Causal({2, 2}).Reorder({}, kv({0, kMostKvPosition + 1}));
              });
  ExpectError(invalid, "[mask] expected zigzag(n) with 2n to divide kv_len (6), got n = 2", [] {
    Mask::Causal({8, 6}).Reorder({}, Positions::Zigzag(2));
  });
  ExpectError(ErrorCode::kInvalidArray,
              "[mask] expected kv positions array to have 2 elements, got 3", [&] {
                Mask::Causal({4, 2}).Reorder({}, kv({0, 1, 2}));
              });
  // A mask that orders its columns may have its rows anywhere, and the other way round.
  const Mask columns = Mask::Causal({2, 2}).Reorder({}, kv({7, 9}));
  EXPECT_NO_THROW(columns.Reorder(kv({100, -100})));
  EXPECT_NO_THROW(Mask::Causal({2, 2}).Reorder(kv({100, -100})).Reorder({}, kv({7, 9})));
}

TEST(MaskTest, RefusesArraysThatDoNotFit) {
  const auto invalid = ErrorCode::kInvalidArray;
  ExpectError(invalid, "[mask] expected q segment ids \"ids\" to have 8 elements, got 3", [] {
    Mask::Segments(kShape, Ints({1, 2, 3}, "ids"), Ints({1}));
  });
  ExpectError(invalid,
              "[mask] expected kv segment ids array to be a 1-D integer array, got bool of shape "
              "(2, 4)",
              [] {
                Mask::Segments(kShape, Ints({1, 2, 3, 4, 5, 6, 7, 8}),
                               Bools(std::vector<uint8_t>(8), 2, 4).WithName(""));
              });
  ExpectError(invalid, "[mask] expected block bits \"m\" to have shape (3, 3), got (1, 1)",
              [] { Mask::Blocks(kShape, Bools({1}, 1, 1), 3); });
  ExpectError(invalid, "[mask] expected dense mask \"m\" to have shape (8, 8), got (1, 1)",
              [] { Mask::Dense(kShape, Bools({1}, 1, 1)); });
  ExpectError(invalid,
              "[mask] expected dense mask array to be a 2-D bool array, got int64 of shape (1)",
              [] { Mask::Dense(kShape, Ints({1})); });
  ExpectError(invalid, "[mask] expected q positions array to have 8 elements, got 1",
              [] { Mask::Causal(kShape).Reorder(Positions::FromArray(Ints({1}))); });
  ExpectError(invalid,
              "[mask] expected q positions array to fit in a signed 64-bit integer, got "
              "18446744073709551615 at index 1",
              [] {
                static const uint64_t values[2] = {1, UINT64_MAX};
                const Array huge(DType::kUInt64, {2},
                                 std::shared_ptr<const void>(values, [](const void*) {}));
                Mask::Causal({2, 2}).Reorder(Positions::FromArray(huge));
              });
}

TEST(MaskTest, DeepExpressionsWorkUpToTheLimitAndAreRefusedBeyond) {
  Mask mask = Mask::Causal(kShape);
  for (int i = 1; i < kMaxMaskDepth; ++i) mask = ~mask;
  EXPECT_EQ(kMaxMaskDepth, mask.node().depth);
  EXPECT_EQ(mask.Hash(), Mask(mask).Hash());
  EXPECT_EQ(static_cast<size_t>(kMaxMaskDepth - 1) + 8, ToString(mask).size());
  ExpectError(ErrorCode::kInvalidArgument,
              "[mask] expected an expression at most 2000 operators deep; combine it in a balanced "
              "way",
              [&] { ~mask; });
}

TEST(MaskTest, SharingDoesNotHideTheSizeOfAnExpression) {
  Mask mask = Mask::Causal(kShape);
  ExpectErrorBegins(ErrorCode::kInvalidArgument,
                    "[mask] expected an expression of at most 1000000 nodes, got ", [&] {
                      for (int i = 0; i < 64; ++i) mask = mask ^ mask;
                    });
}

}  // namespace
}  // namespace splashmask
