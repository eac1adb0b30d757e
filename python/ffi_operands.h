// SPDX-License-Identifier: Apache-2.0
#pragma once
// Operands of a custom call of XLA, with the axes that vmap put in front of them.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/masks/mask.h"
#include "splashmask/planner/plan.h"
#include "xla/ffi/api/ffi.h"

namespace splashmask::python {

namespace ffi = xla::ffi;

/// Throws kInvalidArgument, "[jax] expected ...".
[[noreturn]] void RefuseOperand(const std::string& text);

/// Where a call is in the axes that vmap put in front: an index for each of them.
using BatchIndex = std::span<const int64_t>;

/// A buffer whose last `rank` axes are the operand's own. Those in front are as long as the call's,
/// or 1 where it is the same all along.
class Operand {
 public:
  Operand(const char* name, const ffi::AnyBuffer& buffer, size_t rank);

  const char* name() const { return name_; }
  std::span<const int64_t> leading() const { return dimensions().subspan(0, size_t(leading_)); }
  std::span<const int64_t> shape() const { return dimensions().subspan(size_t(leading_)); }
  ffi::DataType type() const { return buffer_.element_type(); }
  void RequireType(ffi::DataType type, const char* type_name) const;

  /// Throws unless it has the axes in front that the call has, each as long, or 1 if it may be the
  /// same all along.
  void RequireAxes(std::span<const int64_t> of_call, bool may_be_shared) const;

  /// Elements of one of them.
  int64_t size() const;
  /// Elements before the one at `index`, which may lack the innermost axes.
  int64_t Offset(BatchIndex index) const;
  /// Elements to the next along the innermost axis of those in front; 0 where it is the same.
  int64_t BatchStride() const;
  /// Its elements at `index`.
  template <typename T>
  T* data(BatchIndex index) const {
    return static_cast<T*>(buffer_.untyped_data()) + Offset(index);
  }

 private:
  std::span<const int64_t> dimensions() const {
    return {buffer_.dimensions().begin(), buffer_.dimensions().size()};
  }

  const char* name_;
  ffi::AnyBuffer buffer_;
  ptrdiff_t leading_;
};

/// The operands behind those that are always there, in the order in which Python puts them.
class RemainingOperands {
 public:
  explicit RemainingOperands(const ffi::RemainingArgs& operands) : operands_(operands) {}
  Operand Next(const char* name, size_t rank);

 private:
  const ffi::RemainingArgs& operands_;
  size_t next_ = 0;
};

/// The tables of one pass. The same bits of `has` as in jax_cpu.py.
class PassOperands {
 public:
  enum : int64_t { kHasMaskNext = 1, kHasBlocks = 2, kHasPositions = 4 };
  PassOperands(RemainingOperands& operands, int64_t has, BlockShape block);

  CompiledPass Read(BatchIndex index, const std::optional<Mask>& mask_function) const;
  /// All that there are.
  std::vector<const Operand*> all() const;

 private:
  BlockShape block_;
  Operand data_next_, block_mask_;
  std::optional<Operand> mask_next_, blocks_, positions_;
};

/// float32 or bfloat16[batch, heads, length, dim], the batch being `batch` of the innermost axis in
/// front.
ConstTensor ToTensor(const Operand& operand, BatchIndex index, int64_t batch);
Tensor ToOutput(const Operand& operand, BatchIndex index, int64_t batch);

}  // namespace splashmask::python
