// SPDX-License-Identifier: Apache-2.0
// Floating-point arrays from files and to files.
#include "splashmask/io/floats.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "tests/io/expect_error.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

class FloatsTest : public testing::Test {
 protected:
  void ExpectComesBack(const std::string& written, const std::string& read,
                       std::vector<int64_t> shape) {
    int64_t size = 1;
    for (int64_t extent : shape) size *= extent;
    std::vector<float> values(static_cast<size_t>(size));
    std::iota(values.begin(), values.end(), -1.5f);
    WriteFloats(written, std::vector<NamedFloats>{{"x", shape, values}});
    const FloatArray array = ReadFloats(read);
    EXPECT_FALSE(array.is_bfloat16);
    EXPECT_EQ(shape, array.shape);
    EXPECT_EQ(size, array.size());
    EXPECT_TRUE(values.empty() ||
                std::memcmp(array.data.get(), values.data(), values.size() * sizeof(float)) == 0);
  }

  const TemporaryDirectory directory_;
};

TEST_F(FloatsTest, ComesBack) {
  const std::string npy = directory_ / "a.npy", h5 = directory_ / "a.h5";
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {}, {1}, {5}, {2, 3}, {2, 3, 4}, {0}, {3, 0, 2}, {1000, 33}}) {
    ExpectComesBack(npy, npy, shape);
    ExpectComesBack(h5, h5 + ":/x", shape);
  }
}

TEST_F(FloatsTest, NpyIsWhatNumPyWrites) {
  const std::string path = directory_ / "a.npy";
  WriteFloats(path, std::vector<NamedFloats>{{"x", {2}, std::vector<float>{1.0f, -2.0f}}});
  std::string expected("\x93NUMPY\x01\x00\x76\x00", 10);
  expected += "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  expected.append(127 - expected.size(), ' ');
  expected += std::string("\n\x00\x00\x80\x3f\x00\x00\x00\xc0", 9);
  EXPECT_EQ(expected, ReadFile(path));
}

TEST_F(FloatsTest, SeveralArraysInOneFile) {
  const std::string path = directory_ / "a.hdf5";
  const std::vector<float> a{1, 2}, b{3, 4, 5};
  WriteFloats(path, std::vector<NamedFloats>{{"out", {2, 1}, a}, {"logsumexp", {3}, b}});
  EXPECT_EQ((std::vector<int64_t>{2, 1}), ReadFloats(path + ":/out").shape);
  const FloatArray read = ReadFloats(path + ":/logsumexp");
  EXPECT_EQ(0, std::memcmp(read.data.get(), b.data(), sizeof(float) * 3));
}

TEST_F(FloatsTest, NamesThatAreRefused) {
  const std::vector<float> values{1};
  const NamedFloats one{"x", {1}, values};
  ExpectError(ErrorCode::kInvalidArgument,
              "[write_floats] expected name.npy or name.h5, got 'a.txt'",
              [&] { WriteFloats("a.txt", std::vector{one}); });
  ExpectError(ErrorCode::kInvalidArgument, "[write_floats] expected name.h5 for 2 arrays, got ",
              [&] {
                WriteFloats(directory_ / "a.npy", std::vector{one, one});
              });
  ExpectError(ErrorCode::kInvalidArgument,
              "[read_floats] expected name.npy or file.h5:/path, got 'a.h5'",
              [&] { ReadFloats("a.h5"); });
  ExpectError(ErrorCode::kNotFound, "none.npy", [&] { ReadFloats(directory_ / "none.npy"); });
  ExpectError(ErrorCode::kIo, "[write_npy] ",
              [&] { WriteFloats(directory_ / "none/a.npy", std::vector{one}); });
}

}  // namespace
}  // namespace splashmask
