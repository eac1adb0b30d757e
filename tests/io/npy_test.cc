// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <numeric>

#include "splashmask/io/arrays.h"
#include "tests/io/expect_error.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

// A .npy file of any version, with the header exactly as given.
std::string MakeNpy(const std::string& header, const std::string& data, int major = 1,
                    int minor = 0) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(major);
  file += static_cast<char>(minor);
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) {
    file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  }
  return file + header + data;
}

// As numpy.save writes it: padded so that the data begin at a multiple of 64.
std::string MakePaddedNpy(const std::string& descr, const std::string& order,
                          const std::string& shape, const std::string& data, int major = 1) {
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
  while ((header.size() + 1 + (major == 1 ? 10 : 12)) % 64 != 0) header += ' ';
  return MakeNpy(header + '\n', data, major);
}

template <typename T>
std::string Bytes(std::vector<T> values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class NpyTest : public testing::Test {
 protected:
  Array Read(const std::string& bytes) {
    WriteFile(path_, bytes);
    return ReadNpy(path_);
  }
  void ExpectInvalid(const std::string& bytes, const std::string& text) {
    WriteFile(path_, bytes);
    ExpectError(ErrorCode::kInvalidArray, "[read_npy] " + path_ + ": " + text,
                [&] { ReadNpy(path_); });
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "array.npy";
};

template <typename T>
void CheckDType(const std::string& descr, DType dtype, Array array) {
  EXPECT_EQ(array.dtype(), dtype) << descr;
  EXPECT_EQ(array.shape(), (std::vector<int64_t>{3})) << descr;
  const T low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
  EXPECT_EQ(array.ToInt64(),
            (std::vector<int64_t>{static_cast<int64_t>(low), 1, static_cast<int64_t>(high)}))
      << descr;
}

TEST_F(NpyTest, ReadsEveryDTypeInEveryVersion) {
  const auto check = [&]<typename T>(T, const std::string& descr, DType dtype) {
    const T low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
    for (int major : {1, 2, 3}) {
      const std::string bytes = Bytes<T>({low, 1, high});
      CheckDType<T>(descr, dtype, Read(MakePaddedNpy(descr, "False", "(3,)", bytes, major)));
    }
  };
  check(int8_t{}, "|i1", DType::kInt8);
  check(int16_t{}, "<i2", DType::kInt16);
  check(int32_t{}, "<i4", DType::kInt32);
  check(int64_t{}, "<i8", DType::kInt64);
  check(uint8_t{}, "|u1", DType::kUInt8);
  check(uint16_t{}, "<u2", DType::kUInt16);
  check(uint32_t{}, "<u4", DType::kUInt32);
  check(uint64_t{}, "<u8", DType::kUInt64);
  const Array bools = Read(MakePaddedNpy("|b1", "False", "(1, 3)", std::string("\1\0\1", 3)));
  EXPECT_EQ(bools.dtype(), DType::kBool);
  EXPECT_EQ(bools.shape(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(bools.ToInt64(), (std::vector<int64_t>{1, 0, 1}));
}

TEST_F(NpyTest, TransposesFortranOrder) {
  const Array small =
      Read(MakePaddedNpy("<i2", "True", "(2, 3)", Bytes<int16_t>({1, 4, 2, 5, 3, 6})));
  EXPECT_EQ(small.shape(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(small.ToInt64(), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));

  const int64_t rows = 130, columns = 201;  // More than one square each way.
  std::vector<int32_t> stored;
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) stored.push_back(static_cast<int32_t>(r * columns + c));
  }
  std::vector<int64_t> expected(static_cast<size_t>(rows * columns));
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(Read(MakePaddedNpy("<i4", "True", "(130, 201)", Bytes(stored))).ToInt64(), expected);
}

TEST_F(NpyTest, FortranOrderOfOneAxisIsCOrder) {
  EXPECT_EQ(Read(MakePaddedNpy("<i2", "True", "(3,)", Bytes<int16_t>({7, 8, 9}))).ToInt64(),
            (std::vector<int64_t>{7, 8, 9}));
}

TEST_F(NpyTest, ReadsHeaderOfAnyLengthAndSpelling) {
  // No padding: the data begin at an odd offset.
  for (const char* header : {
           "{'descr':'<i4','fortran_order':False,'shape':(2,)}",
           "{ \"shape\" : ( 2 , ) , \"fortran_order\" : False , \"descr\" : \"<i4\" } \n",
           "{'fortran_order': False, 'shape': (2,), 'descr': '<i4', }\n",
       }) {
    EXPECT_EQ(Read(MakeNpy(header, Bytes<int32_t>({-1, 70000}))).ToInt64(),
              (std::vector<int64_t>{-1, 70000}))
        << header;
  }
}

TEST_F(NpyTest, ReadsEmptyArraysAndScalars) {
  EXPECT_EQ(Read(MakePaddedNpy("<i4", "False", "(0,)", "")).shape(), (std::vector<int64_t>{0}));
  EXPECT_EQ(Read(MakePaddedNpy("<i8", "True", "(5, 0)", "")).shape(), (std::vector<int64_t>{5, 0}));
  const Array scalar = Read(MakePaddedNpy("<i8", "False", "()", Bytes<int64_t>({42})));
  EXPECT_TRUE(scalar.shape().empty());
  EXPECT_EQ(scalar.At(0), 42);
}

TEST_F(NpyTest, WritesWhatNumPyWrites) {
  const auto expect = [&](const Array& array, const std::string& bytes) {
    WriteNpy(path_, array);
    EXPECT_EQ(bytes, ReadFile(path_));
    EXPECT_EQ(array, ReadNpy(path_));
  };
  const std::vector<int32_t> ints{1, -2, 70000};
  expect(Array::FromVector(ints), MakePaddedNpy("<i4", "False", "(3,)", Bytes(ints)));
  const auto bytes = std::make_shared<std::vector<uint8_t>>(std::vector<uint8_t>{1, 0, 0, 1, 1, 1});
  expect(Array(DType::kBool, {2, 3}, std::shared_ptr<const void>(bytes, bytes->data())),
         MakePaddedNpy("|b1", "False", "(2, 3)", Bytes(*bytes)));
  expect(Array(DType::kUInt16, {3, 1}, std::shared_ptr<const void>(bytes, bytes->data())),
         MakePaddedNpy("<u2", "False", "(3, 1)", Bytes(*bytes)));
  expect(Array(), MakePaddedNpy("<i8", "False", "(0,)", ""));
  ExpectError(ErrorCode::kIo, "[write_npy] /no/such.npy: ", [&] {
    WriteNpy("/no/such.npy", Array::FromVector(ints));
  });
}

TEST_F(NpyTest, ArrayOutlivesItsFile) {
  const Array array = Read(MakePaddedNpy("<i4", "False", "(2,)", Bytes<int32_t>({3, 4})));
  std::filesystem::remove(path_);
  EXPECT_EQ(array.ToInt64(), (std::vector<int64_t>{3, 4}));
}

TEST_F(NpyTest, RefusesOtherDTypes) {
  const auto descr = [](const char* name) {
    return MakePaddedNpy(name, "False", "(1,)", std::string(8, '\0'));
  };
  ExpectInvalid(descr("<f4"), "expected bool or integer data, got dtype '<f4'");
  ExpectInvalid(descr("<c8"), "expected bool or integer data, got dtype '<c8'");
  ExpectInvalid(descr("<M8[ns]"), "expected bool or integer data, got dtype '<M8[ns]'");
  ExpectInvalid(descr(""), "expected bool or integer data, got dtype ''");
  ExpectInvalid(descr("|i4"), "expected bool or integer data, got dtype '|i4'");
  ExpectInvalid(descr("|O"), "expected bool or integer data, got Python objects (dtype '|O')");
  ExpectInvalid(descr(">i4"),
                "expected little-endian data, got dtype '>i4'; save array.astype('<i4') instead");
  ExpectInvalid(MakeNpy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }", ""),
                "expected bool or integer data, got a structured dtype");
}

TEST_F(NpyTest, RefusesFilesThatAreCutShortOrTooLong) {
  const std::string whole = MakePaddedNpy("<i4", "False", "(2, 3)", std::string(24, 'x'));
  for (size_t size = 0; size < whole.size(); ++size) {
    WriteFile(path_, whole.substr(0, size));
    ExpectError(ErrorCode::kInvalidArray, "[read_npy] " + path_ + ": expected ",
                [&] { ReadNpy(path_); });
  }
  ExpectInvalid(whole.substr(0, whole.size() - 5),
                "expected 24 bytes of data for int32(2, 3), got 19; the file is cut short");
  ExpectInvalid(whole.substr(0, 40), "expected a header of 118 bytes, got a file cut short at 40");
  ExpectInvalid(whole + "x", "expected 24 bytes of data for int32(2, 3), got 25");
  ExpectInvalid("", "expected a .npy file, got one that does not begin with its magic");
}

TEST_F(NpyTest, RefusesMalformedHeaders) {
  const auto header = [](const std::string& text) { return MakeNpy(text, ""); };
  ExpectInvalid(header("[]"), "expected '{' at character 0 of the header, got '[]'");
  ExpectInvalid(header("{'descr': '<i4'}"), "expected the keys 'descr', 'fortran_order' and");
  ExpectInvalid(header("{'descr': '<i4', 'descr': '<i4'}"), "expected the key 'descr' only once");
  ExpectInvalid(header("{'descr' '<i4'}"), "expected ':' at character 9");
  ExpectInvalid(header("{'extra': 3}"), "expected no key 'extra' before this");
  ExpectInvalid(header("{'fortran_order': Maybe}"), "expected True or False at character 18");
  ExpectInvalid(header("{'shape': (3)}"), "expected a ',' in a shape of one extent");
  ExpectInvalid(header("{'shape': (3 4)}"), "expected a ',' in a shape of one extent");
  ExpectInvalid(header("{'shape': (3, 4 5)}"), "expected ')' at character 16");
  ExpectInvalid(header("{'shape': (-1,)}"), "expected an extent that is a 64-bit number");
  ExpectInvalid(header("{'shape': (99999999999999999999,)}"),
                "expected an extent that is a 64-bit");
  ExpectInvalid(header("{'descr': '<i4"), "expected a dtype in quotes");
  ExpectInvalid(header("{"), "expected a key in quotes at character 1");
  ExpectInvalid(header(""), "expected '{' at character 0");
  ExpectInvalid(header("{'descr': '<i4', 'fortran_order': False, 'shape': (1,)} x"),
                "expected nothing after the dictionary at character 56");
  ExpectInvalid(MakeNpy("", "", 4), "expected .npy format 1.0, 2.0 or 3.0, got 4.0");
  ExpectInvalid(MakeNpy("", "", 1, 1), "expected .npy format 1.0, 2.0 or 3.0, got 1.1");
  ExpectInvalid(MakeNpy(std::string(70000, ' '), "", 2),
                "expected a header of at most 65536 bytes");
}

TEST_F(NpyTest, RefusesShapesThatOverflow) {
  ExpectInvalid(MakePaddedNpy("<i8", "False", "(4294967296, 4294967296)", ""),
                "expected a shape of 64-bit size, got (4294967296, 4294967296)");
}

TEST_F(NpyTest, RefusesFortranOrderOfHigherRank) {
  ExpectInvalid(MakePaddedNpy("|i1", "True", "(1, 2, 1)", "ab"),
                "expected C order for rank 3, got Fortran order");
}

TEST_F(NpyTest, MissingFilesAndDirectoriesAreNamed) {
  ExpectError(ErrorCode::kNotFound,
              "[read_npy] /no/such.npy: cannot open the file: No such file or directory",
              [] { ReadNpy("/no/such.npy"); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a directory",
              [&] { ReadNpy(directory_.path()); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a device, pipe or socket",
              [] { ReadNpy("/dev/null"); });
  ASSERT_EQ(mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a device, pipe or socket",
              [&] { ReadNpy(directory_ / "pipe"); });
}

}  // namespace
}  // namespace splashmask
