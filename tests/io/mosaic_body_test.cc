// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/mosaic_body.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "splashmask/io/xla/base64.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

// The body in the dump of JAX's kernel.
std::string SplashBody() {
  const std::string dump = ReadFile(SPLASHMASK_IO_TESTS "/data/splash_fwd_buffers.txt");
  const std::string key = "\"body\":\"";
  const size_t begin = dump.find(key) + key.size();
  return DecodeBase64(std::string_view(dump).substr(begin, dump.find('"', begin) - begin)).value();
}

// As MLIR prints the attributes.
std::string MlirText(const MosaicKernel& kernel) {
  std::vector<std::string> semantics;
  for (const std::string& name : kernel.dimension_semantics) {
    semantics.push_back(fmt::format("#tpu.dimension_semantics<{}>", name));
  }
  std::string text = fmt::format(
      "sym_name = \"{}\"\niteration_bounds = array<i64: {}>\ndimension_semantics = [{}]\n"
      "scalar_prefetch = {} : i64\nscratch_operands = {} : i64\n",
      kernel.function, fmt::join(kernel.iteration_bounds, ", "), fmt::join(semantics, ", "),
      kernel.scalar_prefetch, kernel.scratch_operands);
  for (const MosaicWindow& window : kernel.windows) {
    const std::string mode =
        window.pipeline_mode.empty()
            ? ""
            : fmt::format("pipeline_mode = #tpu.pipeline_mode<{}>, ", window.pipeline_mode);
    text += fmt::format("window = {{{}transform_indices = @{}, window_bounds = array<i64: {}>}}\n",
                        mode, window.transform, fmt::join(window.bounds, ", "));
  }
  return text;
}

std::string ReasonOf(std::string_view bytecode) {
  const MosaicBody body = ReadMosaicBody(bytecode);
  EXPECT_FALSE(body.kernel);
  const std::string prefix = "the kernel's body cannot be read as MLIR bytecode: ";
  EXPECT_TRUE(body.reason.starts_with(prefix)) << body.reason;
  return body.reason.substr(std::min(prefix.size(), body.reason.size()));
}

// Bytecode made by hand. Numbers are below 128, one byte each.
std::string Number(size_t value) { return std::string(1, static_cast<char>(value << 1 | 1)); }
std::string Section(int id, const std::string& bytes) {
  return static_cast<char>(id) + Number(bytes.size()) + bytes;
}

struct HandMade {
  int version = 0;
  std::string dialects = Number(1) + Number(0);
  // Strings "builtin", "iteration_bounds", "scalar_prefetch".
  std::string strings = Number(3) + Number(16) + Number(17) + Number(8) +
                        std::string("builtin\0iteration_bounds\0scalar_prefetch\0", 41);
  // Attributes: two strings; array<i64: 5>; -3 : i64; {iteration_bounds, scalar_prefetch}.
  std::vector<std::string> attributes{
      Number(2) + Number(1),
      Number(2) + Number(2),
      Number(17) + Number(0) + Number(1) + Number(8) + std::string("\5\0\0\0\0\0\0\0", 8),
      Number(8) + Number(0) + Number(5),
      Number(1) + Number(2) + Number(0) + Number(2) + Number(1) + Number(3),
  };
  // i64.
  std::vector<std::string> types{Number(0) + std::string("\x02\x04", 2)};

  std::string Bytes() const {
    std::string data, offsets = Number(attributes.size()) + Number(types.size());
    for (const auto* entries : {&attributes, &types}) {
      offsets += Number(0) + Number(entries->size());
      for (const std::string& entry : *entries) {
        offsets += Number(entry.size() << 1 | 1);
        data += entry;
      }
    }
    return std::string("ML\xefR") + Number(static_cast<size_t>(version)) +
           std::string("by hand\0", 8) + Section(1, dialects) + Section(2, data) +
           Section(3, offsets) + Section(0, strings);
  }
};

TEST(MosaicBodyTest, AgreesWithMlirOnJaxsKernel) {
  const MosaicBody body = ReadMosaicBody(SplashBody());
  ASSERT_TRUE(body.kernel) << body.reason;
  EXPECT_EQ(MlirText(*body.kernel), ReadFile(SPLASHMASK_IO_TESTS "/data/splash_fwd_kernel.txt"));
  EXPECT_EQ(body.reason, "");
}

TEST(MosaicBodyTest, ReadsWhatIsMadeByHand) {
  const MosaicBody body = ReadMosaicBody(HandMade().Bytes());
  ASSERT_TRUE(body.kernel) << body.reason;
  EXPECT_EQ(body.kernel->iteration_bounds, (std::vector<int64_t>{5}));
  EXPECT_EQ(body.kernel->scalar_prefetch, -3);
  EXPECT_EQ(body.kernel->scratch_operands, 0);
  EXPECT_TRUE(body.kernel->windows.empty());
}

// Version 1 gives dialects a version of their own.
TEST(MosaicBodyTest, ReadsNewerVersions) {
  for (int version = 1; version <= 6; ++version) {
    HandMade file;
    file.version = version;
    EXPECT_TRUE(ReadMosaicBody(file.Bytes()).kernel) << version;
    file.dialects = Number(1) + Number(0 << 1 | 1) + Section(7, "any version");
    EXPECT_TRUE(ReadMosaicBody(file.Bytes()).kernel) << version;
  }
  HandMade file;
  file.version = 7;
  EXPECT_EQ(ReasonOf(file.Bytes()), "its version is 7, written by by hand; 6 is the newest known");
}

TEST(MosaicBodyTest, SkipsUnknownAndAlignedSections) {
  const std::string bytes = HandMade().Bytes() + Section(4, "operations");
  EXPECT_TRUE(ReadMosaicBody(bytes + Section(42, "news")).kernel);
  EXPECT_TRUE(
      ReadMosaicBody(bytes + static_cast<char>(0x80 | 5) + Number(3) + Number(1) + "abc").kernel);
  std::string aligned = bytes + static_cast<char>(0x80 | 5) + Number(3) + Number(16);
  while (aligned.size() % 16 != 0) aligned += '\xcb';
  EXPECT_TRUE(ReadMosaicBody(aligned + "abc").kernel);
  EXPECT_EQ(ReasonOf(aligned + "ab"), "it ends 1 bytes too early");
  EXPECT_EQ(ReasonOf(bytes + static_cast<char>(0x80 | 5) + Number(0) + Number(3)),
            "an alignment is no power of 2");
}

// Numbers of every length, as the format's documentation has them.
TEST(MosaicBodyTest, ReadsNumbersOfEveryLength) {
  const auto prefetch = [](const std::string& number) {
    HandMade file;
    file.attributes[3] = Number(8) + Number(0) + number;
    const MosaicBody body = ReadMosaicBody(file.Bytes());
    EXPECT_TRUE(body.kernel) << body.reason;
    return body.kernel ? body.kernel->scalar_prefetch : 0;
  };
  // 200 is 400 in zigzag, 14 bits: 400 << 2 | 2.
  EXPECT_EQ(prefetch(std::string("\x42\x06", 2)), 200);
  // 2^20 is 2^21 in zigzag, 28 bits: 2^21 << 4 | 8.
  EXPECT_EQ(prefetch(std::string("\x08\x00\x00\x02", 4)), 1 << 20);
  // 2^54 is 2^55 in zigzag, 56 bits behind a byte of 0x80.
  EXPECT_EQ(prefetch(std::string("\x80\0\0\0\0\0\0\x80", 8)), int64_t{1} << 54);
  // The least number is 2^64 - 1 in zigzag, behind a byte of 0.
  EXPECT_EQ(prefetch(std::string("\0\xff\xff\xff\xff\xff\xff\xff\xff", 9)),
            std::numeric_limits<int64_t>::min());
  EXPECT_EQ(prefetch(std::string("\0\xfe\xff\xff\xff\xff\xff\xff\xff", 9)),
            std::numeric_limits<int64_t>::max());
}

TEST(MosaicBodyTest, TellsWhatIsWrong) {
  EXPECT_EQ(ReasonOf(""), "it does not begin as bytecode does");
  EXPECT_EQ(ReasonOf("module {}"), "it does not begin as bytecode does");
  EXPECT_EQ(ReasonOf("ML\xefR\x01no end"), "a string has no end");
  EXPECT_EQ(ReasonOf(std::string("ML\xefR\x01\0", 6)), "it has no section 0");
  const auto with = [](size_t attribute, const std::string& bytes) {
    HandMade file;
    file.attributes[attribute] = bytes;
    return ReasonOf(file.Bytes());
  };
  EXPECT_EQ(with(0, Number(2) + Number(9)), "it names string 9 of 3");
  EXPECT_EQ(with(0, Number(7)), "attribute 0 is no string");
  EXPECT_EQ(with(2, Number(7)), "its iteration_bounds is no array of i64");
  EXPECT_EQ(with(2, Number(17) + Number(3)), "it names attribute or type 3 of 1");
  EXPECT_EQ(with(2, Number(17) + Number(0) + Number(2) + Number(8) + std::string(8, '\0')),
            "an array of 2 has 8 bytes");
  EXPECT_EQ(with(3, Number(7)), "its scalar_prefetch is no integer");
  EXPECT_EQ(with(4, Number(1) + Number(100)), "it counts 100 items in 0 bytes");
  EXPECT_EQ(with(4, Number(1) + Number(1) + Number(1) + Number(2)),
            "no function of it has iteration_bounds");
  HandMade twice;
  twice.attributes.push_back(twice.attributes[4]);
  EXPECT_EQ(ReasonOf(twice.Bytes()), "two of its functions have iteration_bounds");
  HandMade dialects;
  dialects.dialects = Number(1) + Number(8);
  EXPECT_EQ(ReasonOf(dialects.Bytes()), "it names string 8 of 3");
}

// The table of strings comes last, so that a body cut short has none.
TEST(MosaicBodyTest, CutBodiesAreUnreadable) {
  const std::string body = SplashBody();
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_NE(ReasonOf(std::string_view(body).substr(0, size)), "") << size;
  }
}

TEST(MosaicBodyTest, DamagedBodiesAreReadOrNot) {
  const std::string body = SplashBody();
  for (size_t at = 0; at < body.size(); ++at) {
    for (int bit = 0; bit < 8; bit += 3) {
      std::string damaged = body;
      damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
      const MosaicBody result = ReadMosaicBody(damaged);
      EXPECT_NE(result.kernel.has_value(), !result.reason.empty()) << at << " " << bit;
    }
  }
}

TEST(Base64Test, DecodesTheExamplesOfRfc4648) {
  EXPECT_EQ(DecodeBase64(""), "");
  EXPECT_EQ(DecodeBase64("Zg=="), "f");
  EXPECT_EQ(DecodeBase64("Zm8="), "fo");
  EXPECT_EQ(DecodeBase64("Zm9v"), "foo");
  EXPECT_EQ(DecodeBase64("Zm9vYmFy"), "foobar");
  EXPECT_EQ(DecodeBase64("+/+/"), "\xfb\xff\xbf");
  for (const char* text : {"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "Zm-v", "Zm9\n"}) {
    EXPECT_EQ(DecodeBase64(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace splashmask
