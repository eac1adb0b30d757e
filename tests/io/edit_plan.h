// SPDX-License-Identifier: Apache-2.0
#pragma once
// What somebody with the HDF5 library and our seal's recipe could do to a plan file.

#include <hdf5.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace splashmask {

/// Opens the file for writing as any HDF5 program would and calls `edit` with its identifier; then,
/// with `reseal`, seals the result.
void EditPlan(const std::string& path, bool reseal, const std::function<void(hid_t file)>& edit);

/// Writes the file's bytes anew, with a fresh seal.
void Reseal(const std::string& path);

/// Seals whatever is behind the first 512 bytes, but with another version in the block.
void StampSealVersion(const std::string& path, int64_t version);

// Edits. Objects are named by path, attributes by the object's path and their name. Each replaces
// what is there.
void PutInt(hid_t file, const char* object, const char* name, int64_t value);
void PutBool(hid_t file, const char* object, const char* name, bool value);
void PutText(hid_t file, const char* object, const char* name, const std::string& value);
void PutFloat(hid_t file, const char* object, const char* name, double value);
void PutInts(hid_t file, const char* object, const char* name, std::vector<int64_t> values);
void DropAttribute(hid_t file, const char* object, const char* name);
void DropObject(hid_t file, const char* path);
/// A dataset of zeros, contiguous and written.
void PutZeros(hid_t file, const char* path, hid_t type, std::vector<hsize_t> shape);
/// A fixed-length UTF-8 text.
void PutTextDataset(hid_t file, const char* path, const std::string& text);
/// Adds `delta` to byte `index` of a dataset, whatever its type.
void ChangeByte(hid_t file, const char* path, size_t index, int delta);

}  // namespace splashmask
