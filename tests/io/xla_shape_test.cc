// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/xla_shape.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/io/expect_error.h"

namespace splashmask {
namespace {

using Numbers = std::vector<int64_t>;

std::optional<int64_t> TiledBytesOf(const std::string& text) {
  return TiledBytes(ParseXlaShape(text));
}

void ExpectNoShape(const std::string& text, const std::string& message) {
  ExpectError(ErrorCode::kSyntax, "[xla] expected " + message, [&] { ParseXlaShape(text); });
}

TEST(XlaShapeTest, ReadsAnArray) {
  const XlaShape shape =
      ParseXlaShape("bf16[8,<=2048,128]{2,0,1:T(8,128)(2,1)L(64)E(4)S(1)D(D,C)}");
  EXPECT_EQ(shape.dtype, "bf16");
  EXPECT_EQ(shape.dims, (Numbers{8, 2048, 128}));
  EXPECT_EQ(shape.is_dynamic, (std::vector<bool>{false, true, false}));
  EXPECT_FALSE(shape.is_tuple);
  ASSERT_TRUE(shape.layout);
  EXPECT_EQ(shape.layout->minor_to_major, (Numbers{2, 0, 1}));
  EXPECT_EQ(shape.layout->tiles, (std::vector<Numbers>{{8, 128}, {2, 1}}));
  EXPECT_EQ(shape.layout->tail_alignment, 64);
  EXPECT_EQ(shape.layout->element_bits, 4);
  EXPECT_EQ(shape.layout->memory_space, 1);
  EXPECT_EQ(shape.layout->other, "D(D,C)");
}

TEST(XlaShapeTest, ReadsShapesWithoutLayoutAndScalars) {
  EXPECT_FALSE(ParseXlaShape("f32[2,3]").layout);
  EXPECT_TRUE(ParseXlaShape("s32[]").dims.empty());
  const XlaShape scalar = ParseXlaShape("u32[]{:S(2)}");
  ASSERT_TRUE(scalar.layout);
  EXPECT_TRUE(scalar.layout->minor_to_major.empty());
  EXPECT_EQ(scalar.layout->memory_space, 2);
  EXPECT_EQ(ParseXlaShape("token[]").dtype, "token");
}

TEST(XlaShapeTest, ReadsTuplesInTuples) {
  const XlaShape tuple = ParseXlaShape("(s32[], (f32[2]{0}, pred[]), /*index=2*/u8[4])");
  ASSERT_TRUE(tuple.is_tuple);
  ASSERT_EQ(tuple.elements.size(), 3u);
  ASSERT_TRUE(tuple.elements[1].is_tuple);
  EXPECT_EQ(tuple.elements[1].elements[0].dims, (Numbers{2}));
  EXPECT_EQ(tuple.elements[2].dtype, "u8");
  EXPECT_TRUE(ParseXlaShape("()").elements.empty());
}

TEST(XlaShapeTest, PrintsWhatItRead) {
  for (const char* text : {
           "f32[]",
           "bf16[8,2048,128]{2,1,0:T(8,128)(2,1)S(1)}",
           "s8[3,<=5]{0,1:T(*,128)L(2)E(4)D(D,C)}",
           "(s32[], (f32[2]{0}, pred[]), ())",
           "token[]",
       }) {
    EXPECT_EQ(XlaShapeText(ParseXlaShape(text)), text);
  }
}

// Sizes that the TPU compiler allocates, and products written out.
TEST(XlaShapeTest, TiledBytesCountPadding) {
  EXPECT_EQ(TiledBytesOf("s8[1,1,1]{2,1,0:T(4,128)(4,1)}"), 512);
  EXPECT_EQ(TiledBytesOf("s32[2048,128]{1,0:T(8,128)S(1)}"), 1'048'576);
  EXPECT_EQ(TiledBytesOf("bf16[8,2048,128]{2,1,0:T(8,128)(2,1)}"), 4'194'304);
  EXPECT_EQ(TiledBytesOf("f32[]{:T(128)}"), 512);
  EXPECT_EQ(TiledBytesOf("bf16[]{:T(256)}"), 512);
  EXPECT_EQ(TiledBytesOf("u32[]{:S(2)}"), 4);
  EXPECT_EQ(TiledBytesOf("f32[7,500,500]{2,1,0:T(8,128)}"), 7 * 504 * 512 * 4);
  EXPECT_EQ(TiledBytesOf("f32[4,1024,1]{1,2,0:T(1,128)S(1)}"), 4 * 1 * 1024 * 4);
  EXPECT_EQ(TiledBytesOf("pred[1001]{0:T(512)(128)(4,1)}"), 1024);
  EXPECT_EQ(TiledBytesOf("u4[64,256]{1,0:T(64,128)(8,1)E(4)}"), 64 * 256 / 2);
  EXPECT_EQ(TiledBytesOf("u4[65,256]{1,0:T(64,128)(8,1)E(4)}"), 128 * 256 / 2);
}

TEST(XlaShapeTest, TiledBytesFollowTheLayout) {
  EXPECT_EQ(TiledBytesOf("f32[3,200]{1,0:T(8,128)}"), 8 * 256 * 4);
  EXPECT_EQ(TiledBytesOf("f32[3,200]{0,1:T(8,128)}"), 200 * 128 * 4);  // 3 is the minor one.
  EXPECT_EQ(TiledBytesOf("f32[3,200]{1,0}"), 3 * 200 * 4);
  EXPECT_EQ(TiledBytesOf("f32[3,200]"), 3 * 200 * 4);
  EXPECT_EQ(TiledBytesOf("f32[200]{0:T(8,128)}"), 8 * 256 * 4);        // Missing dimensions are 1.
  EXPECT_EQ(TiledBytesOf("f32[5,6,7]{2,1,0:T(*,128)}"), 5 * 128 * 4);  // 6 and 7 are merged.
  EXPECT_EQ(TiledBytesOf("f32[5,6,7]{2,1,0:T(*,8,8)}"), 32 * 8 * 4);
  // The example of XLA's documentation: [112,110] in tiles of 2 by 3.
  EXPECT_EQ(TiledBytesOf("f32[2,7,8,11,10]{4,3,2,1,0:T(*,*,2,*,3)}"), 112 * 111 * 4);
  EXPECT_EQ(TiledBytesOf("f32[10]{0:L(8)}"), 16 * 4);
  EXPECT_EQ(TiledBytesOf("s4[3]{0:E(4)}"), 2);  // 12 bits.
  EXPECT_EQ(TiledBytesOf("s4[3]{0}"), 3);
  EXPECT_EQ(TiledBytesOf("f32[0,128]{1,0:T(8,128)}"), 0);
  EXPECT_EQ(TiledBytesOf("s8[3]{0:T(2)(2,128)}"), 2 * 128);  // The second tile pads, too.
}

// XLA's own formula for one tile: each of the last dimensions is rounded up to the tile's extent.
TEST(XlaShapeTest, TiledBytesOfOneTileRoundUpDimensions) {
  std::mt19937_64 random(20);
  const auto up_to = [&](int64_t most) { return 1 + static_cast<int64_t>(random() % most); };
  for (int round = 0; round < 2000; ++round) {
    const Numbers dims{up_to(9), up_to(40), up_to(300)};
    Numbers order{0, 1, 2};
    std::shuffle(order.begin(), order.end(), random);
    const int64_t rows = up_to(16), columns = up_to(256);
    XlaShape shape;
    shape.dtype = "f32";
    shape.dims = dims;
    shape.layout = XlaLayout{.minor_to_major = order, .tiles = {{rows, columns}}, .other = {}};
    const auto rounded = [&](int64_t position, int64_t multiple) {
      const int64_t extent = dims[static_cast<size_t>(order[static_cast<size_t>(position)])];
      return (extent + multiple - 1) / multiple * multiple;
    };
    EXPECT_EQ(TiledBytes(shape), rounded(0, columns) * rounded(1, rows) * rounded(2, 1) * 4)
        << XlaShapeText(shape);
  }
}

TEST(XlaShapeTest, EveryDTypeHasItsBytes) {
  const std::map<int64_t, std::vector<std::string>> dtypes{
      {1,
       {"pred", "s1", "u1", "s2", "u2", "s4", "u4", "s8", "u8", "f4e2m1fn", "f8e3m4", "f8e4m3",
        "f8e4m3fn", "f8e5m2", "f8e4m3fnuz", "f8e5m2fnuz", "f8e4m3b11fnuz", "f8e8m0fnu"}},
      {2, {"s16", "u16", "f16", "bf16"}},
      {4, {"s32", "u32", "f32"}},
      {8, {"s64", "u64", "f64", "c64"}},
      {16, {"c128"}}};
  for (const auto& [bytes, names] : dtypes) {
    for (const std::string& name : names) {
      EXPECT_EQ(XlaDTypeBytes(name), bytes) << name;
      EXPECT_EQ(TiledBytesOf(name + "[3]{0}"), 3 * bytes) << name;
    }
  }
  for (const char* name : {"token", "opaque", "", "f8", "int32"}) {
    EXPECT_EQ(XlaDTypeBytes(name), std::nullopt) << name;
  }
}

TEST(XlaShapeTest, UnpaddedBytesIgnoreTiles) {
  const auto bytes = [](const char* text) { return UnpaddedBytes(ParseXlaShape(text)); };
  EXPECT_EQ(bytes("s8[1,2,2]{2,1,0:T(4,128)(4,1)}"), 4);
  EXPECT_EQ(bytes("bf16[3,5]{1,0:T(8,128)(2,1)}"), 30);
  EXPECT_EQ(bytes("u4[3,5]{1,0:T(8,128)E(4)}"), 8);
  EXPECT_EQ(bytes("(s32[], f32[2], ())"), 3 * 8);
  EXPECT_EQ(bytes("token[]"), std::nullopt);
}

TEST(XlaShapeTest, SomeShapesHaveNoSize) {
  EXPECT_EQ(TiledBytesOf("(s32[], f32[2])"), std::nullopt);
  EXPECT_EQ(TiledBytesOf("token[]"), std::nullopt);
  EXPECT_EQ(TiledBytesOf("opaque[]"), std::nullopt);
  EXPECT_EQ(TiledBytesOf("f32[2,3]{1,0:D(D,C)}"), std::nullopt);
}

TEST(XlaShapeTest, SizesPast64BitsAreNone) {
  const std::string huge = "4611686018427387904";  // 2^62.
  EXPECT_EQ(TiledBytesOf("s8[" + huge + "]"), int64_t{1} << 62);
  EXPECT_EQ(TiledBytesOf("f32[" + huge + "]"), std::nullopt);
  EXPECT_EQ(TiledBytesOf("s8[" + huge + ",2]"), std::nullopt);
  EXPECT_EQ(TiledBytesOf("s8[" + huge + ",4]{1,0:T(*,8)}"), std::nullopt);
  EXPECT_EQ(TiledBytesOf("s8[9223372036854775807]{0:T(128)}"), std::nullopt);
  EXPECT_EQ(UnpaddedBytes(ParseXlaShape("f64[" + huge + "]")), std::nullopt);
}

TEST(XlaShapeTest, RefusesOtherTexts) {
  ExpectNoShape("", "a shape, as bf16[8,128], got the end of the line");
  ExpectNoShape("F32[2]", "a shape, as bf16[8,128], got 'F32[2]'");
  ExpectNoShape("f31[2]", "an element type of XLA, got 'f31[2]'");
  ExpectNoShape("f32", "'[', got the end of the line");
  ExpectNoShape("f32[2", "']', got the end of the line");
  ExpectNoShape("f32[2,]", "an extent, a 64-bit number, got ']'");
  ExpectNoShape("f32[-2]", "an extent, a 64-bit number, got '-2]'");
  ExpectNoShape("f32[99999999999999999999]", "an extent, a 64-bit number, got '99999");
  ExpectNoShape("f32[2]x", "the end of the line, got 'x'");
  ExpectNoShape("(f32[2]", "')', got the end of the line");
  ExpectNoShape("(f32[2], /*index", "a comment and '*/', got 'index'");
}

TEST(XlaShapeTest, RefusesOtherLayouts) {
  ExpectNoShape("f32[2,3]{1}", "a layout of rank 2, got '1}'");
  ExpectNoShape("f32[2,3]{1,1}", "each dimension from 0 to 1 once, got '1}'");
  ExpectNoShape("f32[2,3]{1,2}", "each dimension from 0 to 1 once, got '2}'");
  ExpectNoShape("f32[2,3]{1,0", "':', got the end of the line");
  ExpectNoShape("f32[2]{0:T(0)}", "a tile's extent of at least 1, got '0)}'");
  ExpectNoShape("f32[2]{0:T(8", "')', got the end of the line");
  ExpectNoShape("f32[2]{0:T(8,*)}", "an extent after a tile's last '*', got '}'");
  ExpectNoShape("f32[2]{0:L(0)}", "an alignment of at least 1, got '0)}'");
  ExpectNoShape("f32[2]{0:t(8)}", "a part of a layout, as T(8,128), or '}', got 't(8)}'");
  ExpectNoShape("f32[2]{0:S(x)}", "a memory space, a 64-bit number, got 'x)}'");
}

TEST(XlaShapeTest, DeepTuplesAreRefused) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '(') + "s32[]" + std::string(depth, ')');
  };
  EXPECT_TRUE(ParseXlaShape(nested(64)).is_tuple);
  ExpectNoShape(nested(65), "at most 64 nested tuples, got 's32[]");
  ExpectNoShape(nested(100'000), "at most 64 nested tuples");
}

}  // namespace
}  // namespace splashmask
