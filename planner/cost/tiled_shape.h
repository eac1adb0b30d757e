// SPDX-License-Identifier: Apache-2.0
#pragma once
// Shapes of arrays in a TPU's memories, as XLA prints them, and the bytes they take.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

/// How an array lies in memory: "{1,0:T(8,128)(2,1)S(1)}".
struct XlaLayout {
  /// Stands for `*` in a tile: the dimension is merged with the next more minor one first.
  static constexpr int64_t kCombined = -1;

  std::vector<int64_t> minor_to_major;      ///< Dimension numbers, the fastest first.
  std::vector<std::vector<int64_t>> tiles;  ///< T(8,128)(2,1): each tiles the one before it.
  int64_t tail_alignment = 1;               ///< L(n): elements are padded to a multiple of n.
  int64_t element_bits = 0;                 ///< E(n); 0: what the dtype takes.
  int64_t memory_space = 0;                 ///< S(n); 0 is HBM, 1 VMEM on a TPU, 2 SMEM.
  std::string other;                        ///< The remaining parts as printed, "D(D,C)".

  bool operator==(const XlaLayout&) const = default;
};

/// An array "bf16[8,2048,128]{2,1,0:T(8,128)(2,1)}", a tuple of shapes, or a token.
struct XlaShape {
  std::string dtype;                ///< As printed: "bf16", "pred", "token"; empty for a tuple.
  std::vector<int64_t> dims;        ///< Upper bounds, where a dimension is dynamic ("<=8").
  std::optional<XlaLayout> layout;  ///< Of an array that was printed with one.
  std::vector<bool> is_dynamic;     ///< For each of dims; empty: none is.
  bool is_tuple = false;
  std::vector<XlaShape> elements;  ///< Of a tuple.

  bool operator==(const XlaShape&) const = default;
};

/// As XLA prints it.
std::string XlaShapeText(const XlaShape& shape);

/// Bytes of one element of that dtype outside of packed layouts (so s4 takes 1); nullopt for a
/// dtype without elements (token, opaque[]) and for a name that is no dtype.
std::optional<int64_t> XlaDTypeBytes(std::string_view dtype);

/// Bytes that the array takes in memory with its layout. Dimensions stand from major to minor; each
/// tile of rank k replaces the last k of them, d, by ceil(d / t) and then by t (missing ones count
/// as 1, `*` merges first), so their product counts padding; it is rounded up to L(n) and
/// multiplied by the element's size, E(n) bits or the dtype's bytes:
/// s8[1,1,1]{2,1,0:T(4,128)(4,1)} is 1·1·1·(4·128), 512 bytes. nullopt for tuples, for shapes that
/// have no elements, for layouts with parts that are not read, and past 64 bits.
std::optional<int64_t> TiledBytes(const XlaShape& shape);

/// Bytes without any padding, as XLA counts live ranges: elements by their size, and 8 bytes for a
/// tuple's every element. nullopt as for TiledBytes.
std::optional<int64_t> UnpaddedBytes(const XlaShape& shape);

}  // namespace splashmask
