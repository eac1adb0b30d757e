// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/hdf5_internal.h"

namespace splashmask::hdf5 {

Handle BoolType() {
  Handle type(H5Tenum_create(H5T_STD_I8LE));
  for (int8_t value : {0, 1}) H5Tenum_insert(type.get(), value ? "TRUE" : "FALSE", &value);
  return type;
}

Handle TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return BoolType();
    case DType::kInt8:
      return Handle(H5Tcopy(H5T_STD_I8LE));
    case DType::kInt16:
      return Handle(H5Tcopy(H5T_STD_I16LE));
    case DType::kInt32:
      return Handle(H5Tcopy(H5T_STD_I32LE));
    case DType::kInt64:
      return Handle(H5Tcopy(H5T_STD_I64LE));
    case DType::kUInt8:
      return Handle(H5Tcopy(H5T_STD_U8LE));
    case DType::kUInt16:
      return Handle(H5Tcopy(H5T_STD_U16LE));
    case DType::kUInt32:
      return Handle(H5Tcopy(H5T_STD_U32LE));
    case DType::kUInt64:
      return Handle(H5Tcopy(H5T_STD_U64LE));
  }
  return Handle();
}

}  // namespace splashmask::hdf5
