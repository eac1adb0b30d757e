// SPDX-License-Identifier: Apache-2.0
// Listings that make_ggml_listing.py writes, held against those that others printed.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "splashmask/io/ggml/ggml_geometry.h"
#include "splashmask/io/ggml/ggml_listing.h"
#include "tests/io/expect_error.h"
#include "tests/io/ggml_samples.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

// A printed listing of a model with 123 billion weights; not part of the repository.
constexpr const char* kPrinted = SPLASHMASK_SEEDS "/003_010c2883ed1e1051.txt";
constexpr const char* kItsGeometry =
    "--layers 88 --heads 96 --kv-heads 8 --head-dim 128 --feed-forward 28672 --vocabulary 32768 "
    "--context 32768";

// The totals of its header, and what the formulas of its operations add up to.
void ExpectItsTotals(const GgmlListing& listing) {
  const int64_t layers = 88, e = 12288, kv = 1024, f = 28672, scores = 32 * 96;
  const int64_t matrices = 2 * e * e + 2 * e * kv + 3 * e * f;
  const int64_t layer_read = matrices * 9 / 16 + 2 * 4 * e + 2 * 2 * 32 * kv;
  const int64_t rest_read = 3 * (4 * e + 4) + 4 + 4 * 32 * 32 + 4 * e + 330301440;
  const int64_t layer_fmul = matrices + 6 * e + 3 * e + 3 * kv + 2 * scores * 128 + 3 * scores + f;
  const std::pair<std::string, int64_t> expected[] = {
      {"64.135 GiB", layers * layer_read + rest_read},
      {"1.22288e+11", layers * layer_fmul + 3 * e + e * 32768},
      {"2.52331e+06", layers * (2 + f) + 1},
      {"177", 2 * layers + 1},
      {"1.17146e+06", layers * (e + kv)},
      {"0.003 GiB", layers * 2 * (2 * kv) * 8},  // Bits.
      {"8448", layers * 96},
      {"8.01997e+06", layers * (3 * scores + 2 * f + 2 * e)},
      {"2.79347e+06", layers * (scores + f)}};
  const char* const names[] = {"read",  "fmul", "fdiv", "sqrt", "fsin",
                               "write", "fpow", "fadd", "fexp"};
  ASSERT_EQ(listing.totals.size(), std::size(expected));
  for (size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(listing.totals[i].name, names[i]);
    EXPECT_EQ(listing.totals[i].stated, expected[i].first);
    EXPECT_EQ(listing.totals[i].amount, expected[i].second) << names[i];
  }
  EXPECT_EQ(listing.peak_temporary_bytes, 393216);
}

void ExpectItsGeometry(const GgmlListing& listing) {
  const ModelGeometry model = GeometryOf(listing);
  EXPECT_EQ(model.layers, 88);
  EXPECT_EQ(model.heads, 96);
  EXPECT_EQ(model.kv_heads, 8);
  EXPECT_EQ(model.head_dim, 128);
  EXPECT_EQ(model.head_dim_v, 128);
  EXPECT_EQ(model.q_len, 1);
  EXPECT_EQ(model.kv_len, 32);
  EXPECT_EQ(model.context, 32768);
  EXPECT_EQ(model.embedding, 12288);
  EXPECT_EQ(model.vocabulary, 32768);
  EXPECT_EQ(model.feed_forward, 28672);
  const int64_t layer = 2 * 84934656 + 2 * 7077888 + 3 * 198180864 + 2 * 49152;
  EXPECT_EQ(model.layer_weight_bytes, std::vector<int64_t>(88, layer));
  EXPECT_EQ(model.weight_bytes, 88 * layer + 226492416 + 330301440 + 49152);
  EXPECT_EQ(model.cache_bytes, 88 * 2 * 67108864LL);
}

TEST(GgmlScriptTest, SmallListingIsWhatItWrites) {
  EXPECT_EQ(MakeListing("--layers 2 --heads 6 --kv-heads 2 --head-dim 16 --embedding 64 "
                        "--feed-forward 160 --vocabulary 96 --context 128"),
            SmallListing());
}

TEST(GgmlScriptTest, LargeModel) {
  const std::string text = MakeListing(kItsGeometry);
  const GgmlListing listing = ParseGgmlListing(text, "large");
  ExpectItsTotals(listing);
  ExpectItsGeometry(listing);
  // In bytes it would be this; see GgmlTotal.
  ExpectError(ErrorCode::kInvalidArgument,
              "[ggml] large: expected the nodes' write to add up to the total 0.000 GiB of line 8, "
              "got 0.003 GiB",
              [&] { ParseGgmlListing(Edited(text, "write: 0.003", "write: 0.000"), "large"); });
  ExpectError(
      ErrorCode::kInvalidArgument,
      "[ggml] large: expected the nodes' fmul to add up to the total 1.22288e+11 of line 4, got "
      "1.21935e+11",
      [&] {
        ParseGgmlListing(Edited(text, "ffn_up-40: X*Y", "'fmul': 352321536", "'fmul': 0"), "large");
      });
}

TEST(GgmlScriptTest, PrintedListing) {
  if (!std::filesystem::exists(kPrinted)) GTEST_SKIP() << "there is no file " << kPrinted;
  const GgmlListing listing = ReadGgmlListing(kPrinted);
  EXPECT_EQ(listing.nodes.size(), 2822u);
  ExpectItsTotals(listing);
  ExpectItsGeometry(listing);
}

// The rules of costs in the script are those of the program that printed it, and so is the drawing.
TEST(GgmlScriptTest, WritesThePrintedListing) {
  if (!std::filesystem::exists(kPrinted)) GTEST_SKIP() << "there is no file " << kPrinted;
  EXPECT_TRUE(MakeListing(kItsGeometry) == ReadFile(kPrinted));
}

}  // namespace
}  // namespace splashmask
