// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of packed documents, pair by pair: the reference for CompilePacked. Slow on purpose.

#include <optional>
#include <string>

#include "splashmask/planner/compile/packed.h"

namespace splashmask {

/// Whether every token attends to itself.
bool SeesItself(const Mask& mask);

/// What CompilePacked has to return, or the message of the error that it has to throw when a
/// sequence does not fit in the given width or height. Every other argument must be valid.
struct NaivePacked {
  std::optional<PackedTables> tables;
  std::optional<std::string> overflow;
};
NaivePacked NaiveCompilePacked(const SegmentIds& segment_ids, const Mask& mask,
                               const PackedOptions& options);

}  // namespace splashmask
