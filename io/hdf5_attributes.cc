// SPDX-License-Identifier: Apache-2.0
// Attributes of groups and datasets.
#include <fmt/format.h>

#include "splashmask/io/hdf5.h"
#include "splashmask/io/hdf5_internal.h"

namespace splashmask::hdf5 {

namespace {

// A variable-length UTF-8 string, which h5py reads and writes as str.
Handle TextType() {
  Handle type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

bool HasType(hid_t attribute, hid_t expected) {
  const Handle type(H5Aget_type(attribute));
  return type && H5Tequal(type.get(), expected) > 0;
}

bool IsScalar(hid_t attribute) {
  const Handle space(H5Aget_space(attribute));
  return space && H5Sget_simple_extent_type(space.get()) == H5S_SCALAR;
}

}  // namespace

void Object::Fail(const std::string& what) const {
  context_->Fail(fmt::format("{}: {}", path_.empty() ? "/" : path_, what));
}

std::vector<std::string> Object::AttributeNames() const {
  const Lock lock;
  std::vector<std::string> names;
  const H5A_operator2_t keep = [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  hsize_t next = 0;
  if (H5Aiterate2(id_.get(), H5_INDEX_NAME, H5_ITER_INC, &next, keep, &names) < 0) {
    Fail("the attributes cannot be listed");
  }
  return names;
}

bool Object::HasAttribute(const std::string& name) const {
  const Lock lock;
  return H5Aexists(id_.get(), name.c_str()) > 0;
}

Handle Object::OpenAttribute(const std::string& name) const {
  if (!HasAttribute(name)) Fail(fmt::format("expected an attribute '{}', got none", name));
  Handle attribute(H5Aopen(id_.get(), name.c_str(), H5P_DEFAULT));
  if (!attribute) Fail(fmt::format("the attribute '{}' cannot be opened", name));
  return attribute;
}

int64_t Object::IntAttribute(const std::string& name) const {
  const Lock lock;
  const Handle attribute = OpenAttribute(name);
  int64_t value = 0;
  if (!HasType(attribute.get(), H5T_STD_I64LE) || !IsScalar(attribute.get()) ||
      H5Aread(attribute.get(), H5T_STD_I64LE, &value) < 0) {
    Fail(
        fmt::format("expected the attribute '{}' to be an int64 scalar, got something else", name));
  }
  return value;
}

std::vector<int64_t> Object::IntsAttribute(const std::string& name) const {
  const Lock lock;
  const Handle attribute = OpenAttribute(name);
  const Handle space(H5Aget_space(attribute.get()));
  std::vector<int64_t> values;
  const hssize_t size = space && H5Sget_simple_extent_ndims(space.get()) == 1
                            ? H5Sget_simple_extent_npoints(space.get())
                            : -1;
  // The one vector in a plan file is a shape; a longer one must not make us allocate.
  const bool is_shape = size >= 1 && size <= H5S_MAX_RANK;
  if (is_shape) values.resize(static_cast<size_t>(size));
  if (!is_shape || !HasType(attribute.get(), H5T_STD_I64LE) ||
      H5Aread(attribute.get(), H5T_STD_I64LE, values.data()) < 0) {
    Fail(
        fmt::format("expected the attribute '{}' to be an int64 vector, got something else", name));
  }
  return values;
}

bool Object::BoolAttribute(const std::string& name) const {
  const Lock lock;
  const Handle attribute = OpenAttribute(name), type = BoolType();
  int8_t value = 0;
  if (!HasType(attribute.get(), type.get()) || !IsScalar(attribute.get()) ||
      H5Aread(attribute.get(), type.get(), &value) < 0 || (value != 0 && value != 1)) {
    Fail(fmt::format("expected the attribute '{}' to be a bool, got something else", name));
  }
  return value == 1;
}

std::string Object::TextAttribute(const std::string& name) const {
  const Lock lock;
  const Handle attribute = OpenAttribute(name), type = TextType();
  char* text = nullptr;
  if (!HasType(attribute.get(), type.get()) || !IsScalar(attribute.get()) ||
      H5Aread(attribute.get(), type.get(), &text) < 0) {
    Fail(fmt::format("expected the attribute '{}' to be a UTF-8 string, got something else", name));
  }
  const std::string copy = text == nullptr ? "" : text;
  H5free_memory(text);
  return copy;
}

void Object::CreateAttribute(const std::string& name, int64_t type, int64_t space,
                             const void* value) const {
  const Handle attribute(
      H5Acreate2(id_.get(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT));
  if (!attribute || H5Awrite(attribute.get(), type, value) < 0) {
    Fail(fmt::format("cannot write the attribute '{}'", name));
  }
}

void Object::SetAttribute(const std::string& name, int64_t value) const {
  const Lock lock;
  const Handle space(H5Screate(H5S_SCALAR));
  CreateAttribute(name, H5T_STD_I64LE, space.get(), &value);
}

void Object::SetAttribute(const std::string& name, const std::vector<int64_t>& values) const {
  const Lock lock;
  const hsize_t size = values.size();
  const Handle space(H5Screate_simple(1, &size, nullptr));
  CreateAttribute(name, H5T_STD_I64LE, space.get(), values.data());
}

void Object::SetAttribute(const std::string& name, bool value) const {
  const Lock lock;
  const auto stored = static_cast<int8_t>(value);
  const Handle space(H5Screate(H5S_SCALAR)), type = BoolType();
  CreateAttribute(name, type.get(), space.get(), &stored);
}

void Object::SetAttribute(const std::string& name, const std::string& text) const {
  const Lock lock;
  const char* stored = text.c_str();
  const Handle space(H5Screate(H5S_SCALAR)), type = TextType();
  CreateAttribute(name, type.get(), space.get(), &stored);
}

}  // namespace splashmask::hdf5
