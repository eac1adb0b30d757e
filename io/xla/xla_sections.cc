// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "splashmask/io/xla/dump_lines.h"
#include "splashmask/io/xla/xla_dump.h"
#include "splashmask/io/xla/xla_instruction.h"
#include "splashmask/io/xla/xla_shape_reader.h"

namespace splashmask {

namespace {

bool IsXlaNameCharacter(char c) {
  return c != ' ' && c != ',' && c != '{' && c != '}' && c != '>' && c != '<' && c != ':';
}

std::string ReadXlaName(DumpCursor& cursor) {
  return std::string(cursor.While(IsXlaNameCharacter, "an instruction's name"));
}

// "{3}" or "{}".
std::vector<int64_t> ReadIndex(DumpCursor& cursor) {
  std::vector<int64_t> index;
  cursor.Expect("{");
  if (cursor.Take("}")) return index;
  do {
    index.push_back(cursor.Number("an index into a tuple"));
  } while (cursor.Take(","));
  cursor.Expect("}");
  return index;
}

// "<10 fusion{3} (phi) @0>". The output of an instruction that is no tuple has no index.
XlaValue ReadValueName(DumpCursor& cursor) {
  XlaValue value;
  cursor.Expect("<");
  value.id = cursor.Number("a value's id");
  cursor.Expect(" ");
  value.defined_at.instruction = ReadXlaName(cursor);
  if (cursor.StartsWith("{")) value.defined_at.index = ReadIndex(cursor);
  value.is_phi = cursor.Take(" (phi)");
  cursor.Expect(" @");
  value.color = cursor.Number("a color");
  cursor.Expect(">");
  return value;
}

void ReadAllocationField(DumpCursor& cursor, XlaAllocation& allocation) {
  if (cursor.Take("color ")) {
    allocation.color = cursor.Number("a color");
  } else if (cursor.Take("page ")) {
    allocation.page = cursor.Number("a page");
  } else if (cursor.Take("parameter ")) {
    XlaParameter& parameter = allocation.parameter.emplace();
    parameter.number = cursor.Number("a parameter's number");
    cursor.Expect(", shape |");
    parameter.shape = cursor.Until("|", "a shape");
    cursor.Expect(" at ShapeIndex ");
    parameter.index = ReadIndex(cursor);
  } else if (cursor.Take("output shape is |")) {
    allocation.output_shape = cursor.Until("|", "a shape");
  } else {
    const auto in_flag = [](char c) { return c != ',' && c != ':'; };
    const std::string_view flag = cursor.While(in_flag, "what the allocation holds");
    if (flag == "constant") {
      allocation.is_constant = true;
    } else if (flag == "thread-local") {
      allocation.is_thread_local = true;
    } else if (flag == "maybe-live-out") {
      allocation.maybe_live_out = true;
    } else if (flag == "preallocated-temp") {
      allocation.is_preallocated_temp = true;
    } else {
      allocation.other_flags.emplace_back(flag);
    }
  }
}

// The cursor stands behind "allocation ".
XlaAllocation ReadAllocation(DumpCursor& cursor) {
  XlaAllocation allocation;
  allocation.number = cursor.Number("an allocation's number");
  cursor.Expect(": size ");
  allocation.bytes = cursor.Number("a size");
  while (cursor.Take(", ")) ReadAllocationField(cursor, allocation);
  cursor.Expect(":");
  cursor.ExpectEnd();
  return allocation;
}

// The cursor stands behind " value: ".
XlaValue ReadAllocatedValue(DumpCursor& cursor) {
  XlaValue value = ReadValueName(cursor);
  cursor.Expect(" (size=");
  value.bytes = cursor.Number("a size");
  cursor.Expect(",offset=");
  value.offset = cursor.Number("an offset");
  cursor.Expect("): ");
  value.shape = ReadXlaShape(cursor);
  cursor.ExpectEnd();
  return value;
}

void ReadAllocations(DumpLines& lines, XlaDump& dump) {
  XlaBuffers& buffers = dump.buffers;
  lines.Expect("BufferAssignment:");
  DumpCursor cursor("", lines.place());
  while (lines.TakeIf("allocation ", cursor)) {
    buffers.allocations.push_back(ReadAllocation(cursor));
    dump.allocation_places.push_back(cursor.place());
    XlaAllocation& allocation = buffers.allocations.back();
    while (lines.TakeIf(" value: ", cursor)) {
      allocation.values.push_back(buffers.values.size());
      buffers.values.push_back(ReadAllocatedValue(cursor));
      buffers.values.back().allocation = allocation.number;
      dump.value_places.push_back(cursor.place());
    }
  }
}

// " positions:", then "  name" or "  name {1}".
void ReadPositions(DumpLines& lines, XlaValue& value) {
  lines.Expect(" positions:");
  DumpCursor cursor("", lines.place());
  while (lines.TakeIf("  ", cursor)) {
    XlaPosition& position = value.positions.emplace_back();
    position.instruction = ReadXlaName(cursor);
    if (cursor.Take(" ")) position.index = ReadIndex(cursor);
    cursor.ExpectEnd();
  }
}

// " uses:", then "  name, operand 0 {1}". Newer versions say "(none)" where older ones say nothing.
void ReadUses(DumpLines& lines, XlaValue& value) {
  DumpCursor cursor("", lines.place());
  lines.Expect(" uses:");
  while (lines.TakeIf("  ", cursor)) {
    if (cursor.rest() == "(none)") continue;
    XlaUse& use = value.uses.emplace_back();
    use.instruction = ReadXlaName(cursor);
    cursor.Expect(", operand ");
    use.operand = cursor.Number("an operand's number");
    if (cursor.Take(" ")) use.index = ReadIndex(cursor);
    cursor.ExpectEnd();
  }
}

void ReadUsedValues(DumpLines& lines, XlaDump& dump) {
  DumpCursor total = lines.Take("a total");
  dump.total_place = total.place();
  total.Expect("Total bytes used: ");
  dump.buffers.total_bytes = total.Number("a number of bytes");
  total.Expect(" (");  // Then the same once more, rounded.
  total.Until(")", "a number of bytes");
  total.ExpectEnd();
  lines.SkipBlank();
  dump.used_place = lines.place();
  lines.Expect("Used values:");
  while (!lines.AtEnd() && lines.Peek().starts_with("<")) {
    XlaUsedLine used;
    DumpCursor cursor = lines.Take("a value");
    used.place = cursor.place();
    used.value = ReadValueName(cursor);
    cursor.ExpectEnd();
    ReadPositions(lines, used.value);
    ReadUses(lines, used.value);
    DumpCursor text = lines.TakeBalanced();
    text.Expect(" from instruction: ");
    used.instruction_text = text.rest();
    used.instruction = ReadXlaInstruction(text);
    dump.used.push_back(std::move(used));
  }
}

XlaPosition ReadRangeName(DumpCursor& cursor) {
  XlaPosition position;
  position.instruction = ReadXlaName(cursor);
  position.index = ReadIndex(cursor);
  cursor.Expect(":");
  return position;
}

void ReadSequence(DumpLines& lines, XlaDump& dump) {
  lines.Expect("  InstructionSequence:");
  DumpCursor cursor("", lines.place());
  while (lines.TakeIf("    ", cursor)) {
    const int64_t expected = static_cast<int64_t>(dump.buffers.sequence.size());
    const int64_t number = cursor.Number("an instruction's number");
    if (number != expected) {
      cursor.place().Contradict(fmt::format("expected instruction {}, got {}", expected, number));
    }
    cursor.Expect(":");
    dump.buffers.sequence.push_back(ReadXlaName(cursor));
    cursor.ExpectEnd();
  }
}

void ReadRanges(DumpLines& lines, XlaDump& dump) {
  lines.Expect("  BufferLiveRange:");
  DumpCursor cursor("", lines.place());
  while (lines.TakeIf("    ", cursor)) {
    XlaRangeLine& line = dump.ranges.emplace_back();
    line.place = cursor.place();
    line.position = ReadRangeName(cursor);
    line.range.begin = cursor.Number("the first instruction");
    cursor.Expect("-");
    line.range.end = cursor.Number("the last instruction");
    cursor.ExpectEnd();
  }
}

void ReadPeak(DumpLines& lines, XlaDump& dump) {
  DumpCursor cursor = lines.Take("the live ranges of the peak");
  dump.peak_place = cursor.place();
  cursor.Expect("  Live ranges at ");
  dump.peak_instruction = cursor.Number("an instruction's number");
  cursor.Expect(" (peak):");
  cursor.ExpectEnd();
  while (lines.TakeIf("    ", cursor)) {
    XlaPeakLine& line = dump.peak.emplace_back();
    line.place = cursor.place();
    line.position = ReadRangeName(cursor);
    cursor.Expect(" ");
    line.bytes = cursor.Number("a number of bytes");
    cursor.Expect(" bytes (cumulative: ");
    line.cumulative = cursor.Number("a number of bytes");
    cursor.Expect(" bytes)");
    cursor.ExpectEnd();
  }
}

// A tree of the peak's values by where the program was written. Its total has spaces between
// thousands; the rest repeats the peak's numbers.
void ReadBreakdown(DumpLines& lines, XlaDump& dump) {
  DumpCursor cursor("", lines.place());
  if (!lines.TakeIf("  Stack trace breakdown for peak usage: ", cursor)) return;
  dump.breakdown_place = cursor.place();
  std::string digits;
  for (char c : cursor.Until(" bytes", "a number of bytes")) {
    if (c != ' ') digits += c;
  }
  cursor.ExpectEnd();
  DumpCursor number(digits, cursor.place());
  dump.breakdown_bytes = number.Number("a number of bytes");
  number.ExpectEnd();
  while (lines.TakeIf("    ", cursor)) {
  }
}

void ReadLiveRanges(DumpLines& lines, XlaDump& dump) {
  DumpCursor cursor = lines.Take("live ranges");
  dump.sequence_place = cursor.place();
  cursor.Expect("HloLiveRange (max ");
  dump.sequence_length = cursor.Number("the length of the sequence");
  cursor.Expect("):");
  cursor.ExpectEnd();
  ReadSequence(lines, dump);
  ReadRanges(lines, dump);
  ReadPeak(lines, dump);
  ReadBreakdown(lines, dump);
}

}  // namespace

void ReadXlaSections(std::string_view text, std::string_view file, XlaDump& dump) {
  DumpLines lines(text, file);
  for (lines.SkipBlank(); !lines.AtEnd(); lines.SkipBlank()) {
    const std::string_view line = lines.Peek();
    if (!dump.has_allocations) {
      ReadAllocations(lines, dump);
      dump.has_allocations = true;
    } else if (!dump.has_used && line.starts_with("Total bytes used:")) {
      ReadUsedValues(lines, dump);
      dump.has_used = true;
    } else if (!dump.has_ranges && line.starts_with("HloLiveRange")) {
      ReadLiveRanges(lines, dump);
      dump.has_ranges = true;
    } else {
      constexpr std::string_view kExpected = "a section of a buffer assignment, each once";
      lines.Take(kExpected).Fail(kExpected);
    }
  }
  if (!dump.has_allocations) lines.place().FailAtEnd("'BufferAssignment:'");
}

}  // namespace splashmask
