// SPDX-License-Identifier: Apache-2.0
// What is written comes back, and the same plan gives the same bytes.
#include <gtest/gtest.h>
#include <hdf5.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "splashmask/io/plan_file.h"
#include "splashmask/masks/print.h"
#include "tests/io/expect_error.h"
#include "tests/io/sample_plans.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

void ExpectSamePlan(const Plan& got, const Plan& expected) {
  EXPECT_TRUE(got.mask == expected.mask) << ToString(got.mask);
  EXPECT_EQ(got.options, expected.options);
  for (Pass pass : kAllPasses) {
    SCOPED_TRACE(PassName(pass));
    ASSERT_EQ(got.pass(pass).has_value(), expected.pass(pass).has_value());
    if (!got.pass(pass)) continue;
    const MaskInfo &a = got.pass(pass)->info, &b = expected.pass(pass)->info;
    EXPECT_EQ(got.pass(pass)->block, expected.pass(pass)->block);
    EXPECT_TRUE(a.data_next == b.data_next);
    EXPECT_TRUE(a.mask_next == b.mask_next);
    EXPECT_TRUE(a.block_mask == b.block_mask);
    EXPECT_TRUE(a.partial_mask_blocks == b.partial_mask_blocks);
    EXPECT_TRUE(a.q_sequence == b.q_sequence);
    EXPECT_TRUE(got.pass(pass)->mask_function == expected.pass(pass)->mask_function);
    EXPECT_TRUE(got.pass(pass) == expected.pass(pass));
  }
  for (Pass pass : kTokamaxPasses) {
    SCOPED_TRACE(PassName(pass));
    ASSERT_EQ(got.tokamax_pass(pass).has_value(), expected.tokamax_pass(pass).has_value());
    if (!got.tokamax_pass(pass)) continue;
    const TokamaxPass &a = *got.tokamax_pass(pass), &b = *expected.tokamax_pass(pass);
    EXPECT_TRUE(a.options == b.options);
    EXPECT_TRUE(a.info.mask_next == b.info.mask_next);
    EXPECT_TRUE(a.info.active_rows == b.info.active_rows);
    EXPECT_TRUE(a.info.active_cols == b.info.active_cols);
    EXPECT_TRUE(a.info.block_mask == b.info.block_mask);
    EXPECT_TRUE(a.info.num_active_blocks == b.info.num_active_blocks);
    EXPECT_TRUE(a.info.partial_mask_blocks == b.info.partial_mask_blocks);
    EXPECT_TRUE(a.info.q_sequence == b.info.q_sequence);
    EXPECT_TRUE(a.mask_function == b.mask_function);
  }
}

TEST(PlanRoundTripTest, EverySampleComesBack) {
  const TemporaryDirectory directory;
  for (const SamplePlan& sample : SamplePlans()) {
    SCOPED_TRACE(sample.name);
    const std::string path = directory / (sample.name + ".h5");
    EXPECT_EQ(WritePlan(sample.plan, path), ComputeDigests(sample.plan));
    const LoadedPlan loaded = ReadPlan(path);
    ExpectSamePlan(loaded.plan, sample.plan);
    EXPECT_EQ(loaded.seal, SealState::kValid);
    EXPECT_EQ(loaded.digests, ComputeDigests(sample.plan));
    EXPECT_EQ(loaded.seal_error, "");
    EXPECT_EQ(loaded.digest_error, "");
    EXPECT_EQ(loaded.format_version, 1);
    EXPECT_TRUE(loaded.created_with.starts_with("splashmask ")) << loaded.created_with;
    EXPECT_EQ(loaded.file_bytes, static_cast<int64_t>(std::filesystem::file_size(path)));
  }
}

TEST(PlanRoundTripTest, SealCanBeLeftUnchecked) {
  const TemporaryDirectory directory;
  const Plan plan = SamplePlanNamed("tables");
  WritePlan(plan, directory / "plan.h5");
  ReadOptions options;
  options.seal = ReadOptions::Seal::kSkip;
  options.check_digests = false;
  const LoadedPlan loaded = ReadPlan(directory / "plan.h5", options);
  EXPECT_EQ(loaded.seal, SealState::kNotChecked);
  ExpectSamePlan(loaded.plan, plan);
}

// 300 columns in 40,000 rows: several pieces of packed bits, each row with pad bits.
TEST(PlanRoundTripTest, LargeBoolArrayComesBack) {
  const TemporaryDirectory directory;
  const Array bools =
      MakeBools(40000, 300, [](int64_t r, int64_t c) { return (r * 31 + c * c) % 7 < 3; });
  const Plan plan{MultiHeadMask(Mask::Dense({40000, 300}, bools), 2), {}, {}, {}, {}};
  WritePlan(plan, directory / "plan.h5");
  EXPECT_TRUE(ReadPlan(directory / "plan.h5").plan.mask == plan.mask);
}

// A table larger than the pieces in which files are written and read.
TEST(PlanRoundTripTest, LargeTableComesBack) {
  const TemporaryDirectory directory;
  const Shape shape{2048, 1536};
  Plan plan{MultiHeadMask(Mask::Causal(shape), 1), {}, {}, {}, {}};
  Table table(DType::kInt32, {1, 2048, 1536});
  for (int64_t i = 0; i < table.size(); ++i) table.Set(i, static_cast<int32_t>(i * 2654435761));
  plan.fwd = CompiledPass{{1, 1}, {}, std::nullopt};
  plan.fwd->info.block_mask = table;
  WritePlan(plan, directory / "plan.h5");
  ExpectSamePlan(ReadPlan(directory / "plan.h5").plan, plan);
}

TEST(PlanRoundTripTest, ArrayOfTwoMasksIsStoredOnce) {
  const TemporaryDirectory directory;
  const Shape shape{1000, 1000};
  const auto make = [] {
    return MakeBools(1000, 1000, [](int64_t r, int64_t c) { return (r ^ c) % 5 == 0; });
  };
  const Mask one = Mask::Dense(shape, make()), other = Mask::Dense(shape, make());
  WritePlan({MultiHeadMask({one}), {}, {}, {}, {}}, directory / "one.h5");
  WritePlan({MultiHeadMask({one, other, ~one}), {}, {}, {}, {}}, directory / "three.h5");
  EXPECT_LT(std::filesystem::file_size(directory / "three.h5"),
            std::filesystem::file_size(directory / "one.h5") + 1000);
}

TEST(PlanRoundTripTest, DynamicTablesAreRefused) {
  const TemporaryDirectory directory;
  Plan plan = SamplePlanNamed("none");
  plan.dkv->info.is_dynamic_mask = true;
  ExpectError(ErrorCode::kInvalidArgument,
              "[write_plan] expected tables of a static mask, got a dynamic one in dkv",
              [&] { WritePlan(plan, directory / "plan.h5"); });
  plan.dkv->info.is_dynamic_mask = false;
  plan.dkv->info.partial_mask_blocks = PartialMaskBlocks({1, 2, 2}, 8, 8);
  ExpectError(ErrorCode::kInvalidArgument, "got a dynamic one in dkv",
              [&] { WritePlan(plan, directory / "plan.h5"); });
  EXPECT_TRUE(directory.Names().empty());
}

TEST(PlanRoundTripTest, TokamaxListsBesideSeveralMasksAreRefused) {
  const TemporaryDirectory directory;
  Plan plan = SamplePlanNamed("tokamax_none");
  plan.mask = MultiHeadMask({Mask::Full({16, 16}), Mask::Causal({16, 16})});
  ExpectError(ErrorCode::kInvalidArgument,
              "[write_plan] expected one mask for all heads beside tokamax lists, got several",
              [&] { WritePlan(plan, directory / "plan.h5"); });
  EXPECT_TRUE(directory.Names().empty());
}

TEST(PlanRoundTripTest, ReadersAndWritersInManyThreads) {
  const TemporaryDirectory directory;
  const std::vector<SamplePlan> samples = SamplePlans();
  for (const SamplePlan& sample : samples) WritePlan(sample.plan, directory / sample.name);
  std::atomic<int> equal = 0;
  std::vector<std::thread> threads;
  constexpr int kThreads = 6, kRounds = 10;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round) {
        const SamplePlan& sample = samples[static_cast<size_t>(t + round) % samples.size()];
        // Everybody replaces files that the others are reading.
        WritePlan(sample.plan, directory / sample.name);
        equal += ReadPlan(directory / sample.name).plan.mask == sample.plan.mask;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, kThreads * kRounds);
  EXPECT_EQ(directory.Names().size(), samples.size());
}

TEST(PlanDeterminismTest, SamePlanGivesSameBytes) {
  const TemporaryDirectory directory;
  for (const SamplePlan& sample : SamplePlans()) {
    SCOPED_TRACE(sample.name);
    WritePlan(sample.plan, directory / "first.h5");
    WritePlan(sample.plan, directory / "second.h5");
    EXPECT_TRUE(ReadFile(directory / "first.h5") == ReadFile(directory / "second.h5"));
  }
}

// Memory that nobody initialised would show itself here: each run fills fresh memory differently.
TEST(PlanDeterminismTest, BytesDoNotDependOnWhatMemoryHeld) {
  const TemporaryDirectory directory;
  for (const std::string perturb : {"0", "85", "170"}) {
    std::filesystem::create_directory(directory / perturb);
    const std::string command = "MALLOC_PERTURB_=" + perturb +
                                " '" SPLASHMASK_WRITE_SAMPLE_PLANS "' '" + directory / perturb +
                                "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  for (const SamplePlan& sample : SamplePlans()) {
    const std::string name = "/" + sample.name + ".h5";
    const std::string expected = ReadFile(directory / ("0" + name));
    EXPECT_FALSE(expected.empty());
    EXPECT_TRUE(ReadFile(directory / ("85" + name)) == expected) << sample.name;
    EXPECT_TRUE(ReadFile(directory / ("170" + name)) == expected) << sample.name;
  }
}

TEST(PlanDeterminismTest, NoObjectCarriesTimes) {
  const TemporaryDirectory directory;
  WritePlan(SamplePlanNamed("nodes"), directory / "plan.h5");
  const hid_t file = H5Fopen((directory / "plan.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  int objects = 0;
  const auto check = [](hid_t, const char* name, const H5O_info_t* info, void* count) -> herr_t {
    EXPECT_EQ(info->ctime, 0) << name;
    EXPECT_EQ(info->mtime, 0) << name;
    ++*static_cast<int*>(count);
    return 0;
  };
  H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, check, &objects);
  H5Fclose(file);
  EXPECT_GT(objects, 8);
}

}  // namespace
}  // namespace splashmask
