// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mismatches, and arrays and masks as they name them.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <string>
#include <utility>

#include "splashmask/masks/array.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/certify/certify.h"

namespace splashmask::certify {

inline constexpr char kNone[] = "None";

template <typename Sizes>
std::string DescribeArray(DType dtype, const Sizes& shape) {
  return fmt::format("{}[{}]", DTypeName(dtype), fmt::join(shape, ", "));
}

inline std::string Describe(const std::optional<Array>& array) {
  return array ? DescribeArray(array->dtype(), array->shape()) : kNone;
}

inline std::string Describe(const std::optional<Mask>& mask) {
  if (!mask) return kNone;
  return fmt::format("{} of shape ({}, {})", ToString(*mask), mask->shape().q_len,
                     mask->shape().kv_len);
}

/// A mismatch of a whole table, in a pass that the caller knows.
inline Mismatch Wrong(std::string table, std::string expected, std::string got) {
  Mismatch mismatch;
  mismatch.table = std::move(table);
  mismatch.expected = std::move(expected);
  mismatch.got = std::move(got);
  return mismatch;
}

}  // namespace splashmask::certify
