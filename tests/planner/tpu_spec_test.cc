// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/tpu_spec.h"

#include <gtest/gtest.h>

#include "splashmask/masks/error.h"

namespace splashmask {
namespace {

TEST(TpuSpecTest, FoundByNameAndByDeviceKindInAnyCase) {
  for (const TpuSpec& spec : AllTpuSpecs()) {
    EXPECT_EQ(&FindTpuSpec(spec.name), &spec);
    EXPECT_EQ(&FindTpuSpec(spec.device_kind), &spec);
  }
  EXPECT_EQ(FindTpuSpec("V6E").name, "v6e");
  EXPECT_EQ(FindTpuSpec("tpu v5").name, "v5p");
}

TEST(TpuSpecTest, UnknownChipsAreToldWhichThereAre) {
  try {
    FindTpuSpec("v6");
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_STREQ(error.what(), "[plan] unknown chip 'v6': known are v4, v5e, v5p, v6e, tpu7x");
  }
}

// The rates that Google Cloud's pages state, from clocks in public papers: v4 runs at 1.05 GHz
// (Jouppi et al., ISCA 2023).
TEST(TpuSpecTest, PeakRatesGiveTheClock) {
  EXPECT_NEAR(FindTpuSpec("v4").clock_hz(), 1.05e9, 0.01e9);
  EXPECT_NEAR(FindTpuSpec("v5e").clock_hz(), 1.50e9, 0.01e9);
  EXPECT_NEAR(FindTpuSpec("v5p").clock_hz(), 1.75e9, 0.01e9);
  EXPECT_NEAR(FindTpuSpec("v6e").clock_hz(), 1.75e9, 0.01e9);
}

TEST(TpuSpecTest, DevicesOfTwoCoresHaveTheWholeChip) {
  const TpuSpec& v5p = FindTpuSpec("v5p");
  EXPECT_EQ(v5p.bf16_flops_per_second_of_device(), 4.59e14);
  const TpuSpec& v7 = FindTpuSpec("tpu7x");
  EXPECT_EQ(v7.bf16_flops_per_second_of_device(), 2.31e15 / 2);
  EXPECT_EQ(v7.hbm_bytes_per_second_of_device(), 7.40e12 / 2);
}

}  // namespace
}  // namespace splashmask
