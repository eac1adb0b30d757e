// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/ggml/ggml_geometry.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/io/expect_error.h"
#include "tests/io/ggml_samples.h"

namespace splashmask {
namespace {

// 6 heads of 4 that share 2 kv heads; 5 cached positions of 7, values of 3.
std::string AttentionLayer(int layer) {
  const auto node = [](const char* title, const char* shape, const std::string& inputs) {
    return fmt::format("\n{}\n0, {}\ncosts: {{}}\n{}", title, shape, inputs);
  };
  const std::string text =
      node("k-#: view(x)", "[4, 5, 2]", "x: cache_k_l#, 112, [56, 1]\n") +
      node("q-#: permute(x)", "[4, 1, 6]", "x: given, 0, [24]\n") +
      node("kq-#: X*Y (MAT_MUL)", "[5, 1, 6]", "x: k-#, 0, [4, 5, 2]\ny: q-#, 0, [4, 1, 6]\n") +
      node("soft-#: soft_max(x)", "[5, 1, 6]", "x: kq-#, 0, [5, 1, 6]\n") +
      node("v-#: view(x)", "[5, 3, 2]", "x: cache_v_l#, 84, [42, 1]\n") +
      node("kqv-#: X*Y (MAT_MUL)", "[3, 1, 6]",
           "not used by other computations\nx: v-#, 0, [5, 3, 2]\ny: soft-#, 0, [5, 1, 6]\n");
  std::string numbered;
  for (const char c : text) numbered += c == '#' ? std::to_string(layer) : std::string(1, c);
  return numbered;
}

const std::string kHeader = "Size of temporary storage is up to 0 bytes.\nTotal cost:\n";
const std::string kEmbedding =
    "\nrows: get_rows(x)\n0, [8, 1]\ncosts: {}\nnot used by other computations\n"
    "x: token_embd.weight, 36, [8, 9]\n";

ModelGeometry Geometry(const std::string& text) {
  return GeometryOf(ParseGgmlListing(text, "some.txt"));
}

void ExpectNoGeometry(const std::string& text, const std::string& message) {
  ExpectError(ErrorCode::kInvalidArgument, "[ggml] some.txt: " + message, [&] { Geometry(text); });
}

// `text` with every `from` made `to`.
std::string AllEdited(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

TEST(GgmlGeometryTest, SmallListing) {
  const ModelGeometry model = Geometry(SmallListing());
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.heads, 6);
  EXPECT_EQ(model.kv_heads, 2);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(model.head_dim_v, 16);
  EXPECT_EQ(model.q_len, 1);
  EXPECT_EQ(model.kv_len, 32);
  EXPECT_EQ(model.context, 128);
  EXPECT_EQ(model.embedding, 64);
  EXPECT_EQ(model.vocabulary, 96);
  EXPECT_EQ(model.feed_forward, 160);
  // 4.5 bits an element, norms 32, the output matrix 6.5625.
  const int64_t layer = (2 * 64 * 96 + 2 * 64 * 32 + 3 * 64 * 160) * 9 / 16 + 2 * 64 * 4;
  EXPECT_EQ(model.layer_weight_bytes, (std::vector<int64_t>{layer, layer}));
  EXPECT_EQ(model.weight_bytes, 2 * layer + 64 * 96 * 9 / 16 + 64 * 4 + 64 * 96 * 105 / 128);
  EXPECT_EQ(model.cache_bytes, 2 * 2 * 128 * 32 * 2);
}

TEST(GgmlGeometryTest, ValuesMayBeNarrowerAndWeightsOfLayersDiffer) {
  const std::string weights =
      "\nmore: get_rows(x)\n0, [8, 1]\ncosts: {}\nnot used by other computations\n"
      "x: blk.1.attn_q.weight, 7, [8]\ny: blk.1.attn_q.bias, 5, [8]\n"
      "\nagain: get_rows(x)\n0, [8, 1]\ncosts: {}\nnot used by other computations\n"
      "x: blk.1.attn_q.weight, 7, [8]\n";
  const ModelGeometry model =
      Geometry(kHeader + kEmbedding + AttentionLayer(0) + AttentionLayer(1) + weights);
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.heads, 6);
  EXPECT_EQ(model.kv_heads, 2);
  EXPECT_EQ(model.head_dim, 4);
  EXPECT_EQ(model.head_dim_v, 3);
  EXPECT_EQ(model.kv_len, 5);
  EXPECT_EQ(model.context, 7);
  EXPECT_EQ(model.embedding, 8);
  EXPECT_EQ(model.vocabulary, 9);
  EXPECT_EQ(model.feed_forward, std::nullopt);
  EXPECT_EQ(model.layer_weight_bytes, (std::vector<int64_t>{0, 12}));
  EXPECT_EQ(model.weight_bytes, 36 + 12);
  EXPECT_EQ(model.cache_bytes, 2 * (112 + 84));
}

TEST(GgmlGeometryTest, GraphsWithoutAttentionAreRefused) {
  ExpectNoGeometry(kHeader + kEmbedding,
                   "expected attention nodes kq-0, kq-1, ..., got none in 1 nodes");
  ExpectNoGeometry(kHeader + AttentionLayer(0),
                   "expected a weight token_embd.weight of two extents, got none");
  ExpectNoGeometry(kHeader + AttentionLayer(1),
                   "line 14: expected kq-0 as the next attention node, got 'kq-1'");
  ExpectNoGeometry(kHeader + AttentionLayer(0) + AttentionLayer(2),
                   "line 47: expected kq-1 as the next attention node, got 'kq-2'");
}

TEST(GgmlGeometryTest, AttentionWithoutValuesIsRefused) {
  const std::string one = AttentionLayer(0), other = AllEdited(one, "kqv-0", "kqv");
  ExpectNoGeometry(kHeader + other, "line 14: expected a node kqv-0 after kq-0, got none");
  ExpectNoGeometry(kHeader + other + AttentionLayer(1),
                   "line 14: expected a node kqv-0 after kq-0, got none");
  ExpectNoGeometry(kHeader + AllEdited(one, "kqv-0", "kqv-1"),
                   "line 30: expected one node 'kqv-1', after kq-1, got it elsewhere");
  ExpectNoGeometry(kHeader + AllEdited(one, "kq-0", "kr-0"),
                   "line 30: expected one node 'kqv-0', after kq-0, got it first");
}

TEST(GgmlGeometryTest, OtherShapesAreRefused) {
  const std::string text = kHeader + kEmbedding + AttentionLayer(0);
  const std::string product = "to be [n, a, kv heads] * [n, b, heads] = [a, b, heads], got ";
  ExpectNoGeometry(AllEdited(text, "[4, 1, 6]", "[4, 1, 5]"),
                   "line 20: expected 'kq-0' " + product + "[4, 5, 2] * [4, 1, 5] = [5, 1, 6]");
  ExpectNoGeometry(AllEdited(text, ", 6]", ", 5]"),
                   "line 20: expected 'kq-0' " + product + "[4, 5, 2] * [4, 1, 5] = [5, 1, 5]");
  ExpectNoGeometry(AllEdited(text, "[4, 5, 2]", "[4, 5, 0]"),
                   "line 20: expected 'kq-0' " + product);
  ExpectNoGeometry(AllEdited(text, "[4, 5, 2]", "[4, 5]"), "line 20: expected 'kq-0' " + product);
  ExpectNoGeometry(AllEdited(text, "[5, 3, 2]", "[4, 3, 2]"),
                   "line 36: expected 'kqv-0' " + product);
  ExpectNoGeometry(AllEdited(text, "[5, 3, 2]", "[5, 3, 3]"),
                   "line 36: expected 'kqv-0' to multiply [5, head_dim, 2] and [5, 1, 6] as kq-0 "
                   "does, got [5, 3, 3] and [5, 1, 6]");
  ExpectNoGeometry(AllEdited(text, "[56, 1]", "[57, 1]"),
                   "line 20: expected 'cache_k_l0' to hold 5 or more positions of 2 * 4 keys, got "
                   "[57, 1]");
  ExpectNoGeometry(AllEdited(text, "[56, 1]", "[32, 1]"),
                   "line 20: expected 'cache_k_l0' to hold 5");
  ExpectNoGeometry(AllEdited(text, "cache_k_l0", "Kcur-0"),
                   "line 20: expected the first input of 'kq-0' to be a view of a cache_k, got one "
                   "of 'Kcur-0'");
  ExpectNoGeometry(AllEdited(AllEdited(text, "x: cache_k_l0, 112, [56, 1]\n", ""), "k-0: view(x)",
                             "k-0: view()"),
                   "line 19: expected the first input of 'kq-0' to be a view of a cache_k, got one "
                   "of 'none'");
}

TEST(GgmlGeometryTest, TheFirstLayerThatDiffersIsNamed) {
  using Edits = std::vector<std::pair<std::string, std::string>>;
  const std::string two = kHeader + kEmbedding + AttentionLayer(0) + AttentionLayer(1);
  const auto differs = [&](const Edits& edits, const std::string& what) {
    std::string layer = AttentionLayer(2);
    for (const auto& [from, to] : edits) layer = AllEdited(layer, from, to);
    ExpectNoGeometry(two + layer + AttentionLayer(3), "line 86: expected layer 2 to have " + what);
  };
  differs({{", 6]", ", 8]"}}, "heads 6 as layer 0 has, got 8");
  differs({{", 2]", ", 1]"}}, "kv heads 2 as layer 0 has, got 1");
  differs({{"[4, ", "[8, "}, {"[56, ", "[112, "}}, "head_dim 4 as layer 0 has, got 8");
  differs({{"[5, 3, 2]", "[5, 6, 2]"}, {"[3, 1", "[6, 1"}},
          "head_dim of v 3 as layer 0 has, got 6");
  differs({{", 1, 6]", ", 2, 6]"}}, "q_len 1 as layer 0 has, got 2");
  differs({{"[5, ", "[6, "}, {", 5, ", ", 6, "}}, "kv_len 5 as layer 0 has, got 6");
  differs({{"[56, ", "[64, "}}, "context 7 as layer 0 has, got 8");
  ExpectNoGeometry(two +
                       "\nup: get_rows(x)\n0, [8, 1]\ncosts: {}\nnot used by other computations\n"
                       "x: blk.1.ffn_up.weight, 7, [8, 64]\n",
                   "line 53: expected layer 1 to have feed_forward none as layer 0 has, got 64");
}

}  // namespace
}  // namespace splashmask
