// SPDX-License-Identifier: Apache-2.0
#pragma once
// The element types of tables, as types. Private to the project.

#include <cstdint>

#include "splashmask/masks/array.h"

namespace splashmask {

/// Calls `visit` with a null pointer of the dtype's type: int8_t*, int16_t* or int32_t*.
template <typename Visit>
void WithType(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::kInt8:
      return visit(static_cast<int8_t*>(nullptr));
    case DType::kInt16:
      return visit(static_cast<int16_t*>(nullptr));
    default:
      return visit(static_cast<int32_t*>(nullptr));
  }
}

}  // namespace splashmask
