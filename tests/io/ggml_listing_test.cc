// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/ggml/ggml_listing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/io/expect_error.h"
#include "tests/io/ggml_samples.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

constexpr const char* kTiny =
    "Size of temporary storage is up to 8 bytes.\n"
    "Total cost:\n"
    "  fmul: 3\n"
    "\n"
    "a: rope(x)\n"
    "8.0, [2, 1]\n"
    "costs: {'fmul': 1, 'tempsize': 8}\n"
    "x: given, 8, [2, 1]\n"
    "\n"
    "b: x+y\n"
    "8.0, [2, 1]\n"
    "costs: {'fmul': 2}\n"
    "not used by other computations\n"
    "x: a, 8.0, [2, 1]\n"
    "y: given, 8.0, [2, 1]\n";

void ExpectRefused(const std::string& text, const std::string& message) {
  ExpectError(ErrorCode::kInvalidArgument, "[ggml] some.txt: " + message,
              [&] { ParseGgmlListing(text, "some.txt"); });
}

// The tiny listing with a change.
void ExpectRefused(std::string_view from, std::string_view to, const std::string& message) {
  ExpectRefused(Edited(kTiny, from, to), message);
}

std::map<std::string, int64_t> Amounts(const GgmlListing& listing) {
  std::map<std::string, int64_t> amounts;
  for (const GgmlTotal& total : listing.totals) amounts[total.name] = total.amount;
  return amounts;
}

// A node as the script prints it, without the drawing.
std::vector<std::string> Printed(const GgmlNode& node) {
  std::vector<std::string> costs;
  for (const GgmlCost& cost : node.costs) {
    const bool is_float = cost.name == "read" || cost.name == "tempsize";
    costs.push_back(fmt::format("'{}': {}{}", cost.name, cost.amount, is_float ? ".0" : ""));
  }
  std::vector<std::string> lines = {
      fmt::format("{}: {}", node.name, node.operation),
      fmt::format("{}.0, [{}]", node.bytes, fmt::join(node.shape, ", ")),
      fmt::format("costs: {{{}}}", fmt::join(costs, ", "))};
  if (!node.is_used) lines.push_back("not used by other computations");
  for (const GgmlInput& input : node.inputs) {
    lines.push_back(fmt::format("{}: {}, {}.0, [{}]", input.letter, input.name, input.bytes,
                                fmt::join(input.shape, ", ")));
  }
  return lines;
}

TEST(GgmlListingTest, EveryNodeIsAsPrinted) {
  const std::string text = SmallListing();
  const GgmlListing listing = ParseGgmlListing(text, "small");
  std::vector<std::string> expected;
  std::istringstream lines(text);
  std::vector<int64_t> line_of_node;
  std::string line, before = "-";
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    line = WithoutDrawing(line);
    if (number > 12 && !line.empty() && !line.starts_with("==")) {
      if (before.empty()) line_of_node.push_back(number);
      expected.push_back(line);
    }
    before = line;
  }
  std::vector<std::string> got;
  std::vector<int64_t> got_lines;
  for (const GgmlNode& node : listing.nodes) {
    for (std::string& printed : Printed(node)) got.push_back(std::move(printed));
    got_lines.push_back(node.line);
  }
  EXPECT_EQ(got, expected);
  EXPECT_EQ(got_lines, line_of_node);
  EXPECT_EQ(listing.nodes.size(), 1u + 2 * 32 + 2 + 3);
}

TEST(GgmlListingTest, NodesHaveTheLayerOfTheLastHeading) {
  const GgmlListing listing = ParseGgmlListing(SmallListing(), "small");
  for (size_t i = 0; i < listing.nodes.size(); ++i) {
    const auto expected = i == 0 ? std::nullopt : std::optional<int64_t>(i <= 32 ? 0 : 1);
    EXPECT_EQ(listing.nodes[i].layer, expected) << listing.nodes[i].name;
  }
}

TEST(GgmlListingTest, InputsAreTheLatestNodesOfTheirName) {
  const GgmlListing listing = ParseGgmlListing(SmallListing(), "small");
  const auto input = [&](size_t node, size_t i) { return listing.nodes[node].inputs[i]; };
  EXPECT_EQ(listing.nodes[3].name, "Qcur-0");  // The product, of weights and attn_norm-0,
  EXPECT_EQ(input(3, 0).node, std::nullopt);
  EXPECT_EQ(input(3, 1).node, 2u);
  EXPECT_EQ(input(4, 0).node, 3u);  // reshaped,
  EXPECT_EQ(input(5, 0).node, 4u);  // rotated,
  EXPECT_EQ(input(5, 1).node, std::nullopt);
  EXPECT_EQ(listing.nodes[17].name, "q-0");  // permuted.
  EXPECT_EQ(input(17, 0).node, 5u);
}

// Every number from the shapes of the model; see SmallListing for these.
TEST(GgmlListingTest, TotalsAreExactSums) {
  const GgmlListing listing = ParseGgmlListing(SmallListing(), "small");
  const int64_t e = 64, q = 96, kv = 32, n = 32, heads = 6, d = 16, f = 160, words = 96;
  const int64_t scores = n * heads, matrices = 2 * e * q + 2 * e * kv + 3 * e * f;
  const int64_t layer_fmul =
      2 * 3 * e + matrices + 3 * q + 3 * kv + 2 * scores * d + 3 * scores + f;
  const int64_t layer_read = 2 * 4 * e + matrices * 9 / 16 + 2 * 2 * n * kv;
  const std::map<std::string, int64_t> expected = {
      {"read", 2 * layer_read + 3 * (4 * e + 4) + 4 + 4 * n * 32 + 4 * e + 5040},
      {"fmul", 2 * layer_fmul + 3 * e + e * words},
      {"fdiv", 2 * (2 + f) + 1},
      {"sqrt", 2 * 2 + 1},
      {"fsin", 2 * (q + kv)},
      {"write", 2 * 2 * kv * 2 * 8},
      {"fpow", 2 * heads},
      {"fadd", 2 * (3 * scores + 2 * f + 2 * e)},
      {"fexp", 2 * (scores + f)}};
  EXPECT_EQ(Amounts(listing), expected);
  EXPECT_EQ(listing.peak_temporary_bytes, 4 * (3 * f + e));  // ffn_gate_par and what it waits for.
  EXPECT_EQ(listing.totals[1].name, "fmul");
  EXPECT_EQ(listing.totals[1].stated, "115840");
  EXPECT_EQ(listing.totals[1].line, 4);
  EXPECT_EQ(listing.totals[0].stated, "0.000 GiB");
}

TEST(GgmlListingTest, DrawingAndLineEndsDoNotMatter) {
  const std::string text = SmallListing();
  std::string plain, windows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    plain += WithoutDrawing(line) + "\n";
    windows += line + "\r\n";
  }
  const GgmlListing expected = ParseGgmlListing(text, "small");
  for (const std::string& other : {plain, windows, text + "\n \n\n"}) {
    const GgmlListing listing = ParseGgmlListing(other, "small");
    ASSERT_EQ(listing.nodes.size(), expected.nodes.size());
    for (size_t i = 0; i < expected.nodes.size(); ++i) {
      EXPECT_EQ(Printed(listing.nodes[i]), Printed(expected.nodes[i]));
    }
    EXPECT_EQ(Amounts(listing), Amounts(expected));
  }
}

TEST(GgmlListingTest, NamesMayHoldCommasAndBrackets) {
  const std::string name = "a, 4.0, [1] (view)";
  const std::string text =
      Edited(Edited(kTiny, "a: rope", name + ": rope"), "x: a,", "x: " + name + ",");
  const GgmlListing listing = ParseGgmlListing(text, "some.txt");
  EXPECT_EQ(listing.nodes[1].inputs[0].name, name);
  EXPECT_EQ(listing.nodes[1].inputs[0].node, 0u);
  EXPECT_EQ(listing.nodes[1].inputs[0].bytes, 8);
}

TEST(GgmlListingTest, TotalsFollowANode) {
  const std::string edited = Edited(SmallListing(), "kqv-1: X*Y", "'fmul': 3072", "'fmul': 3073");
  ExpectRefused(edited,
                "expected the nodes' fmul to add up to the total 115840 of line 4, got 115841");
  const GgmlListing listing =
      ParseGgmlListing(Edited(edited, "fmul: 115840", "fmul: 115841"), "small");
  EXPECT_EQ(Amounts(listing)["fmul"], 115841);
  ExpectRefused(
      Edited(SmallListing(), "ffn_gate_par-1", "'tempsize': 2176.0", "'tempsize': 2180.0"),
      "expected the nodes' largest tempsize to be the 2176 bytes of line 1, got 2180");
}

TEST(GgmlListingTest, PeakIsTheLargestNodes) {
  ExpectRefused("up to 8 bytes", "up to 9 bytes",
                "expected the nodes' largest tempsize to be the 9 bytes of line 1, got 8");
  ExpectRefused("up to 8 bytes", "up to 7 bytes",
                "expected the nodes' largest tempsize to be the 7 bytes of line 1, got 8");
}

TEST(GgmlListingTest, TotalsAreHeldToTheDigitsPrinted) {
  const auto stated = [](const std::string& fmul, const std::string& total) {
    return ParseGgmlListing(
               Edited(Edited(kTiny, "'fmul': 2", "'fmul': " + fmul), "fmul: 3", "fmul: " + total),
               "some.txt")
        .totals[0]
        .amount;
  };
  EXPECT_EQ(stated("1234567", "1.23457e+06"), 1234568);
  EXPECT_EQ(stated("1234564", "1.23456e+06"), 1234565);  // A tie goes to the even digit.
  EXPECT_EQ(stated("1234567", "1234568"), 1234568);      // All digits do as well.
  ExpectError(ErrorCode::kInvalidArgument,
              "[ggml] some.txt: expected the nodes' fmul to add up to the total 1.23457e+06 of "
              "line 3, got 1.23458e+06",
              [&] { stated("1234574", "1.23457e+06"); });
  EXPECT_EQ(stated("1610612735", "1.500 GiB"), 1610612736);
  EXPECT_EQ(stated("1611000000", "1.500 GiB"), 1611000001);
  ExpectError(ErrorCode::kInvalidArgument, "the total 1.500 GiB of line 3, got 1.501 GiB",
              [&] { stated("1611200000", "1.500 GiB"); });
}

TEST(GgmlListingTest, ForeignTextIsRefusedAtItsLine) {
  const std::string first =
      "line 1: expected 'Size of temporary storage is up to <whole number> bytes.', got ";
  ExpectRefused("", first + "the file's end");
  ExpectRefused("\n", first + "''");
  ExpectRefused("HloModule jit_f", first + "'HloModule jit_f'");
  ExpectRefused(std::string(1000, 'a'), first + "'" + std::string(60, 'a') + "'");
  ExpectRefused("8 bytes.", "8.5 bytes.",
                first + "'Size of temporary storage is up to 8.5 bytes.'");
  ExpectRefused("is up to 8 bytes.", "is up to bytes.",
                first + "'Size of temporary storage is up to bytes.'");
  ExpectRefused(
      "Total cost:", "Total costs:", "line 2: expected 'Total cost:', got 'Total costs:'");
  const std::string total = "line 3: expected 'name: <number>' or 'name: <number> GiB', got ";
  ExpectRefused("fmul: 3", "fmul", total + "'  fmul'");
  ExpectRefused("fmul: 3", "fmul: 3 MiB", total + "'  fmul: 3 MiB'");
  ExpectRefused("fmul: 3", "fmul: nan", total + "'  fmul: nan'");
  ExpectRefused("fmul: 3", "fmul: 3\n  fmul: 3",
                "line 4: expected no total of 'fmul' here, got '  fmul: 3'");
  ExpectRefused("fmul: 3", "tempsize: 3", "line 3: expected no total of 'tempsize' here, got");
  ExpectRefused(std::string(kTiny).substr(0, std::string_view(kTiny).find("\n\n") + 1),
                "line 4: expected a node, got the file's end");
}

TEST(GgmlListingTest, LinesOfANodeAreRefused) {
  ExpectRefused("a: rope(x)", "== layer x ==",
                "line 5: expected '== layer <whole number> ==', got '== layer x =='");
  ExpectRefused("a: rope(x)", "== layer ==", "line 5: expected '== layer <whole number> =='");
  ExpectRefused("a: rope(x)", "rope(x)", "line 5: expected a node as 'name: operation', got");
  const std::string output = "line 6: expected its output as '<whole bytes>, [<extents>]', got ";
  ExpectRefused("8.0, [2, 1]", "8.5, [2, 1]", output + "'8.5, [2, 1]'");
  ExpectRefused("8.0, [2, 1]", "8.0, [2, 1", output + "'8.0, [2, 1'");
  ExpectRefused("8.0, [2, 1]", "8.0, [2, -1]", output);
  ExpectRefused("8.0, [2, 1]", "8.0, []", output);
  ExpectRefused("8.0, [2, 1]", "9223372036854775808, [2, 1]", output);
  const std::string costs =
      "line 7: expected its costs as \"costs: {'name': <whole number>, ...}\", got ";
  ExpectRefused("'fmul': 1", "'fmul': 0.5", costs + "'costs: {'fmul': 0.5, 'tempsize': 8}'");
  ExpectRefused("'fmul': 1", "fmul: 1", costs);
  ExpectRefused("'fmul': 1", "'fmul", costs);
  ExpectRefused("'tempsize': 8}", "'tempsize': 8", costs);
  ExpectRefused("'tempsize': 8}", "'tempsize': 8, }", costs);
  ExpectRefused("'fmul': 1", "'fmul': 1, 'fmul': 1", "line 7: expected 'fmul' once, got 'costs: {");
  ExpectRefused("'fmul': 1", "'fsin': 1",
                "line 7: expected only costs that the header has a total of, not 'fsin', got");
  ExpectRefused("'fmul': 2", "'fmul': 9223372036854775807",
                "line 12: expected a total of 'fmul' within 64 bits, got");
}

TEST(GgmlListingTest, InputsAreRefused) {
  const std::string input =
      "line 8: expected an input as 'x: name, <whole bytes>, [<extents>]', got ";
  ExpectRefused("x: given, 8, [2, 1]", "x: 8, [2, 1]", input + "'x: 8, [2, 1]'");
  ExpectRefused("x: given, 8, [2, 1]", "X: given, 8, [2, 1]", input);
  ExpectRefused("x: given, 8, [2, 1]", "given", input + "'given'");
  ExpectRefused("x: given, 8, [2, 1]", "y: given, 8, [2, 1]",
                "line 9: expected the input 'x' of 'a: rope(x)', got ''");
  ExpectRefused("x: given, 8, [2, 1]", "x: given, 8, [2, 1]\nx: given, 8, [2, 1]",
                "line 9: expected inputs in the order of their letters, 'x' before this one, got");
  ExpectRefused("\ny: given, 8.0, [2, 1]\n", "\n",
                "line 15: expected the input 'y' of 'b: x+y', got the file's end");
  ExpectRefused("y: given, 8.0, [2, 1]", "y: given, 8.0, [1, 2]",
                "line 15: expected 'given' of 8, [2, 1], as in the node of line 5, got");
  ExpectRefused("x: a, 8.0, [2, 1]", "x: a, 4.0, [2, 1]",
                "line 14: expected 'a' of 8, [2, 1], as in the node of line 5, got 'x: a, 4.0");
  ExpectRefused("x: a, 8.0, [2, 1]", "x: given, 8.0, [2, 1]",
                "line 5: expected a later node to use 'a', got none; is the listing cut short?");
  ExpectRefused("x: given, 8, [2, 1]", "not used by other computations\nx: given, 8, [2, 1]",
                "line 5: expected no node to use 'a', which is 'not used by other computations', "
                "got the node of line 11");
}

TEST(GgmlListingTest, CutShortAnywhereIsAnError) {
  const std::string text = SmallListing();
  for (size_t bytes = 0; bytes < text.size(); ++bytes) {
    const bool is_whole = bytes + 1 == text.size();  // Without the last line's end.
    const bool ends_line = text[bytes] == '\n' || (bytes > 0 && text[bytes - 1] == '\n');
    if (bytes % 5 != 0 && !ends_line && bytes + 200 < text.size()) continue;
    try {
      ParseGgmlListing(std::string_view(text).substr(0, bytes), "cut");
      EXPECT_TRUE(is_whole) << bytes;
    } catch (const Error& error) {
      EXPECT_FALSE(is_whole) << error.what();
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
      EXPECT_TRUE(std::string_view(error.what()).starts_with("[ggml] cut: ")) << error.what();
    }
  }
}

TEST(GgmlListingTest, FilesAreReadAndNamed) {
  const TemporaryDirectory directory;
  const std::string path = directory / "listing.txt";
  WriteFile(path, kTiny);
  const GgmlListing listing = ReadGgmlListing(path);
  EXPECT_EQ(listing.file, path);
  EXPECT_EQ(listing.nodes.size(), 2u);
  EXPECT_EQ(listing.nodes[1].inputs[0].node, 0u);
  WriteFile(path, "");
  ExpectError(ErrorCode::kInvalidArgument, "[ggml] " + path + ": line 1: expected 'Size of",
              [&] { ReadGgmlListing(path); });
  ExpectError(ErrorCode::kNotFound, "[ggml] " + (directory / "none.txt") + ": cannot open the file",
              [&] { ReadGgmlListing(directory / "none.txt"); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a directory",
              [&] { ReadGgmlListing(directory.path()); });
}

}  // namespace
}  // namespace splashmask
