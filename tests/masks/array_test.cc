// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/array.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

Array Bools(std::vector<uint8_t> bytes, std::vector<int64_t> shape) {
  auto data = std::make_shared<std::vector<uint8_t>>(std::move(bytes));
  return Array(DType::kBool, std::move(shape), std::shared_ptr<const void>(data, data->data()));
}

template <typename T>
Array Of(DType dtype, std::vector<T> values) {
  auto data = std::make_shared<std::vector<T>>(std::move(values));
  const auto size = static_cast<int64_t>(data->size());
  return Array(dtype, {size}, std::shared_ptr<const void>(data, data->data()));
}

TEST(ArrayTest, ReadsEveryDtype) {
  EXPECT_EQ(-3, Of<int8_t>(DType::kInt8, {-3}).At(0));
  EXPECT_EQ(-300, Of<int16_t>(DType::kInt16, {1, -300}).At(1));
  EXPECT_EQ(-70000, Of<int32_t>(DType::kInt32, {-70000}).At(0));
  EXPECT_EQ(INT64_MIN, Of<int64_t>(DType::kInt64, {INT64_MIN}).At(0));
  EXPECT_EQ(255, Of<uint8_t>(DType::kUInt8, {255}).At(0));
  EXPECT_EQ(65535, Of<uint16_t>(DType::kUInt16, {65535}).At(0));
  EXPECT_EQ(4294967295, Of<uint32_t>(DType::kUInt32, {4294967295u}).At(0));
  EXPECT_EQ(7, Of<uint64_t>(DType::kUInt64, {7}).At(0));
  EXPECT_EQ((std::vector<int64_t>{1, 0, 1}), Bools({9, 0, 1}, {3}).ToInt64());
}

TEST(ArrayTest, DtypeNamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::kUInt64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype, DTypeFromName(DTypeName(dtype)));
  }
  ExpectError(ErrorCode::kInvalidArray, "[array] expected dtype bool or an integer, got 'float32'",
              [] { DTypeFromName("float32"); });
}

TEST(ArrayTest, EqualityCountsContentNotName) {
  const Array a = Of<int32_t>(DType::kInt32, {1, 2, 3});
  EXPECT_EQ(a, Of<int32_t>(DType::kInt32, {1, 2, 3}).WithName("x.npy"));
  EXPECT_FALSE(a == Of<int32_t>(DType::kInt32, {1, 2, 4}));
  EXPECT_FALSE(a == Of<int64_t>(DType::kInt64, {1, 2, 3}));
  EXPECT_FALSE(Bools({1, 0}, {2, 1}) == Bools({1, 0}, {1, 2}));
  std::vector<uint8_t> large(200'001, 1), other = large;
  other[70'000] = 7;  // True all the same.
  EXPECT_TRUE(Bools(large, {200'001}) == Bools(other, {200'001}));
  other[200'000] = 0;
  EXPECT_FALSE(Bools(large, {200'001}) == Bools(other, {200'001}));
}

TEST(ArrayTest, AnyByteButZeroIsTrue) {
  const Array a = Bools({0, 1, 1, 0}, {2, 2});
  const Array b = Bools({0, 255, 7, 0}, {2, 2});
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.ContentHash(), b.ContentHash());
  EXPECT_EQ(a.Digest(), b.Digest());
}

// The expected digests come from Python:
//   hashlib.sha256(b"splashmask array 1\ndtype=int32\nshape=3\n" +
//                  numpy.array([1, 2, 3], "<i4").tobytes()).hexdigest()
//   hashlib.sha256(b"splashmask array 1\ndtype=bool\nshape=2,9\n" + numpy.packbits(
//       numpy.arange(18).reshape(2, 9) % 3 == 0, axis=1, bitorder="little").tobytes()).hexdigest()
TEST(ArrayTest, DigestFollowsTheFrozenRecipe) {
  EXPECT_EQ("sha256:8d1d3c1bfef7c4a23583df5792e5452b71659f6fff5b1942b90577b798f4f3fb",
            Of<int32_t>(DType::kInt32, {1, 2, 3}).Digest());
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 18; ++i) bytes.push_back(i % 3 == 0);
  EXPECT_EQ("sha256:bd2a80e7a506702f20b65d9a2359735b4422b3446f3448f11476a4055ed5d1c7",
            Bools(bytes, {2, 9}).Digest());
}

TEST(ArrayTest, PackingRoundTripsForEveryWidth) {
  std::mt19937_64 random(1);
  for (int64_t columns = 1; columns <= 70; ++columns) {
    std::vector<std::byte> bools(static_cast<size_t>(3 * columns));
    for (std::byte& b : bools) b = std::byte(random() % 2);
    const int64_t packed_columns = (columns + 7) / 8;
    std::vector<std::byte> packed(static_cast<size_t>(3 * packed_columns)), back(bools.size());
    PackBoolRows(bools.data(), 3, columns, packed.data());
    for (int64_t i = 0; i < 3 * columns; ++i) {
      const std::byte byte = packed[i / columns * packed_columns + i % columns / 8];
      ASSERT_EQ(bools[i], (byte >> (i % columns % 8)) & std::byte{1}) << columns << " " << i;
    }
    UnpackBoolRows(packed.data(), 3, columns, back.data());
    EXPECT_EQ(bools, back);
  }
}

TEST(ArrayTest, RefusesAShapeWhoseProductOverflows) {
  ExpectErrorBegins(ErrorCode::kInvalidArray, "[array] expected a shape of 64-bit size, got (", [] {
    Array(DType::kBool, {int64_t{1} << 40, int64_t{1} << 40}, nullptr);
  });
}

}  // namespace
}  // namespace splashmask
