// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/multi_head_mask.h"

#include <fmt/format.h>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {
void CheckHeads(int64_t num_heads) {
  if (num_heads < 1 || num_heads > kMaxHeads) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[mask] expected 1 to {} heads, got {}", kMaxHeads, num_heads));
  }
}

std::vector<Mask> Repeat(const Mask& mask, int64_t num_heads) {
  CheckHeads(num_heads);
  return std::vector<Mask>(static_cast<size_t>(num_heads), mask);
}
}  // namespace

MultiHeadMask::MultiHeadMask(std::vector<Mask> masks) : masks_(std::move(masks)) {
  CheckHeads(num_heads());
  for (size_t head = 1; head < masks_.size(); ++head) {
    const Shape other = masks_[head].shape();
    if (other != shape()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("[mask] expected every head to have shape ({}, {}), got ({}, {}) at "
                              "head {}",
                              shape().q_len, shape().kv_len, other.q_len, other.kv_len, head));
    }
  }
}

MultiHeadMask::MultiHeadMask(const Mask& mask, int64_t num_heads)
    : masks_(Repeat(mask, num_heads)) {}

bool operator==(const MultiHeadMask& a, const MultiHeadMask& b) { return a.masks_ == b.masks_; }

size_t MultiHeadMask::Hash() const {
  size_t hash = masks_.size();
  const Mask* previous = nullptr;
  size_t previous_hash = 0;
  for (const Mask& mask : masks_) {
    if (previous == nullptr || &mask.node() != &previous->node()) previous_hash = mask.Hash();
    previous = &mask;
    hash = hash * 31 + previous_hash;
  }
  return hash;
}

}  // namespace splashmask
