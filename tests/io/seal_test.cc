// SPDX-License-Identifier: Apache-2.0
// Damage of every kind is found before HDF5 sees it.
#include <gtest/gtest.h>
#include <hdf5.h>
#include <xxhash.h>

#include <cstring>
#include <random>

#include "splashmask/io/plan_file.h"
#include "splashmask/io/seal.h"
#include "tests/io/edit_plan.h"
#include "tests/io/expect_error.h"
#include "tests/io/sample_plans.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/sample_size.h"

// HDF5 1.10 loses a few hundred bytes each time it refuses a damaged object header.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5\n"; }

namespace splashmask {
namespace {

class SealTest : public testing::Test {
 protected:
  SealTest() {
    WritePlan(SamplePlanNamed("tables"), path_);
    whole_ = ReadFile(path_);
  }

  // The code with which the reader refuses these bytes; nullopt when it accepts them.
  std::optional<ErrorCode> Refusal(const std::string& bytes) {
    WriteFile(path_, bytes);
    try {
      ReadPlan(path_);
      return std::nullopt;
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("[read_plan] " + path_ + ": "))
          << error.what();
      return error.code();
    }
  }

  void ExpectDamaged(const std::string& bytes, const std::string& text) {
    WriteFile(path_, bytes);
    ExpectError(ErrorCode::kDamaged, text, [&] { ReadPlan(path_); });
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "plan.h5";
  std::string whole_;
};

TEST_F(SealTest, LayoutIsAsDocumented) {
  int64_t version, length;
  std::memcpy(&version, whole_.data() + 16, 8);
  std::memcpy(&length, whole_.data() + 24, 8);
  EXPECT_EQ(whole_.substr(0, 16), std::string("\x89SPLASHMASK\r\n\x1a\n\0", 16));
  EXPECT_EQ(version, 1);
  EXPECT_EQ(length, static_cast<int64_t>(whole_.size()));
  EXPECT_EQ(whole_.substr(48, 448), std::string(448, '\0'));
  EXPECT_EQ(whole_.substr(512, 8), "\x89HDF\r\n\x1a\n");
}

// The recipe, serially: hashes of 1 MiB leaves, hashed. Sizes around the leaf and batch limits.
TEST_F(SealTest, TreeHashFollowsItsRecipe) {
  const auto canonical = [](const std::string& bytes) {
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(bytes.data(), bytes.size()));
    return std::string(reinterpret_cast<const char*>(hash.digest), sizeof(hash.digest));
  };
  const size_t leaf = size_t{1} << 20;
  for (size_t size : {size_t{0}, size_t{1}, leaf - 1, leaf, leaf + 1, 3 * leaf + 17, 65 * leaf}) {
    std::string bytes(512 + size, '\0');
    for (size_t i = 0; i < bytes.size(); i += 4093) bytes[i] = static_cast<char>(i / 4093);
    WriteFile(path_, bytes);
    std::string leaves;
    for (size_t at = 512; at < bytes.size(); at += leaf)
      leaves += canonical(bytes.substr(at, leaf));
    const PosixFile file = PosixFile::OpenForReading(path_, "test");
    const Hash128 hash = TreeHash(file, 512, static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(std::memcmp(hash.data(), canonical(leaves).data(), hash.size()), 0) << size;
  }
}

TEST_F(SealTest, EveryTruncationIsFound) {
  for (size_t size = 0; size < whole_.size(); size += size < 1100 || size > 13900 ? 1 : 37) {
    const std::optional<ErrorCode> code = Refusal(whole_.substr(0, size));
    ASSERT_TRUE(code) << size;
    EXPECT_EQ(*code, size < 15 ? ErrorCode::kNotAPlan : ErrorCode::kDamaged) << size;
  }
  ExpectDamaged(
      whole_.substr(0, 300),
      "the seal is broken: expected a user block of 512 bytes, got a file cut short at 300");
  ExpectDamaged(whole_.substr(0, 5000),
                "expected " + std::to_string(whole_.size()) + " bytes as sealed, got 5000");
}

TEST_F(SealTest, ExtraBytesAreFound) {
  ExpectDamaged(whole_ + '\0', "bytes as sealed, got " + std::to_string(whole_.size() + 1));
}

TEST_F(SealTest, EveryFlippedBitOfTheUserBlockIsFound) {
  for (size_t bit = 0; bit < 8 * 512; ++bit) {
    std::string bytes = whole_;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(Refusal(bytes), ErrorCode::kDamaged) << bit;
  }
}

TEST_F(SealTest, ThousandsOfFlippedBitsAreFound) {
  std::mt19937 random(20);
  for (int i = 0; i < 4000; ++i) {
    const size_t bit = random() % (8 * whole_.size());
    std::string bytes = whole_;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(Refusal(bytes), ErrorCode::kDamaged) << bit;
  }
}

TEST_F(SealTest, SwappedLeavesAreFound) {
  const size_t leaf = size_t{1} << 20;
  const Array bools =
      MakeBools(5000, 5000, [](int64_t r, int64_t c) { return (r * 7 + c * r) % 11 < 4; });
  WritePlan({MultiHeadMask(Mask::Dense({5000, 5000}, bools), 1), {}, {}, {}, {}}, path_);
  std::string bytes = ReadFile(path_);
  ASSERT_GT(bytes.size(), 512 + 2 * leaf);
  const std::string first = bytes.substr(512, leaf);
  bytes.replace(512, leaf, bytes.substr(512 + leaf, leaf));
  bytes.replace(512 + leaf, leaf, first);
  ExpectDamaged(bytes, "the seal is broken: expected content with the sealed hash ");
}

TEST_F(SealTest, DamagedMagicIsDamageNotAnotherFormat) {
  std::string bytes = whole_;
  bytes.replace(0, 16, 16, '\0');
  ExpectDamaged(bytes, "expected an intact user block, got one that differs from its checksum");
}

TEST_F(SealTest, OtherFilesAreNotPlans) {
  const auto expect_no_plan = [&](const std::string& bytes, const std::string& begins) {
    WriteFile(path_, bytes);
    ExpectError(ErrorCode::kNotAPlan,
                "[read_plan] " + path_ + ": expected a splashmask plan file, got a file of " +
                    std::to_string(bytes.size()) + " bytes that begins with '" + begins + "'",
                [&] { ReadPlan(path_); });
  };
  expect_no_plan("", "");
  expect_no_plan("hello", "68656c6c6f");
  expect_no_plan(std::string(10000, 'x'), "7878787878787878");
  expect_no_plan(whole_.substr(512), "894844460d0a1a0a");  // Plain HDF5.
}

TEST_F(SealTest, MissingFilesAndDirectories) {
  ExpectError(ErrorCode::kNotFound, "[read_plan] /no/plan.h5: cannot open the file: No such file",
              [] { ReadPlan("/no/plan.h5"); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a directory",
              [&] { ReadPlan(directory_.path()); });
}

TEST_F(SealTest, NewerSealVersionIsNamed) {
  StampSealVersion(path_, 2);
  for (auto seal :
       {ReadOptions::Seal::kRequire, ReadOptions::Seal::kReport, ReadOptions::Seal::kSkip}) {
    ReadOptions options;
    options.seal = seal;
    ExpectError(ErrorCode::kNewerFormat,
                "expected seal version 1 or older, got 2; a newer splashmask wrote this file",
                [&] { ReadPlan(path_, options); });
  }
}

TEST_F(SealTest, NewerFormatVersionIsNamed) {
  EditPlan(path_, true, [](hid_t file) {
    PutInt(file, "/", "format_version", 2);
    PutInt(file, "/", "something_new", 7);
  });
  ExpectError(ErrorCode::kNewerFormat,
              "expected plan format version 1 or older, got 2; a newer splashmask wrote this file",
              [&] { ReadPlan(path_); });
}

TEST_F(SealTest, AnotherToolsEditBreaksTheSeal) {
  EditPlan(path_, false, [](hid_t file) { ChangeByte(file, "/fwd/block_mask", 0, 1); });
  ExpectError(ErrorCode::kDamaged, "the seal is broken: expected content with the sealed hash",
              [&] { ReadPlan(path_); });
}

TEST_F(SealTest, BrokenSealCanBeReportedInstead) {
  EditPlan(path_, false, [](hid_t file) { ChangeByte(file, "/fwd/block_mask", 0, 1); });
  ReadOptions options;
  options.seal = ReadOptions::Seal::kReport;
  LoadedPlan loaded = ReadPlan(path_, options);
  EXPECT_EQ(loaded.seal, SealState::kBroken);
  EXPECT_NE(loaded.seal_error.find("sealed hash"), std::string::npos) << loaded.seal_error;
  EXPECT_TRUE(loaded.digest_error.starts_with(
      "expected content_digest " + loaded.digests.content_digest + ", got content with "))
      << loaded.digest_error;

  // Without looking at the seal, the digest still speaks.
  options.seal = ReadOptions::Seal::kSkip;
  ExpectError(ErrorCode::kDamaged, "expected content_digest " + loaded.digests.content_digest,
              [&] { ReadPlan(path_, options); });
  options.check_digests = false;
  EXPECT_EQ(ReadPlan(path_, options).seal, SealState::kNotChecked);
}

TEST_F(SealTest, SealCanBeCheckedAlone) {
  EXPECT_EQ(CheckSeal(path_), SealState::kValid);
  WriteFile(path_, whole_ + 'x');
  EXPECT_EQ(CheckSeal(path_), SealState::kBroken);
  WriteFile(path_, "something else");
  ExpectError(ErrorCode::kNotAPlan, "expected a splashmask plan file", [&] { CheckSeal(path_); });
}

// HDF5 has no checksum for its heap of strings; read without the seal, a damaged one must neither
// hang nor crash.
TEST_F(SealTest, DamagedHeapOfStringsIsRefusedWithoutTheSeal) {
  ReadOptions options;
  options.seal = ReadOptions::Seal::kReport;
  const size_t heap = whole_.find("GCOL");
  ASSERT_NE(heap, std::string::npos);
  size_t refused = 0;
  const size_t step = SampleSize(8) == 8 ? 1 : 7;
  for (size_t bit = 0; bit < 8 * 496; bit += step) {
    std::string bytes = whole_;
    bytes[heap + bit / 8] = static_cast<char>(bytes[heap + bit / 8] ^ (1 << (bit % 8)));
    WriteFile(path_, bytes);
    try {
      const LoadedPlan loaded = ReadPlan(path_, options);
      EXPECT_EQ(loaded.seal, SealState::kBroken);
    } catch (const Error& error) {
      EXPECT_EQ(ErrorCodeName(error.code()), "Damaged") << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 500 / step);
}

TEST_F(SealTest, FlippedBitsReadSafelyWithoutTheSeal) {
  ReadOptions options;
  options.seal = ReadOptions::Seal::kReport;
  std::mt19937 random(21);
  for (const std::string name : {"tables", "nodes", "many_arrays"}) {
    WritePlan(SamplePlanNamed(name), path_);
    whole_ = ReadFile(path_);
    for (uint64_t i = 0; i < SampleSize(700); ++i) {
      const size_t bit = 8 * 512 + random() % (8 * (whole_.size() - 512));
      std::string bytes = whole_;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
      WriteFile(path_, bytes);
      try {
        EXPECT_EQ(ReadPlan(path_, options).seal, SealState::kBroken);
      } catch (const Error& error) {
        EXPECT_EQ(ErrorCodeName(error.code()), "Damaged") << error.what();
      }
    }
  }
}

// Whatever happened, HDF5 has no file open and neither have we.
TEST_F(SealTest, NothingStaysOpen) {
  const auto open_files = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = open_files();
  ReadPlan(path_);
  EditPlan(path_, true, [](hid_t file) { DropObject(file, "/fwd/data_next"); });
  ExpectError(ErrorCode::kDamaged, "content_digest", [&] { ReadPlan(path_); });
  EditPlan(path_, true, [](hid_t file) { PutInt(file, "/dkv", "block_q", 5); });
  ExpectError(ErrorCode::kDamaged, "expected block_q (5) to divide 24", [&] { ReadPlan(path_); });
  WriteFile(path_, "no plan");
  ExpectError(ErrorCode::kNotAPlan, "", [&] { ReadPlan(path_); });
  EXPECT_EQ(open_files(), before);
  EXPECT_EQ(H5Fget_obj_count(static_cast<hid_t>(H5F_OBJ_ALL), H5F_OBJ_FILE), 0);
}

TEST_F(SealTest, ReadingStopsWhenAsked) {
  const std::atomic<bool> stop = true;
  ReadOptions options;
  options.progress.stop = &stop;
  ExpectError(ErrorCode::kCancelled, "", [&] { ReadPlan(path_, options); });
}

TEST_F(SealTest, ReadingReportsProgressInOrder) {
  std::vector<double> reports;
  ReadOptions options;
  options.progress.report = [&](double done) { reports.push_back(done); };
  ReadPlan(path_, options);
  ASSERT_GE(reports.size(), 2u);
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
  EXPECT_EQ(reports.back(), 1.0);
}

}  // namespace
}  // namespace splashmask
