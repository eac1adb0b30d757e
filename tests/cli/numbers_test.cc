// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/numbers.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/progress_bar.h"

namespace splashmask::cli {
namespace {

TEST(NumbersTest, GroupsThousands) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1000), "1,000");
  EXPECT_EQ(Grouped(131072), "131,072");
  EXPECT_EQ(Grouped(-100), "-100");
  EXPECT_EQ(Grouped(-1000), "-1,000");
  EXPECT_EQ(Grouped(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(NumbersTest, ScalesBytes) {
  EXPECT_EQ(Bytes(0), "0 bytes");
  EXPECT_EQ(Bytes(1), "1 byte");
  EXPECT_EQ(Bytes(1023), "1023 bytes");
  EXPECT_EQ(Bytes(1024), "1.0 KiB");
  EXPECT_EQ(Bytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(Bytes(int64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(Bytes(std::numeric_limits<int64_t>::max()), "8.0 EiB");
}

TEST(NumbersTest, PercentNeverRoundsToAllOrNothing) {
  EXPECT_EQ(Percent(0), "0 %");
  EXPECT_EQ(Percent(1e-9), "0.1 %");
  EXPECT_EQ(Percent(0.50195), "50.2 %");
  EXPECT_EQ(Percent(1 - 1e-9), "99.9 %");
  EXPECT_EQ(Percent(1), "100 %");
}

TEST(NumbersTest, DurationsHaveThreeDigits) {
  EXPECT_EQ(Duration(0.0000000123), "0.01 µs");
  EXPECT_EQ(Duration(0.0000123), "12.3 µs");
  EXPECT_EQ(Duration(0.0009994), "999 µs");
  EXPECT_EQ(Duration(0.0009996), "1.00 ms");
  EXPECT_EQ(Duration(0.04123), "41.2 ms");
  EXPECT_EQ(Duration(0.9994), "999 ms");
  EXPECT_EQ(Duration(0.9996), "1.00 s");
  EXPECT_EQ(Duration(61.2), "61.2 s");
  EXPECT_EQ(Duration(3600), "3600 s");
}

TEST(NumbersTest, RangesAreInclusiveAndFew) {
  EXPECT_EQ(Ranges({}), "");
  EXPECT_EQ(Ranges({{100, 200}, {300, 301}}), "100..199, 300");
  EXPECT_EQ(Ranges({{0, 1}, {2, 3}, {4, 5}}, 2), "0, 2, ...");
  EXPECT_EQ(Ranges({{1000, 131072}}), "1,000..131,071");
  EXPECT_EQ(CountPositions({{100, 200}, {300, 301}}), 101);
}

TEST(NumbersTest, NamesHeads) {
  EXPECT_EQ(Heads({0}, 1), "the one head");
  EXPECT_EQ(Heads({0, 1, 2}, 3), "all 3 heads");
  EXPECT_EQ(Heads({2}, 3), "head 2");
  EXPECT_EQ(Heads({0, 1, 2, 5, 7, 8}, 9), "heads 0..2, 5, 7..8");
}

TEST(ProgressLineTest, FillsUp) {
  EXPECT_EQ(ProgressLine("read", 0).find("█"), std::string::npos);
  EXPECT_NE(ProgressLine("read", 0.5).find("█░"), std::string::npos);
  EXPECT_NE(ProgressLine("read", 0.5).find(" 50 %"), std::string::npos);
  EXPECT_EQ(ProgressLine("read", 1).find("░"), std::string::npos);
  EXPECT_EQ(ProgressLine("read", 7), ProgressLine("read", 1));
}

TEST(ExitCodeTest, EveryErrorCodeHasOne) {
  for (const ErrorCode code : {ErrorCode::kInvalidArgument, ErrorCode::kSyntax,
                               ErrorCode::kInvalidArray, ErrorCode::kNotFound, ErrorCode::kTooLarge,
                               ErrorCode::kNewerFormat, ErrorCode::kNotAPlan}) {
    EXPECT_EQ(ExitCodeOf(code), 2) << ErrorCodeName(code);
  }
  EXPECT_EQ(ExitCodeOf(ErrorCode::kDamaged), 3);
  EXPECT_EQ(ExitCodeOf(ErrorCode::kIo), 3);
  EXPECT_EQ(ExitCodeOf(ErrorCode::kCancelled), 130);
}

}  // namespace
}  // namespace splashmask::cli
