// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/mask_info.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "splashmask/planner/memory.h"

namespace splashmask {

Table::Table(DType dtype, std::array<int64_t, 3> shape)
    : dtype_(dtype), shape_(shape), data_(AllocateBytes(size_bytes())) {}

int32_t Table::At(int64_t index) const {
  switch (dtype_) {
    case DType::kInt8:
      return as<int8_t>()[index];
    case DType::kInt16:
      return as<int16_t>()[index];
    default:
      return as<int32_t>()[index];
  }
}

void Table::Set(int64_t index, int32_t value) {
  switch (dtype_) {
    case DType::kInt8:
      as<int8_t>()[index] = static_cast<int8_t>(value);
      break;
    case DType::kInt16:
      as<int16_t>()[index] = static_cast<int16_t>(value);
      break;
    default:
      as<int32_t>()[index] = value;
      break;
  }
}

Table Table::Clone() const {
  Table copy(dtype_, shape_);
  std::copy_n(data(), size_bytes(), copy.data());
  return copy;
}

bool operator==(const Table& a, const Table& b) {
  return a.dtype_ == b.dtype_ && a.shape_ == b.shape_ &&
         (a.data_ == b.data_ || std::equal(a.data(), a.data() + a.size_bytes(), b.data()));
}

PartialMaskBlocks::PartialMaskBlocks(std::vector<int64_t> leading, int64_t rows, int64_t columns)
    : PartialMaskBlocks(std::move(leading), rows, columns, nullptr) {
  data_ = AllocateBytes(size_bytes());
}

PartialMaskBlocks::PartialMaskBlocks(std::vector<int64_t> leading, int64_t rows, int64_t columns,
                                     std::shared_ptr<std::byte> data)
    : leading_(std::move(leading)), rows_(rows), columns_(columns), data_(std::move(data)) {}

int64_t PartialMaskBlocks::count() const {
  return std::accumulate(leading_.begin(), leading_.end(), int64_t{1}, std::multiplies<>());
}

bool PartialMaskBlocks::At(int64_t block, int64_t row, int64_t column) const {
  const std::byte byte = this->block(block)[row * row_bytes() + column / 8];
  return ((byte >> (column % 8)) & std::byte{1}) != std::byte{0};
}

void PartialMaskBlocks::Flip(int64_t block, int64_t row, int64_t column) {
  data()[block * block_bytes() + row * row_bytes() + column / 8] ^= std::byte{1} << (column % 8);
}

PartialMaskBlocks PartialMaskBlocks::Clone() const {
  PartialMaskBlocks copy(leading_, rows_, columns_);
  std::copy_n(data(), size_bytes(), copy.data());
  return copy;
}

bool operator==(const PartialMaskBlocks& a, const PartialMaskBlocks& b) {
  return a.leading_ == b.leading_ && a.rows_ == b.rows_ && a.columns_ == b.columns_ &&
         (a.data_ == b.data_ || std::equal(a.data(), a.data() + a.size_bytes(), b.data()));
}

}  // namespace splashmask
