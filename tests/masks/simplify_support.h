// SPDX-License-Identifier: Apache-2.0
#pragma once
// What holds of every mask and its simplified form.

#include <gtest/gtest.h>

#include <string>

#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/simplify.h"
#include "tests/support/naive_mask.h"

namespace splashmask {

/// All of it but the cells.
inline void ExpectNormal(const Mask& mask, const Mask& simple) {
  EXPECT_LE(simple.node().nodes, mask.node().nodes) << ToString(simple);
  const Mask again = Simplify(simple);
  EXPECT_TRUE(again == simple) << ToString(simple) << " becomes " << ToString(again);
}

inline void ExpectSimplified(const Mask& mask) {
  const Mask simple = Simplify(mask);
  EXPECT_TRUE(NaiveCells(mask) == NaiveCells(simple)) << ToString(simple);
  ExpectNormal(mask, simple);
}

inline std::string Trace(const Mask& mask) {
  return ToString(mask) + " of " + std::to_string(mask.shape().q_len) + " x " +
         std::to_string(mask.shape().kv_len);
}

}  // namespace splashmask
