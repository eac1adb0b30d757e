// SPDX-License-Identifier: Apache-2.0
// Compile against what JAX answered, at several numbers of threads.

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "golden_array.h"
#include "splashmask/masks/parse.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask::golden {
namespace {

namespace json = boost::json;

constexpr int kThreads[] = {1, 2, 8};

std::vector<json::object> ReadCases(const std::string& file) {
  std::ifstream in(std::string(SPLASHMASK_GOLDEN_DIR) + "/" + file);
  std::vector<json::object> cases;
  for (std::string line; std::getline(in, line);) cases.push_back(json::parse(line).as_object());
  return cases;
}

template <typename T>
std::optional<Content> ContentOf(const std::optional<T>& field) {
  return field ? std::optional(golden::ContentOf(*field)) : std::nullopt;
}

void ExpectField(const json::object& want, std::string_view field,
                 const std::optional<Content>& got) {
  if (const auto difference = Difference(want.at(field), got)) {
    ADD_FAILURE() << field << ": " << *difference;
  }
}

void ExpectInfo(const json::object& want, const MaskInfo& got) {
  ExpectField(want, "data_next", ContentOf(got.data_next));
  ExpectField(want, "mask_next", ContentOf(got.mask_next));
  ExpectField(want, "block_mask", ContentOf(got.block_mask));
  ExpectField(want, "partial_mask_blocks", ContentOf(got.partial_mask_blocks));
  ExpectField(want, "q_sequence", ContentOf(got.q_sequence));
}

void ExpectMaskFunction(const json::value& want, const std::optional<Mask>& got, Shape shape) {
  ASSERT_EQ(got.has_value(), !want.is_null()) << "mask_function";
  if (!got) return;
  EXPECT_EQ(*got, ParseMask(std::string_view(want.as_string()), shape)) << "mask_function";
}

BlockShape BlockOf(const json::object& golden) {
  const auto block = json::value_to<std::vector<int64_t>>(golden.at("block"));
  return {block[0], block[1]};
}

PlanOptions OptionsOf(const json::object& golden) {
  PlanOptions options;
  options.head_shards = golden.at("head_shards").as_int64();
  options.q_seq_shards = golden.at("q_seq_shards").as_int64();
  options.downcast_smem_data = golden.at("downcast_smem_data").as_bool();
  if (const json::value* shrink = golden.if_contains("shrink_grid")) {
    options.shrink_grid = shrink->as_bool();
  }
  return options;
}

void ExpectGolden(const json::object& golden) {
  const auto lengths = json::value_to<std::vector<int64_t>>(golden.at("shape"));
  const Shape shape{lengths[0], lengths[1]};
  std::map<std::string, Array> arrays;
  for (const auto& [name, array] : golden.at("arrays").as_object()) {
    arrays.emplace(name, ToArray(ReadContent(array.as_object()), name));
  }
  const MultiHeadMask mask = ParseMultiHeadMask(
      std::string_view(golden.at("mask").as_string()), shape, golden.at("heads").as_int64(),
      [&arrays](const std::string& name) { return arrays.at(name); });

  CompileOptions options;
  options.fwd = options.dq = options.dkv = BlockOf(golden);
  options.plan = OptionsOf(golden);
  for (int threads : kThreads) {
    options.threads = threads;
    const Plan plan = Compile(mask, options);
    for (Pass pass : kAllPasses) {
      SCOPED_TRACE(std::string(PassName(pass)) + ", " + std::to_string(threads) + " threads");
      const CompiledPass& compiled = plan.pass(pass).value();
      EXPECT_EQ(compiled.block, BlockOf(golden));
      EXPECT_FALSE(compiled.info.is_dynamic_mask);
      // dq has the tables of fwd, at its own block sizes.
      ExpectInfo(golden.at(pass == Pass::kDkv ? "dkv" : "fwd").as_object(), compiled.info);
      ExpectMaskFunction(golden.at("mask_function"), compiled.mask_function, shape);
    }
  }
}

void ExpectDynamicGolden(const json::object& golden) {
  const Array mask = ToArray(ReadContent(golden.at("dynamic").as_object()), "mask");
  const DynamicMask dynamic{mask.data(), mask.shape()[0], {mask.shape()[1], mask.shape()[2]}};
  for (int threads : kThreads) {
    for (bool is_dkv : {false, true}) {
      SCOPED_TRACE(std::string(is_dkv ? "dkv" : "fwd") + ", " + std::to_string(threads) +
                   " threads");
      const MaskInfo info =
          CompileDynamic(dynamic, BlockOf(golden), is_dkv, OptionsOf(golden), threads);
      EXPECT_TRUE(info.is_dynamic_mask);
      ExpectInfo(golden.at(is_dkv ? "dkv" : "fwd").as_object(), info);
    }
  }
}

// The case without its arrays and answers.
std::string Summary(json::object golden) {
  for (const char* key : {"arrays", "dynamic", "fwd", "dkv"}) golden.erase(key);
  return json::serialize(golden);
}

class GoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTest, EqualsJax) {
  const std::vector<json::object> cases = ReadCases(GetParam());
  ASSERT_GE(cases.size(), 20u);
  for (const json::object& golden : cases) {
    SCOPED_TRACE(Summary(golden));
    golden.contains("dynamic") ? ExpectDynamicGolden(golden) : ExpectGolden(golden);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenTest,
                         testing::Values("static.jsonl", "q_sequence.jsonl", "every_node.jsonl",
                                         "boundaries.jsonl", "dynamic.jsonl"));

}  // namespace
}  // namespace splashmask::golden
