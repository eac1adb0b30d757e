// SPDX-License-Identifier: Apache-2.0
// Many threads that call the library at once, on masks that they share.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/packed.h"
#include "splashmask/planner/compile/tokamax.h"
#include "tests/support/naive_packed.h"
#include "tests/support/naive_tables.h"
#include "tests/support/naive_tokamax.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

constexpr int kCallers = 16;

// Runs `call(0)` to `call(calls - 1)` in every one of 16 threads that start together, each from
// another number on, and returns the numbers for which it was false.
std::vector<int> CallFromManyThreads(int calls, const std::function<bool(int)>& call) {
  std::vector<std::atomic<bool>> failed(calls);
  std::atomic<int> ready = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      ++ready;
      while (ready < kCallers) std::this_thread::yield();
      for (int i = 0; i < calls; ++i) {
        const int number = (i + caller * calls / kCallers) % calls;
        if (!call(number)) failed[number] = true;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  std::vector<int> numbers;
  for (int i = 0; i < calls; ++i) {
    if (failed[i]) numbers.push_back(i);
  }
  return numbers;
}

bool SamePasses(const Plan& a, const Plan& b) {
  return a.fwd == b.fwd && a.dq == b.dq && a.dkv == b.dkv;
}

TEST(ConcurrentCallsTest, CompileAndCertify) {
  std::vector<RandomCase> cases;
  std::vector<Plan> expected;
  for (uint64_t seed = 0; seed < SampleSize(96); ++seed) {
    cases.push_back(MakeRandomCase(seed));
    expected.push_back(NaivePlan(cases.back().mask, cases.back().options));
    cases.back().options.threads = static_cast<int>(seed % 3);
  }
  EXPECT_EQ(std::vector<int>{}, CallFromManyThreads(static_cast<int>(cases.size()), [&](int i) {
              const Plan plan = Compile(cases[i].mask, cases[i].options);
              return SamePasses(plan, expected[i]) && !Certify(plan, {}).mismatch;
            }));
}

TEST(ConcurrentCallsTest, LargeGridsShareTheThreads) {
  const Shape shape{16384, 16384};
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{64, 64};
  const std::vector<Mask> masks{
      Mask::Causal(shape) & Mask::Stride(shape, 3),
      Mask::Local(shape, 700, 9) | Mask::Prefix(shape, 100),
      Mask::ChunkedCausal(shape, 1000) ^ Mask::QRange(shape, 50, 9000),
  };
  std::vector<Plan> expected;
  options.threads = 1;
  for (const Mask& mask : masks) expected.push_back(Compile(MultiHeadMask(mask, 2), options));
  options.threads = 0;
  EXPECT_EQ(std::vector<int>{}, CallFromManyThreads(static_cast<int>(masks.size()), [&](int i) {
              return SamePasses(Compile(MultiHeadMask(masks[i], 2), options), expected[i]);
            }));
}

TEST(ConcurrentCallsTest, TokamaxLists) {
  std::mt19937_64 random(1);
  std::vector<Mask> masks;
  std::vector<TokamaxPass> expected;
  TokamaxOptions options;
  options.block = {8, 16};
  for (uint64_t i = 0; i < SampleSize(64); ++i) {
    masks.push_back(RandomMask(random, {48, 64}, 3));
    expected.push_back(NaiveTokamax(masks.back(), options));
  }
  EXPECT_EQ(std::vector<int>{}, CallFromManyThreads(static_cast<int>(masks.size()), [&](int i) {
              return CompileTokamax(masks[i], options) == expected[i];
            }));
}

TEST(ConcurrentCallsTest, PackedDocuments) {
  constexpr int64_t kBatch = 3, kLength = 256;
  const Mask mask = Mask::Causal({kLength, kLength});
  PackedOptions options;
  options.fwd = {16, 32};
  std::mt19937_64 random(2);
  std::vector<std::vector<int32_t>> batches;
  std::vector<PackedTables> expected;
  const auto segment_ids = [&](size_t i) { return SegmentIds{batches[i].data(), kBatch, kLength}; };
  for (uint64_t i = 0; i < SampleSize(64); ++i) {
    std::vector<int32_t> ids(kBatch * kLength);
    int32_t id = 1;
    for (int32_t& token : ids) token = random() % 40 == 0 ? ++id : id;
    batches.push_back(std::move(ids));
    expected.push_back(*NaiveCompilePacked(segment_ids(i), mask, options).tables);
  }
  EXPECT_EQ(std::vector<int>{}, CallFromManyThreads(static_cast<int>(batches.size()), [&](int i) {
              const PackedTables got = CompilePacked(segment_ids(i), mask, options);
              return got.fwd == expected[i].fwd && got.dkv == expected[i].dkv;
            }));
}

}  // namespace
}  // namespace splashmask
