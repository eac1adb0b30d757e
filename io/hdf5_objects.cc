// SPDX-License-Identifier: Apache-2.0
// Groups and datasets.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>

#include "splashmask/io/hdf5.h"
#include "splashmask/io/hdf5_internal.h"

namespace splashmask::hdf5 {

namespace {

// h5py's bool, or an integer that fills its bytes.
std::optional<DType> DTypeOf(hid_t type) {
  if (H5Tget_class(type) == H5T_ENUM) {
    return H5Tequal(type, BoolType().get()) > 0 ? std::optional(DType::kBool) : std::nullopt;
  }
  if (H5Tget_class(type) != H5T_INTEGER) return std::nullopt;
  const size_t size = H5Tget_size(type);
  if (H5Tget_precision(type) != 8 * size) return std::nullopt;
  const bool is_signed = H5Tget_sign(type) != H5T_SGN_NONE;
  switch (size) {
    case 1:
      return is_signed ? DType::kInt8 : DType::kUInt8;
    case 2:
      return is_signed ? DType::kInt16 : DType::kUInt16;
    case 4:
      return is_signed ? DType::kInt32 : DType::kUInt32;
    case 8:
      return is_signed ? DType::kInt64 : DType::kUInt64;
    default:
      return std::nullopt;
  }
}

std::string TypeName(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return fmt::format("an integer of {} bits", H5Tget_precision(type));
    case H5T_FLOAT:
      return fmt::format("float{}", 8 * H5Tget_size(type));
    case H5T_STRING:
      return "string";
    case H5T_BITFIELD:
      return "bit field";
    case H5T_COMPOUND:
      return "compound";
    case H5T_ENUM:
      return "enum";
    default:
      return "a type that is neither bool nor integer";
  }
}

// nullopt for a null dataspace (h5py.Empty) or an extent beyond int64.
std::optional<std::vector<int64_t>> ShapeOf(hid_t space) {
  const H5S_class_t kind = H5Sget_simple_extent_type(space);
  if (kind != H5S_SIMPLE && kind != H5S_SCALAR) return std::nullopt;
  std::array<hsize_t, H5S_MAX_RANK> extents;
  const int rank = H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  if (rank < 0) return std::nullopt;
  std::vector<int64_t> shape;
  for (int i = 0; i < rank; ++i) {
    if (extents[i] > static_cast<hsize_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    shape.push_back(static_cast<int64_t>(extents[i]));
  }
  return shape;
}

std::optional<Extent> ExtentOf(hid_t dataset, const std::vector<int64_t>& shape, size_t item) {
  const Handle list(H5Dget_create_plist(dataset));
  if (!list || H5Pget_layout(list.get()) != H5D_CONTIGUOUS) return std::nullopt;
  int64_t bytes = static_cast<int64_t>(item);
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  if (bytes == 0) return Extent{};
  const haddr_t offset = H5Dget_offset(dataset);
  if (offset > static_cast<haddr_t>(std::numeric_limits<int64_t>::max()) ||
      H5Dget_storage_size(dataset) != static_cast<hsize_t>(bytes)) {
    return std::nullopt;
  }
  return Extent{static_cast<int64_t>(offset), bytes};
}

Handle MakeSpace(const std::vector<int64_t>& shape) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  return Handle(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr));
}

}  // namespace

DatasetInfo Dataset::Describe() const {
  const Lock lock;
  const Handle type(H5Dget_type(id_.get())), space(H5Dget_space(id_.get()));
  if (!type || !space) Fail("expected a type and a shape, got none");
  DatasetInfo info;
  const std::optional<std::vector<int64_t>> shape = ShapeOf(space.get());
  if (!shape) {
    info.type_name = "no data at all";
    return info;
  }
  info.shape = *shape;
  info.dtype = DTypeOf(type.get());
  info.type_name = info.dtype ? std::string(DTypeName(*info.dtype)) : TypeName(type.get());
  info.is_float32 =
      H5Tequal(type.get(), H5T_IEEE_F32LE) > 0 || H5Tequal(type.get(), H5T_IEEE_F32BE) > 0;
  info.little_endian = H5Tget_size(type.get()) == 1 || H5Tget_order(type.get()) != H5T_ORDER_BE;
  if (H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0 &&
      H5Tget_cset(type.get()) == H5T_CSET_UTF8 && shape->empty()) {
    info.text_bytes = static_cast<int64_t>(H5Tget_size(type.get()));
  }
  info.extent = ExtentOf(id_.get(), *shape, H5Tget_size(type.get()));
  return info;
}

int64_t Dataset::BytesOf(const std::vector<int64_t>& shape, int64_t item) const {
  int64_t bytes = item;
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      Fail(fmt::format("expected a shape of 64-bit size, got ({})", fmt::join(shape, ", ")));
    }
  }
  return bytes;
}

void Dataset::Read(DType dtype, void* out) const {
  const Lock lock;
  ReadAs(TypeOf(dtype).get(), out);
}

void Dataset::ReadFloats(float* out) const {
  const Lock lock;
  ReadAs(H5T_NATIVE_FLOAT, out);
}

void Dataset::ReadAs(int64_t type, void* out) const {
  if (H5Dread(id_.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0) {
    Fail("the data cannot be read");
  }
}

std::string Group::MemberPath(const std::string& name) const { return path_ + '/' + name; }

std::vector<std::string> Group::Names() const {
  const Lock lock;
  std::vector<std::string> names;
  const H5L_iterate_t keep = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  if (H5Literate(id_.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, keep, &names) < 0) {
    Fail("the members cannot be listed");
  }
  return names;
}

bool Group::Has(const std::string& name) const {
  const Lock lock;
  return H5Lexists(id_.get(), name.c_str(), H5P_DEFAULT) > 0;
}

Handle Group::OpenMember(const std::string& name, bool is_group) const {
  const char* kind = is_group ? "group" : "dataset";
  if (!Has(name)) Fail(fmt::format("expected a {} '{}', got none", kind, name));
  H5L_info_t link;
  if (H5Lget_info(id_.get(), name.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD) {
    Fail(fmt::format("expected a {} '{}', got a link to elsewhere", kind, name));
  }
  Handle id(H5Oopen(id_.get(), name.c_str(), H5P_DEFAULT));
  if (!id || H5Iget_type(id.get()) != (is_group ? H5I_GROUP : H5I_DATASET)) {
    Fail(fmt::format("expected a {} '{}', got something else", kind, name));
  }
  return id;
}

Group Group::OpenGroup(const std::string& name) const {
  const Lock lock;
  return Group(context_, OpenMember(name, /*is_group=*/true), MemberPath(name));
}

Dataset Group::OpenDataset(const std::string& name) const {
  const Lock lock;
  return Dataset(context_, OpenMember(name, /*is_group=*/false), MemberPath(name));
}

Group Group::CreateGroup(const std::string& name) const {
  const Lock lock;
  const Handle list(H5Pcreate(H5P_GROUP_CREATE));
  Handle id;
  // All members stay in the group's own header, which has a checksum. HDF5 1.10 can crash on a
  // damaged heap or tree of links, even where a checksum tells it of the damage.
  constexpr unsigned kMembersInHeader = 65535;
  if (list && H5Pset_obj_track_times(list.get(), false) >= 0 &&
      H5Pset_link_phase_change(list.get(), kMembersInHeader, 0) >= 0) {
    id = Handle(H5Gcreate2(id_.get(), name.c_str(), H5P_DEFAULT, list.get(), H5P_DEFAULT));
  }
  if (!id) Fail(fmt::format("cannot create the group '{}'", name));
  return Group(context_, std::move(id), MemberPath(name));
}

std::pair<Dataset, Extent> Group::Create(const std::string& name, int64_t type, int64_t space,
                                         int64_t bytes) const {
  const Handle list(H5Pcreate(H5P_DATASET_CREATE));
  Handle id;
  if (list && H5Pset_layout(list.get(), H5D_CONTIGUOUS) >= 0 &&
      H5Pset_alloc_time(list.get(), H5D_ALLOC_TIME_EARLY) >= 0 &&
      H5Pset_fill_time(list.get(), H5D_FILL_TIME_NEVER) >= 0 &&
      H5Pset_obj_track_times(list.get(), false) >= 0) {
    id = Handle(
        H5Dcreate2(id_.get(), name.c_str(), type, space, H5P_DEFAULT, list.get(), H5P_DEFAULT));
  }
  if (!id) Fail(fmt::format("cannot create the dataset '{}'", name));
  const Extent extent{bytes == 0 ? 0 : static_cast<int64_t>(H5Dget_offset(id.get())), bytes};
  return {Dataset(context_, std::move(id), MemberPath(name)), extent};
}

std::pair<Dataset, Extent> Group::CreateDataset(const std::string& name, DType dtype,
                                                const std::vector<int64_t>& shape) const {
  const Lock lock;
  return CreateOfShape(name, TypeOf(dtype).get(), DTypeSize(dtype), shape);
}

Extent Group::CreateFloats(const std::string& name, const std::vector<int64_t>& shape) const {
  const Lock lock;
  return CreateOfShape(name, H5T_IEEE_F32LE, sizeof(float), shape).second;
}

std::pair<Dataset, Extent> Group::CreateOfShape(const std::string& name, int64_t type, int64_t item,
                                                const std::vector<int64_t>& shape) const {
  int64_t bytes = item;
  for (int64_t extent : shape) bytes *= extent;
  const Handle space = MakeSpace(shape);
  if (!space) Fail(fmt::format("cannot create the dataset '{}' with that shape", name));
  return Create(name, type, space.get(), bytes);
}

Extent Group::CreateText(const std::string& name, int64_t bytes) const {
  const Lock lock;
  const Handle type(H5Tcopy(H5T_C_S1)), space(H5Screate(H5S_SCALAR));
  if (!type || !space || H5Tset_size(type.get(), static_cast<size_t>(bytes)) < 0 ||
      H5Tset_strpad(type.get(), H5T_STR_NULLPAD) < 0 ||
      H5Tset_cset(type.get(), H5T_CSET_UTF8) < 0) {
    Fail(fmt::format("cannot create the text '{}'", name));
  }
  return Create(name, type.get(), space.get(), bytes).second;
}

}  // namespace splashmask::hdf5
