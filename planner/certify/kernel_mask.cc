// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/kernel_mask.h"

#include <fmt/format.h>

#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "splashmask/masks/node.h"
#include "splashmask/masks/where/fits_kernel.h"
#include "splashmask/planner/certify/describe.h"

namespace splashmask::certify {

namespace {

const Mask& WithoutReorder(const Mask& mask) {
  const auto* reorder = std::get_if<node::Reorder>(&mask.node().expr);
  return reorder == nullptr || reorder->kv ? mask : reorder->mask;
}

// The q positions that a computable mask hands to the kernel.
Array QPositions(const Mask& mask) {
  const auto* reorder = std::get_if<node::Reorder>(&mask.node().expr);
  if (reorder != nullptr) return reorder->q->positions;
  std::vector<int32_t> rows(static_cast<size_t>(mask.shape().q_len));
  std::iota(rows.begin(), rows.end(), 0);
  return Array::FromVector(rows);
}

// Whether anything but a position is looked up to decide a cell.
bool ReadsMore(const Mask& mask) {
  const MaskExpr& expr = mask.node().expr;
  if (const auto* inverse = std::get_if<node::Not>(&expr)) return ReadsMore(inverse->mask);
  if (const auto* pair = std::get_if<node::Binary>(&expr)) {
    return ReadsMore(pair->left) || ReadsMore(pair->right);
  }
  return mask.node().indexes_q || std::holds_alternative<node::Documents>(expr) ||
         std::holds_alternative<node::Custom>(expr) || std::holds_alternative<node::Reorder>(expr);
}

}  // namespace

std::optional<Mask> ComputedByKernel(const HeadEntries& heads, bool simplify) {
  if (heads.masks.size() != 1) return std::nullopt;
  const Mask& mask = heads.masks.front();
  const Mask& leaf = WithoutReorder(mask);
  const auto fits = [&] { return FitsKernel(leaf, QPositions(mask)); };
  const auto* custom = std::get_if<node::Custom>(&leaf.node().expr);
  const bool computable = (custom != nullptr && custom->function->computable()) ||
                          std::holds_alternative<node::Causal>(leaf.node().expr) ||
                          std::holds_alternative<node::Local>(leaf.node().expr) ||
                          std::holds_alternative<node::ChunkedCausal>(leaf.node().expr) ||
                          (simplify && !ReadsMore(leaf) && fits());
  return computable ? std::optional(leaf) : std::nullopt;
}

std::optional<Mismatch> CheckMaskFunction(const std::optional<Mask>& expected,
                                          const std::optional<Mask>& got) {
  if (expected == got) return std::nullopt;
  return Wrong("mask_function", Describe(expected), Describe(got));
}

std::optional<Mismatch> CheckQSequence(const HeadEntries& heads, bool computes,
                                       const std::optional<Array>& got, int64_t* entries) {
  std::optional<Array> expected;
  if (computes) expected = QPositions(heads.masks.front());
  if (Describe(expected) != Describe(got)) {
    return Wrong("q_sequence", Describe(expected), Describe(got));
  }
  if (!expected) return std::nullopt;
  *entries += expected->size();
  for (int64_t row = 0; row < expected->size(); ++row) {
    if (got->At(row) == expected->At(row)) continue;
    Mismatch mismatch =
        Wrong("q_sequence", fmt::to_string(expected->At(row)), fmt::to_string(got->At(row)));
    mismatch.index = {row};
    mismatch.q = row;
    return mismatch;
  }
  return std::nullopt;
}

}  // namespace splashmask::certify
