// SPDX-License-Identifier: Apache-2.0
#pragma once
// Strided views of the arrays that attention reads and writes.

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

namespace splashmask {

enum class FloatType : uint8_t { kFloat32, kBFloat16 };

/// Bytes of one element.
constexpr int64_t FloatSize(FloatType type) { return type == FloatType::kFloat32 ? 4 : 2; }

/// The float32 that a bfloat16's bits stand for.
inline float FromBFloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// The nearest bfloat16, ties to even; NaN stays NaN.
inline uint16_t ToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// float[batch, heads, length, dim] in the caller's memory, in any order: strides say, in elements,
/// how far the next of each axis is. [heads, length, dim], [length, heads, dim] and JAX's SEQ_MINOR
/// ([heads, dim, length]) are strides; so is a k that all heads share (heads 1).
template <typename Data>
struct BasicTensor {
  struct Strides {
    int64_t batch = 0, heads = 0, length = 0, dim = 1;
  };

  Data* data = nullptr;
  FloatType type = FloatType::kFloat32;
  int64_t batch = 1, heads = 1, length = 0, dim = 0;
  Strides strides;

  /// C-contiguous [batch, heads, length, dim].
  static BasicTensor Contiguous(Data* data, FloatType type, int64_t batch, int64_t heads,
                                int64_t length, int64_t dim) {
    return {data, type, batch, heads, length, dim, {heads * length * dim, length * dim, dim, 1}};
  }

  int64_t Offset(int64_t b, int64_t h, int64_t i, int64_t d) const {
    return b * strides.batch + h * strides.heads + i * strides.length + d * strides.dim;
  }

  /// One element, widened.
  float At(int64_t b, int64_t h, int64_t i, int64_t d) const {
    const int64_t offset = Offset(b, h, i, d);
    if (type == FloatType::kFloat32) return static_cast<const float*>(data)[offset];
    return FromBFloat16(static_cast<const uint16_t*>(data)[offset]);
  }

  /// Sets one element, rounded to the nearest.
  void Set(int64_t b, int64_t h, int64_t i, int64_t d, float value) const
      requires(!std::is_const_v<Data>) {
    const int64_t offset = Offset(b, h, i, d);
    if (type == FloatType::kFloat32) {
      static_cast<float*>(data)[offset] = value;
    } else {
      static_cast<uint16_t*>(data)[offset] = ToBFloat16(value);
    }
  }

  /// Whoever may write may read.
  operator BasicTensor<const void>() const {  // NOLINT(google-explicit-constructor)
    return {data,
            type,
            batch,
            heads,
            length,
            dim,
            {strides.batch, strides.heads, strides.length, strides.dim}};
  }
};

using Tensor = BasicTensor<void>;
using ConstTensor = BasicTensor<const void>;

}  // namespace splashmask
