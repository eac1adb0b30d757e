// SPDX-License-Identifier: Apache-2.0
#pragma once
// The block tables that splash attention reads, under JAX's names.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "splashmask/masks/array.h"

namespace splashmask {

/// Rows by columns of one block, in positions. For every pass `q` counts q positions.
struct BlockShape {
  int64_t q = 0;
  int64_t kv = 0;
  friend bool operator==(const BlockShape&, const BlockShape&) = default;
};

/// Classes of a block, the values of `block_mask`.
enum class BlockClass : uint8_t { kEmpty = 0, kPartial = 1, kFull = 2 };

/// An integer[heads_or_shards, rows, columns] table, C-contiguous; int8, int16 or int32. The memory
/// is shared by copies; whoever builds a table fills it before handing it out.
class Table {
 public:
  Table() = default;
  /// Allocates, uninitialised. Throws kTooLarge when the memory cannot be had.
  Table(DType dtype, std::array<int64_t, 3> shape);

  DType dtype() const { return dtype_; }
  const std::array<int64_t, 3>& shape() const { return shape_; }
  int64_t size() const { return shape_[0] * shape_[1] * shape_[2]; }
  int64_t size_bytes() const { return size() * DTypeSize(dtype_); }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  /// Keeps the memory alive; for bindings that hand it out without a copy.
  std::shared_ptr<const std::byte> owner() const { return data_; }

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

  /// Element by flat C-order index.
  int32_t At(int64_t index) const;
  void Set(int64_t index, int32_t value);
  int32_t At(int64_t head, int64_t row, int64_t column) const {
    return At((head * shape_[1] + row) * shape_[2] + column);
  }

  /// A copy with memory of its own.
  Table Clone() const;

  friend bool operator==(const Table& a, const Table& b);

 private:
  DType dtype_ = DType::kInt32;
  std::array<int64_t, 3> shape_{};
  std::shared_ptr<std::byte> data_;
};

/// bool[..., rows, columns], packed: bit c of row r of block p is bit (c % 8) of byte
/// ((p * rows + r) * ceil(columns / 8) + c / 8); pad bits are 0. fwd and dq: rows = block_q,
/// columns = block_kv; dkv holds the transposed blocks, as JAX does.
class PartialMaskBlocks {
 public:
  PartialMaskBlocks() = default;
  /// Allocates, uninitialised. `leading` is {P}, or {heads, q_blocks, kv_blocks} for dynamic masks.
  PartialMaskBlocks(std::vector<int64_t> leading, int64_t rows, int64_t columns);
  /// Wraps memory that already holds the packed blocks.
  PartialMaskBlocks(std::vector<int64_t> leading, int64_t rows, int64_t columns,
                    std::shared_ptr<std::byte> data);

  const std::vector<int64_t>& leading() const { return leading_; }
  int64_t count() const;  ///< Product of leading().
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t row_bytes() const { return (columns_ + 7) / 8; }
  int64_t block_bytes() const { return rows_ * row_bytes(); }
  int64_t size_bytes() const { return count() * block_bytes(); }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  const std::byte* block(int64_t index) const { return data_.get() + index * block_bytes(); }
  std::shared_ptr<const std::byte> owner() const { return data_; }

  bool At(int64_t block, int64_t row, int64_t column) const;
  void Flip(int64_t block, int64_t row, int64_t column);
  PartialMaskBlocks Clone() const;

  friend bool operator==(const PartialMaskBlocks& a, const PartialMaskBlocks& b);

 private:
  std::vector<int64_t> leading_;
  int64_t rows_ = 0, columns_ = 0;
  std::shared_ptr<std::byte> data_;
};

/// JAX's MaskInfo. A field that is None there is nullopt here. Tables have the shape
/// [heads or head_shards, q blocks, width] for fwd and dq, [heads or head_shards, height, kv
/// blocks] for dkv.
struct MaskInfo {
  std::optional<Table> data_next;
  std::optional<Table> mask_next;
  std::optional<Table> block_mask;
  std::optional<PartialMaskBlocks> partial_mask_blocks;
  std::optional<Array> q_sequence;  ///< [q_len], the dtype of the positions (int32 by default).
  bool is_dynamic_mask = false;     ///< JAX's None reads as false.

  friend bool operator==(const MaskInfo&, const MaskInfo&) = default;
};

}  // namespace splashmask
