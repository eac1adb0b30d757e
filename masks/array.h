// SPDX-License-Identifier: Apache-2.0
#pragma once
// An immutable, shared array: the data behind an array leaf of a mask.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

/// Element types, under NumPy's names. All multi-byte types are little endian.
enum class DType : uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64
};

/// Bytes of one element.
int64_t DTypeSize(DType dtype);
/// NumPy's name, for example "int32" or "bool".
std::string_view DTypeName(DType dtype);
/// The dtype of that NumPy name. Throws kInvalidArray for a name that is not one of the above.
DType DTypeFromName(std::string_view name);
inline bool IsInteger(DType dtype) { return dtype != DType::kBool; }

/// A C-contiguous array that never changes, shared by copy. Safe to use from many threads.
/// Two arrays are equal when dtype, shape and content are; the name does not count.
class Array {
 public:
  /// An empty int64 vector.
  Array();

  /// Wraps `data`, which must hold product(shape) elements, stay unchanged, and be kept alive by
  /// its owner. Bools are one byte each, 0 or 1 (any other value counts as true wherever it is
  /// read). `name` is what the text form prints, for example "mask.npy".
  Array(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const void> data,
        std::string name = "");

  /// Copies a vector into a 1-D array.
  static Array FromVector(std::span<const int32_t> values, std::string name = "");
  static Array FromVector(std::span<const int64_t> values, std::string name = "");

  DType dtype() const;
  const std::vector<int64_t>& shape() const;
  int64_t size() const;        ///< Number of elements.
  int64_t size_bytes() const;  ///< Bytes behind data().
  const std::byte* data() const;
  const std::string& name() const;

  /// The same array under another name.
  Array WithName(std::string name) const;

  /// Element `index` in C order as a signed 64-bit integer (a bool gives 0 or 1; uint64 beyond
  /// INT64_MAX wraps, which every mask factory refuses).
  int64_t At(int64_t index) const;
  /// The elements [begin, begin + out.size()) in C order, as At() gives them.
  void Read(int64_t begin, std::span<int64_t> out) const;
  /// All elements, as At() gives them.
  std::vector<int64_t> ToInt64() const;
  /// Whether holds(index, value) is true of every element, with values as At() gives them; asks in
  /// C order, until it is false.
  template <typename Holds>
  bool AllOf(Holds&& holds) const;
  /// Calls visit(index, value) for every element in C order.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    AllOf([&](int64_t index, int64_t value) {
      visit(index, value);
      return true;
    });
  }

  /// "sha256:<hex>" over the canonical content (docs/plan-format.md, "Digests"): computed on first
  /// use, once, by whichever thread asks first.
  const std::string& Digest() const;

  /// A 64-bit hash of dtype, shape and content: computed on first use. Equal arrays have equal
  /// ones.
  uint64_t ContentHash() const;

  /// Canonical content: little-endian elements in C order; bools packed eight to a byte along the
  /// last axis, little bit order, pad bits 0. Calls `sink` with consecutive pieces.
  template <typename Sink>
  void ForEachCanonicalPiece(Sink&& sink) const;

  friend bool operator==(const Array& a, const Array& b);

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
  std::string name_;
};

/// Packs bools (one byte each, rows of `columns`) into rows of ceil(columns / 8) bytes, little bit
/// order, pad bits 0.
void PackBoolRows(const std::byte* bools, int64_t rows, int64_t columns, std::byte* out);
/// The inverse: writes bytes 0 and 1.
void UnpackBoolRows(const std::byte* packed, int64_t rows, int64_t columns, std::byte* out);

template <typename Holds>
bool Array::AllOf(Holds&& holds) const {
  std::array<int64_t, 512> values;
  for (int64_t begin = 0; begin < size(); begin += std::ssize(values)) {
    const int64_t count = std::min<int64_t>(std::ssize(values), size() - begin);
    Read(begin, std::span(values.data(), static_cast<size_t>(count)));
    for (int64_t i = 0; i < count; ++i) {
      if (!holds(begin + i, values[static_cast<size_t>(i)])) return false;
    }
  }
  return true;
}

template <typename Sink>
void Array::ForEachCanonicalPiece(Sink&& sink) const {
  if (dtype() != DType::kBool) {
    sink(std::span<const std::byte>(data(), static_cast<size_t>(size_bytes())));
    return;
  }
  if (size() == 0) return;
  const int64_t columns = shape().empty() ? 1 : shape().back();
  const int64_t rows = size() / columns;
  const int64_t packed = (columns + 7) / 8;
  const int64_t rows_per_piece = std::max<int64_t>(1, (int64_t{1} << 20) / packed);
  std::vector<std::byte> piece(static_cast<size_t>(std::min(rows, rows_per_piece) * packed));
  for (int64_t row = 0; row < rows; row += rows_per_piece) {
    const int64_t count = std::min(rows_per_piece, rows - row);
    PackBoolRows(data() + row * columns, count, columns, piece.data());
    sink(std::span<const std::byte>(piece.data(), static_cast<size_t>(count * packed)));
  }
}

}  // namespace splashmask
