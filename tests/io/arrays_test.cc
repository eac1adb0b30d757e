// SPDX-License-Identifier: Apache-2.0
// Array leaves from HDF5 files, and the names that the text form may use.
#include <gtest/gtest.h>
#include <hdf5.h>

#include <vector>

#include "splashmask/io/arrays.h"
#include "tests/io/expect_error.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

hid_t BoolType() {
  const hid_t type = H5Tenum_create(H5T_STD_I8LE);
  for (int8_t value : {0, 1}) H5Tenum_insert(type, value ? "TRUE" : "FALSE", &value);
  return type;
}

class ArraysTest : public testing::Test {
 protected:
  ArraysTest() : file_(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }

  ~ArraysTest() override { Finish(); }

  // Writes a dataset of `stored` type from values in `memory` type.
  template <typename T>
  void Put(const std::string& name, hid_t stored, hid_t memory, std::vector<hsize_t> shape,
           std::vector<T> values, hid_t list = H5P_DEFAULT) {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t dataset =
        H5Dcreate2(file_, name.c_str(), stored, space, H5P_DEFAULT, list, H5P_DEFAULT);
    ASSERT_GE(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    H5Dclose(dataset);
    H5Sclose(space);
  }

  Array Read(const std::string& dataset) {
    Finish();
    return ReadHdf5Dataset(path_, dataset);
  }
  void ExpectRefused(ErrorCode code, const std::string& dataset, const std::string& text) {
    Finish();
    ExpectError(code, "[read_hdf5] " + path_ + ": " + text,
                [&] { ReadHdf5Dataset(path_, dataset); });
  }
  void Finish() {
    if (file_ >= 0) H5Fclose(file_);
    file_ = -1;
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "arrays.h5";
  hid_t file_;
};

TEST_F(ArraysTest, ReadsIntegersOfEitherByteOrder) {
  Put<int32_t>("little", H5T_STD_I32LE, H5T_NATIVE_INT32, {2, 2}, {1, -2, 3, 70000});
  Put<int32_t>("big", H5T_STD_I32BE, H5T_NATIVE_INT32, {2, 2}, {1, -2, 3, 70000});
  for (const char* name : {"/little", "/big"}) {
    const Array array = Read(name);
    EXPECT_EQ(array.dtype(), DType::kInt32);
    EXPECT_EQ(array.shape(), (std::vector<int64_t>{2, 2}));
    EXPECT_EQ(array.ToInt64(), (std::vector<int64_t>{1, -2, 3, 70000}));
  }
}

TEST_F(ArraysTest, ReadsEveryIntegerDType) {
  const std::vector<std::pair<hid_t, DType>> types = {
      {H5T_STD_I8LE, DType::kInt8},    {H5T_STD_I16LE, DType::kInt16},
      {H5T_STD_I32LE, DType::kInt32},  {H5T_STD_I64LE, DType::kInt64},
      {H5T_STD_U8LE, DType::kUInt8},   {H5T_STD_U16LE, DType::kUInt16},
      {H5T_STD_U32LE, DType::kUInt32}, {H5T_STD_U64LE, DType::kUInt64}};
  for (const auto& [type, dtype] : types) {
    Put<int64_t>(std::string(DTypeName(dtype)), type, H5T_NATIVE_INT64, {3}, {0, 1, 100});
  }
  for (const auto& [type, dtype] : types) {
    const Array array = Read("/" + std::string(DTypeName(dtype)));
    EXPECT_EQ(array.dtype(), dtype);
    EXPECT_EQ(array.ToInt64(), (std::vector<int64_t>{0, 1, 100}));
  }
}

TEST_F(ArraysTest, ReadsBoolsAsH5pyWritesThem) {
  const hid_t type = BoolType();
  Put<int8_t>("mask", type, type, {2, 3}, {1, 0, 0, 1, 1, 0});
  const Array array = Read("/mask");
  EXPECT_EQ(array.dtype(), DType::kBool);
  EXPECT_EQ(array.ToInt64(), (std::vector<int64_t>{1, 0, 0, 1, 1, 0}));
}

TEST_F(ArraysTest, ReadsCompressedChunksInGroupsAndEmptyDatasets) {
  const hid_t list = H5Pcreate(H5P_DATASET_CREATE), group = H5Pcreate(H5P_LINK_CREATE);
  const hsize_t chunk[] = {2, 2};
  H5Pset_chunk(list, 2, chunk);
  H5Pset_deflate(list, 5);
  H5Pset_create_intermediate_group(group, 1);
  H5Gclose(H5Gcreate2(file_, "a/b", group, H5P_DEFAULT, H5P_DEFAULT));
  Put<int16_t>("a/b/c", H5T_STD_I16LE, H5T_NATIVE_INT16, {3, 2}, {1, 2, 3, 4, 5, 6}, list);
  Put<int16_t>("empty", H5T_STD_I16LE, H5T_NATIVE_INT16, {0, 4}, {});
  EXPECT_EQ(Read("/a/b/c").ToInt64(), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(Read("/empty").shape(), (std::vector<int64_t>{0, 4}));
}

TEST_F(ArraysTest, RefusesWhatIsNeitherBoolNorInteger) {
  Put<float>("floats", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, {1}, {1});
  Put<uint8_t>("bits", H5T_STD_B8LE, H5T_STD_B8LE, {1}, {1});
  H5Gclose(H5Gcreate2(file_, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  const hid_t null = H5Screate(H5S_NULL);
  H5Dclose(H5Dcreate2(file_, "null", H5T_STD_I8LE, null, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  ExpectRefused(ErrorCode::kInvalidArray, "/floats",
                "/floats: expected bool or integer data, got float32");
  ExpectRefused(ErrorCode::kInvalidArray, "/bits",
                "/bits: expected bool or integer data, got bit field");
  ExpectRefused(ErrorCode::kInvalidArray, "/null",
                "/null: expected bool or integer data, got no data at all");
  ExpectRefused(ErrorCode::kInvalidArray, "/group", "expected a dataset '/group', got a group");
}

TEST_F(ArraysTest, MissingDatasetsAreNamed) {
  Put<int8_t>("left", H5T_STD_I8LE, H5T_NATIVE_INT8, {1}, {1});
  Put<int8_t>("right", H5T_STD_I8LE, H5T_NATIVE_INT8, {1}, {1});
  ExpectRefused(ErrorCode::kNotFound, "/middle",
                "expected a dataset '/middle', got none; the root holds: left, right");
  ExpectRefused(ErrorCode::kNotFound, "/no/such/path", "expected a dataset '/no/such/path'");
  ExpectRefused(ErrorCode::kInvalidArgument, "left",
                "expected a dataset's path from the root, got 'left'; did you mean '/left'?");
}

TEST_F(ArraysTest, FilesThatAreNotHdf5AreNamed) {
  WriteFile(directory_ / "text.h5", "not an HDF5 file");
  ExpectError(ErrorCode::kInvalidArray, "expected an HDF5 file, got one that cannot be opened",
              [&] { ReadHdf5Dataset(directory_ / "text.h5", "/x"); });
  ExpectError(ErrorCode::kNotFound, "cannot open the file: No such file or directory",
              [&] { ReadHdf5Dataset(directory_ / "missing.h5", "/x"); });
  ExpectError(ErrorCode::kInvalidArgument, "expected a regular file, got a directory",
              [&] { ReadHdf5Dataset(directory_.path(), "/x"); });
}

TEST_F(ArraysTest, ResolverTakesBothForms) {
  Put<int16_t>("ids", H5T_STD_I16LE, H5T_NATIVE_INT16, {2}, {4, 5});
  Finish();
  const std::string header = "{'descr': '|i1', 'fortran_order': False, 'shape': (2,)}";
  WriteFile(directory_ / "ids.npy", "\x93NUMPY" + std::string{1, 0, 55, 0} + header + "\6\7");
  for (const std::string& base : {directory_.path(), directory_.path() + "/"}) {
    const ArrayResolver resolve = FileResolver(base);
    EXPECT_EQ(resolve("arrays.h5:/ids").ToInt64(), (std::vector<int64_t>{4, 5}));
    EXPECT_EQ(resolve("arrays.h5:/ids").name(), "arrays.h5:/ids");
    EXPECT_EQ(resolve("ids.npy").ToInt64(), (std::vector<int64_t>{6, 7}));
    EXPECT_EQ(resolve("ids.npy").name(), "ids.npy");
    // An absolute name ignores the base.
    EXPECT_EQ(resolve(directory_ / "ids.npy").name(), directory_ / "ids.npy");
  }
  EXPECT_EQ(FileResolver()(path_ + ":/ids").size(), 2);
}

TEST_F(ArraysTest, ResolverExplainsOtherNames) {
  const ArrayResolver resolve = FileResolver(directory_.path());
  for (const char* name : {"mask.npz", "mask", "", ":/x", "mask.h5"}) {
    ExpectError(
        ErrorCode::kInvalidArgument,
        std::string("[resolve] expected \"name.npy\" or \"file.h5:/path\", got '") + name + "'",
        [&] { resolve(name); });
  }
  ExpectError(ErrorCode::kNotFound, "[resolve] expected a file, got 'sha256:00'",
              [&] { resolve("sha256:00"); });
  ExpectError(ErrorCode::kNotFound, "/missing.npy: cannot open the file",
              [&] { resolve("missing.npy"); });
}

}  // namespace
}  // namespace splashmask
