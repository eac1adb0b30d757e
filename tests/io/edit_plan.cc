// SPDX-License-Identifier: Apache-2.0
#include "tests/io/edit_plan.h"

#include <xxhash.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "splashmask/io/posix_file.h"
#include "splashmask/io/seal.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {

namespace {

void Check(int64_t status) {
  if (status < 0) throw std::runtime_error("an edit of a plan file failed");
}

void PutAttribute(hid_t file, const char* object, const char* name, hid_t type, hid_t space,
                  const void* value) {
  const hid_t target = H5Oopen(file, object, H5P_DEFAULT);
  Check(target);
  if (H5Aexists(target, name) > 0) Check(H5Adelete(target, name));
  const hid_t attribute = H5Acreate2(target, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  Check(H5Awrite(attribute, type, value));
  H5Aclose(attribute);
  H5Oclose(target);
}

}  // namespace

void Reseal(const std::string& path) {
  const std::string bytes = ReadFile(path);
  std::filesystem::remove(path);
  const std::optional<PosixFile> file = PosixFile::CreateNew(path, "reseal", path);
  file->WriteAt(0, std::as_bytes(std::span(bytes)));
  WriteSeal(*file);
}

void EditPlan(const std::string& path, bool reseal, const std::function<void(hid_t file)>& edit) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  Check(file);
  edit(file);
  Check(H5Fclose(file));
  if (reseal) Reseal(path);
}

void StampSealVersion(const std::string& path, int64_t version) {
  Reseal(path);
  std::string bytes = ReadFile(path);
  std::memcpy(bytes.data() + 16, &version, sizeof(version));
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(bytes.data(), 496));
  std::memcpy(bytes.data() + 496, checksum.digest, sizeof(checksum.digest));
  WriteFile(path, bytes);
}

void PutInt(hid_t file, const char* object, const char* name, int64_t value) {
  PutAttribute(file, object, name, H5T_STD_I64LE, H5Screate(H5S_SCALAR), &value);
}

void PutBool(hid_t file, const char* object, const char* name, bool value) {
  const hid_t type = H5Tenum_create(H5T_STD_I8LE);
  for (int8_t member : {0, 1}) H5Tenum_insert(type, member ? "TRUE" : "FALSE", &member);
  const auto stored = static_cast<int8_t>(value);
  PutAttribute(file, object, name, type, H5Screate(H5S_SCALAR), &stored);
}

void PutText(hid_t file, const char* object, const char* name, const std::string& value) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const char* stored = value.c_str();
  PutAttribute(file, object, name, type, H5Screate(H5S_SCALAR), &stored);
}

void PutFloat(hid_t file, const char* object, const char* name, double value) {
  PutAttribute(file, object, name, H5T_IEEE_F64LE, H5Screate(H5S_SCALAR), &value);
}

void PutInts(hid_t file, const char* object, const char* name, std::vector<int64_t> values) {
  const hsize_t size = values.size();
  values.reserve(1);  // HDF5 takes no null pointer, even for nothing.
  PutAttribute(file, object, name, H5T_STD_I64LE, H5Screate_simple(1, &size, nullptr),
               values.data());
}

void DropAttribute(hid_t file, const char* object, const char* name) {
  Check(H5Adelete_by_name(file, object, name, H5P_DEFAULT));
}

void DropObject(hid_t file, const char* path) { Check(H5Ldelete(file, path, H5P_DEFAULT)); }

void PutZeros(hid_t file, const char* path, hid_t type, std::vector<hsize_t> shape) {
  if (H5Lexists(file, path, H5P_DEFAULT) > 0) DropObject(file, path);
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  Check(H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY));
  const hid_t dataset = H5Dcreate2(file, path, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
  Check(dataset);
  H5Dclose(dataset);
}

void PutTextDataset(hid_t file, const char* path, const std::string& text) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, text.size());
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  PutZeros(file, path, type, {});
  const hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
  Check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()));
  H5Dclose(dataset);
}

void ChangeByte(hid_t file, const char* path, size_t index, int delta) {
  const hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
  Check(dataset);
  const hid_t type = H5Dget_type(dataset);
  std::vector<char> bytes(H5Dget_storage_size(dataset));
  Check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
  bytes.at(index) = static_cast<char>(bytes.at(index) + delta);
  Check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
  H5Dclose(dataset);
}

}  // namespace splashmask
