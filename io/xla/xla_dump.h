// SPDX-License-Identifier: Apache-2.0
#pragma once
// A dump in the course of being read: what it says, and on which line. Private to io/.

#include <string_view>
#include <vector>

#include "splashmask/io/xla/dump_cursor.h"
#include "splashmask/io/xla/xla_buffers.h"

namespace splashmask {

/// A live range as it stands in the dump.
struct XlaRangeLine {
  DumpPlace place;
  XlaPosition position;
  XlaLiveRange range;
};

/// A value of the peak as it stands in the dump.
struct XlaPeakLine {
  DumpPlace place;
  XlaPosition position;
  int64_t bytes = 0, cumulative = 0;
};

/// A value of the section "Used values".
struct XlaUsedLine {
  DumpPlace place;
  XlaValue value;  ///< Without what stands in the allocation.
  XlaInstruction instruction;
  std::string_view instruction_text;
};

/// Everything read and nothing yet compared. The sections that link to values are kept apart.
struct XlaDump {
  XlaBuffers buffers;
  std::vector<DumpPlace> allocation_places, value_places;
  DumpPlace total_place, used_place, sequence_place, peak_place;
  std::vector<XlaUsedLine> used;
  int64_t sequence_length = 0;  ///< The "max" of the live ranges.
  std::vector<XlaRangeLine> ranges;
  int64_t peak_instruction = 0;
  std::vector<XlaPeakLine> peak;
  /// Of the breakdown by stack trace, where there is one.
  std::optional<int64_t> breakdown_bytes;
  DumpPlace breakdown_place;
  bool has_allocations = false, has_used = false, has_ranges = false;
};

/// Reads the sections of `text`, which outlives the dump, into it. Throws kSyntax.
void ReadXlaSections(std::string_view text, std::string_view file, XlaDump& dump);

/// Holds the sections against each other and links them. Throws kInvalidArgument.
XlaBuffers LinkXlaDump(XlaDump dump);

}  // namespace splashmask
