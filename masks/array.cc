// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/array.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <cstring>
#include <mutex>
#include <numeric>
#include <utility>

#include "splashmask/masks/digest.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  int64_t size;
};
constexpr DTypeInfo kDTypes[] = {
    {DType::kBool, "bool", 1},     {DType::kInt8, "int8", 1},     {DType::kInt16, "int16", 2},
    {DType::kInt32, "int32", 4},   {DType::kInt64, "int64", 8},   {DType::kUInt8, "uint8", 1},
    {DType::kUInt16, "uint16", 2}, {DType::kUInt32, "uint32", 4}, {DType::kUInt64, "uint64", 8},
};

// Elements from `data` on, as 64-bit integers.
template <typename T>
void Convert(const std::byte* data, std::span<int64_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = static_cast<int64_t>(value);
  }
}

void ConvertBools(const std::byte* data, std::span<int64_t> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = data[i] != std::byte{0};
}

using Converter = void (*)(const std::byte*, std::span<int64_t>);
Converter ConverterFor(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return ConvertBools;
    case DType::kInt8:
      return Convert<int8_t>;
    case DType::kInt16:
      return Convert<int16_t>;
    case DType::kInt32:
      return Convert<int32_t>;
    case DType::kInt64:
      return Convert<int64_t>;
    case DType::kUInt8:
      return Convert<uint8_t>;
    case DType::kUInt16:
      return Convert<uint16_t>;
    case DType::kUInt32:
      return Convert<uint32_t>;
    case DType::kUInt64:
      return Convert<uint64_t>;
  }
  return nullptr;
}

// Bit i of the result says whether byte i of `bytes` is not zero.
uint8_t NonZeroBytes(uint64_t bytes) {
  constexpr uint64_t kLow7 = 0x7f7f7f7f7f7f7f7f;
  const uint64_t high = (((bytes & kLow7) + kLow7) | bytes) & ~kLow7;
  return static_cast<uint8_t>(((high >> 7) * 0x0102040810204080) >> 56);
}

}  // namespace

int64_t DTypeSize(DType dtype) { return kDTypes[static_cast<int>(dtype)].size; }
std::string_view DTypeName(DType dtype) { return kDTypes[static_cast<int>(dtype)].name; }

DType DTypeFromName(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return info.dtype;
  }
  throw Error(ErrorCode::kInvalidArray,
              fmt::format("[array] expected dtype bool or an integer, got '{}'", name));
}

struct Array::Impl {
  DType dtype;
  std::vector<int64_t> shape;
  int64_t size;
  std::shared_ptr<const void> data;
  mutable std::once_flag digest_once, hash_once;
  mutable std::string digest;
  mutable uint64_t hash = 0;
};

Array::Array() : Array(FromVector(std::span<const int64_t>())) {}

Array::Array(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const void> data,
             std::string name)
    : name_(std::move(name)) {
  auto impl = std::make_shared<Impl>();
  impl->dtype = dtype;
  impl->size = 1;
  for (int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(impl->size, extent, &impl->size)) {
      throw Error(
          ErrorCode::kInvalidArray,
          fmt::format("[array] expected a shape of 64-bit size, got ({})", fmt::join(shape, ", ")));
    }
  }
  impl->shape = std::move(shape);
  impl->data = std::move(data);
  impl_ = std::move(impl);
}

namespace {
template <typename T>
Array CopyVector(std::span<const T> values, DType dtype, std::string name) {
  auto copy = std::make_shared<std::vector<T>>(values.begin(), values.end());
  const auto size = static_cast<int64_t>(values.size());
  return Array(dtype, {size}, std::shared_ptr<const void>(copy, copy->data()), std::move(name));
}
}  // namespace

Array Array::FromVector(std::span<const int32_t> values, std::string name) {
  return CopyVector(values, DType::kInt32, std::move(name));
}
Array Array::FromVector(std::span<const int64_t> values, std::string name) {
  return CopyVector(values, DType::kInt64, std::move(name));
}

DType Array::dtype() const { return impl_->dtype; }
const std::vector<int64_t>& Array::shape() const { return impl_->shape; }
int64_t Array::size() const { return impl_->size; }
int64_t Array::size_bytes() const { return impl_->size * DTypeSize(impl_->dtype); }
const std::byte* Array::data() const { return static_cast<const std::byte*>(impl_->data.get()); }
const std::string& Array::name() const { return name_; }

Array Array::WithName(std::string name) const {
  Array copy = *this;
  copy.name_ = std::move(name);
  return copy;
}

int64_t Array::At(int64_t index) const {
  int64_t value;
  Read(index, {&value, 1});
  return value;
}

void Array::Read(int64_t begin, std::span<int64_t> out) const {
  ConverterFor(dtype())(data() + begin * DTypeSize(dtype()), out);
}

std::vector<int64_t> Array::ToInt64() const {
  std::vector<int64_t> values(static_cast<size_t>(size()));
  Read(0, values);
  return values;
}

const std::string& Array::Digest() const {
  std::call_once(impl_->digest_once, [this] {
    Sha256 sha;
    sha.Update(fmt::format("splashmask array 1\ndtype={}\nshape={}\n", DTypeName(dtype()),
                           fmt::join(shape(), ",")));
    ForEachCanonicalPiece([&sha](std::span<const std::byte> piece) { sha.Update(piece); });
    impl_->digest = "sha256:" + sha.HexDigest();
  });
  return impl_->digest;
}

uint64_t Array::ContentHash() const {
  std::call_once(impl_->hash_once, [this] {
    uint64_t hash = XXH3_64bits_withSeed(shape().data(), shape().size() * sizeof(int64_t),
                                         static_cast<uint64_t>(dtype()));
    ForEachCanonicalPiece([&hash](std::span<const std::byte> piece) {
      hash = XXH3_64bits_withSeed(piece.data(), piece.size(), hash);
    });
    impl_->hash = hash;
  });
  return impl_->hash;
}

bool operator==(const Array& a, const Array& b) {
  if (a.impl_ == b.impl_) return true;
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.size() == 0 || a.data() == b.data()) return true;
  // Piece by piece: most are equal byte by byte, which is quicker to tell, and none is read twice.
  constexpr int64_t kPiece = 1 << 16;
  for (int64_t at = 0; at < a.size_bytes(); at += kPiece) {
    const int64_t bytes = std::min(kPiece, a.size_bytes() - at);
    const std::byte *x = a.data() + at, *y = b.data() + at;
    if (std::memcmp(x, y, static_cast<size_t>(bytes)) == 0) continue;
    if (a.dtype() != DType::kBool) return false;
    // Any byte but 0 is true, so different bytes may still be the same bools.
    const auto is_same = [](std::byte p, std::byte q) {
      return (p != std::byte{0}) == (q != std::byte{0});
    };
    if (!std::equal(x, x + bytes, y, is_same)) return false;
  }
  return true;
}

void PackBoolRows(const std::byte* bools, int64_t rows, int64_t columns, std::byte* out) {
  const int64_t whole = columns / 8;
  const int64_t rest = columns % 8;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < whole; ++i) {
      uint64_t bytes;
      std::memcpy(&bytes, bools + 8 * i, 8);
      *out++ = std::byte{NonZeroBytes(bytes)};
    }
    if (rest != 0) {
      uint64_t bytes = 0;
      std::memcpy(&bytes, bools + 8 * whole, static_cast<size_t>(rest));
      *out++ = std::byte{NonZeroBytes(bytes)};
    }
    bools += columns;
  }
}

void UnpackBoolRows(const std::byte* packed, int64_t rows, int64_t columns, std::byte* out) {
  const int64_t packed_columns = (columns + 7) / 8;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      *out++ = (packed[column / 8] >> (column % 8)) & std::byte{1};
    }
    packed += packed_columns;
  }
}

}  // namespace splashmask
