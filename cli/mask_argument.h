// SPDX-License-Identifier: Apache-2.0
#pragma once
// Masks that an argument names: a plan file, or a mask's text form.

#include <cstdint>
#include <optional>
#include <string>

#include "splashmask/cli/command_line.h"
#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask::cli {

/// What a text form leaves open.
struct MaskLengths {
  std::optional<int64_t> q_len, kv_len, heads;

  bool is_given() const { return q_len || kv_len || heads; }
  friend bool operator==(const MaskLengths&, const MaskLengths&) = default;
};

/// The arguments --q-len, --kv-len and --heads, for masks in their text form.
void AddMaskLengths(CommandSyntax& syntax, MaskLengths& lengths);

struct MaskArgument {
  std::string name;          ///< As it was given.
  std::optional<Plan> plan;  ///< When it is a plan file.
  MultiHeadMask mask;
};

/// Whether an argument is a text form: all of these have parentheses, no file has that name, and it
/// does not end like one of a plan. Throws kInvalidArgument for what can be neither.
bool IsMaskText(const std::string& argument);

/// Reads a plan file. Throws as ReadPlan does.
MaskArgument ReadPlanArgument(const std::string& file, const Progress& progress);

/// Parses a text form; names of files are relative to the current directory. Throws
/// kInvalidArgument without a q_len, and as ParseMultiHeadMask and FileResolver do.
MaskArgument ParseTextArgument(const std::string& text, const MaskLengths& lengths);

}  // namespace splashmask::cli
