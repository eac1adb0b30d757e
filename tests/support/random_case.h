// SPDX-License-Identifier: Apache-2.0
#pragma once
// Seeded random masks, and what to compile them to. The same seed gives the same case everywhere.

#include <cstdint>
#include <random>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask {

/// A random expression of at most `depth` operators deep over every kind of node. Offsets, windows
/// and positions reach below zero and beyond the length, now and then to the ends of 64 bits.
Mask RandomMask(std::mt19937_64& random, Shape shape, int depth);

struct RandomCase {
  MultiHeadMask mask;
  CompileOptions options;  ///< Valid for the mask: all three passes (no dq for the fused backward).
};

/// Up to 6 heads with repeats, shards, rectangular blocks, at most a few thousand cells a head.
RandomCase MakeRandomCase(uint64_t seed);

}  // namespace splashmask
