// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask expression as Python holds it.

#include <nanobind/nanobind.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/mask_cells.h"
#include "splashmask/masks/multi_head_mask.h"

namespace splashmask::python {

/// An immutable expression, and what reads its cells once somebody asks for them.
class MaskObject {
 public:
  explicit MaskObject(Mask mask) : mask_(std::move(mask)) {}

  const Mask& mask() const { return mask_; }
  const MaskCells& cells() const {
    std::call_once(prepare_, [&] { cells_ = std::make_unique<const MaskCells>(mask_); });
    return *cells_;
  }

 private:
  Mask mask_;
  mutable std::once_flag prepare_;
  mutable std::unique_ptr<const MaskCells> cells_;
};

/// The masks of a list of MaskObjects.
MultiHeadMask ToMultiHeadMask(const std::vector<const MaskObject*>& heads);

void BindAttention(nanobind::module_& m);
void BindBalance(nanobind::module_& m);
void BindBuffers(nanobind::module_& m);
void BindCost(nanobind::module_& m);
void BindFootprint(nanobind::module_& m);
void BindFfiHandlers(nanobind::module_& m);  ///< Where XLA's header was found.
void BindMask(nanobind::module_& m);
void BindPacked(nanobind::module_& m);
void BindPlan(nanobind::module_& m);
void BindTokamax(nanobind::module_& m);
void BindTune(nanobind::module_& m);

}  // namespace splashmask::python
