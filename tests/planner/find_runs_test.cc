// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/find_runs.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <random>
#include <vector>

namespace splashmask {
namespace {

TEST(FindRunsTest, EveryTargetFindsEveryChange) {
  std::mt19937_64 random(3);
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    for (int64_t count = 1; count < 300; ++count) {
      const uint64_t change = 1 + random() % 40;
      std::vector<int32_t> ids;
      std::vector<int32_t> expected{0};
      for (int64_t i = 0; i < count; ++i) {
        const bool changes = i > 0 && random() % change == 0;
        if (changes) expected.push_back(static_cast<int32_t>(i));
        ids.push_back(i == 0 ? -1 : ids.back() ^ (changes ? 1 << (random() % 31) : 0));
      }
      std::vector<int32_t> starts(static_cast<size_t>(count));
      starts.resize(static_cast<size_t>(FindRunStarts(ids.data(), count, starts.data())));
      ASSERT_EQ(expected, starts) << hwy::TargetName(target) << " count " << count;
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace
}  // namespace splashmask
