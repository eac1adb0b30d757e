// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "splashmask/io/xla/xla_dump.h"

namespace splashmask {

namespace {

std::string PositionText(const XlaPosition& position) {
  return fmt::format("{}{{{}}}", position.instruction, fmt::join(position.index, ","));
}

std::string ValueText(const XlaValue& value) {
  return fmt::format("<{} {}{} @{}>", value.id, PositionText(value.defined_at),
                     value.is_phi ? " (phi)" : "", value.color);
}

// The part of a tuple that an index names; null when there is none.
const XlaShape* ShapeAt(const XlaShape& whole, const std::vector<int64_t>& index) {
  const XlaShape* shape = &whole;
  for (int64_t i : index) {
    if (!shape->is_tuple || i >= static_cast<int64_t>(shape->elements.size())) return nullptr;
    shape = &shape->elements[static_cast<size_t>(i)];
  }
  return shape;
}

// Compares the sections of a dump and links them.
class XlaLinker {
 public:
  explicit XlaLinker(XlaDump& dump) : dump_(dump), buffers_(dump.buffers) {}

  void Link() {
    CheckAllocations();
    for (size_t i = 0; i < buffers_.values.size(); ++i) CheckValue(i);
    if (dump_.has_used) {
      CheckTotal();
      LinkUsedValues();
      for (const XlaUsedLine& used : dump_.used) CheckUses(used.place, by_id_.at(used.value.id));
    }
    if (dump_.has_ranges) {
      CheckSequence();
      for (const XlaRangeLine& line : dump_.ranges) LinkRange(line);
      LinkPeak();
    }
  }

 private:
  void CheckAllocations();
  void CheckValue(size_t index);
  void CheckTotal();
  void LinkUsedValues();
  void LinkUsedValue(XlaUsedLine& used, XlaValue& value);
  size_t InstructionOf(XlaUsedLine& used);
  void CheckUses(const DumpPlace& place, size_t index) const;
  void CheckSequence();
  void LinkRange(const XlaRangeLine& line);
  void LinkPeak();
  void LinkPeakValue(const XlaPeakLine& line, XlaPeak& peak);
  void CheckPeakIsComplete(const XlaPeak& peak);
  size_t ValueAt(const XlaPosition& position, const DumpPlace& place) const;

  XlaDump& dump_;
  XlaBuffers& buffers_;
  int64_t allocated_ = 0;  // Bytes of all allocations.
  std::unordered_map<int64_t, size_t> by_id_;
  std::map<XlaPosition, size_t> by_position_;
  std::unordered_map<std::string, std::pair<size_t, std::string_view>> instructions_;
  std::unordered_map<std::string, int64_t> sequence_;
  std::unordered_set<size_t> at_peak_;
};

void XlaLinker::CheckAllocations() {
  for (size_t i = 0; i < buffers_.allocations.size(); ++i) {
    const XlaAllocation& allocation = buffers_.allocations[i];
    const DumpPlace& place = dump_.allocation_places[i];
    if (allocation.number != static_cast<int64_t>(i)) {
      place.Contradict(fmt::format("expected allocation {}, got {}", i, allocation.number));
    }
    if (__builtin_add_overflow(allocated_, allocation.bytes, &allocated_)) {
      place.Contradict("expected allocations of 64-bit size together");
    }
  }
}

void XlaLinker::CheckValue(size_t index) {
  const XlaValue& value = buffers_.values[index];
  const DumpPlace& place = dump_.value_places[index];
  const XlaAllocation& allocation = buffers_.allocations[static_cast<size_t>(value.allocation)];
  if (value.color != allocation.color) {
    place.Contradict(fmt::format("expected {} to have color {}, as allocation {}, got {}",
                                 ValueText(value), allocation.color, allocation.number,
                                 value.color));
  }
  int64_t end = 0;
  if (__builtin_add_overflow(value.offset, value.bytes, &end) || end > allocation.bytes) {
    place.Contradict(fmt::format(
        "expected {} to end within the {} bytes of allocation {}, got {} bytes at {}",
        ValueText(value), allocation.bytes, allocation.number, value.bytes, value.offset));
  }
  // Scalars may be printed without a layout and be padded all the same.
  const std::optional<int64_t> bytes = TiledBytes(value.shape);
  const bool is_exact = value.shape.layout.has_value();
  if (bytes && (is_exact ? value.bytes != *bytes : value.bytes < *bytes)) {
    place.Contradict(fmt::format("expected {}{} bytes for {}, got {}", is_exact ? "" : "at least ",
                                 *bytes, XlaShapeText(value.shape), value.bytes));
  }
  if (!by_id_.emplace(value.id, index).second ||
      !by_position_.emplace(value.defined_at, index).second) {
    place.Contradict(
        fmt::format("expected each value in one place, got {} again", ValueText(value)));
  }
}

void XlaLinker::CheckTotal() {
  if (allocated_ != *buffers_.total_bytes) {
    dump_.total_place.Contradict(
        fmt::format("expected a total of {} bytes, the sum of the allocations, got {}", allocated_,
                    *buffers_.total_bytes));
  }
}

void XlaLinker::LinkUsedValues() {
  for (XlaUsedLine& used : dump_.used) {
    const auto found = by_id_.find(used.value.id);
    if (found == by_id_.end()) {
      used.place.Contradict(
          fmt::format("expected a value of an allocation, got {}", ValueText(used.value)));
    }
    LinkUsedValue(used, buffers_.values[found->second]);
  }
  if (dump_.used.size() != buffers_.values.size()) {
    dump_.used_place.Contradict(fmt::format("expected {} values, as in the allocations, got {}",
                                            buffers_.values.size(), dump_.used.size()));
  }
}

void XlaLinker::LinkUsedValue(XlaUsedLine& used, XlaValue& value) {
  if (value.instruction) {
    used.place.Contradict(fmt::format("expected each value once, got {} again", ValueText(value)));
  }
  if (ValueText(used.value) != ValueText(value)) {
    used.place.Contradict(fmt::format("expected {}, as in its allocation, got {}", ValueText(value),
                                      ValueText(used.value)));
  }
  if (used.instruction.name != value.defined_at.instruction) {
    used.place.Contradict(fmt::format("expected the instruction {}, got {}",
                                      value.defined_at.instruction, used.instruction.name));
  }
  const XlaShape* shape = ShapeAt(used.instruction.shape, value.defined_at.index);
  if (shape == nullptr || *shape != value.shape) {
    used.place.Contradict(fmt::format("expected {} at {}, as in its allocation, got {}",
                                      XlaShapeText(value.shape), PositionText(value.defined_at),
                                      shape ? XlaShapeText(*shape) : "no such part"));
  }
  value.positions = std::move(used.value.positions);
  value.uses = std::move(used.value.uses);
  value.instruction = InstructionOf(used);
}

// An instruction that defines several values is printed with each.
size_t XlaLinker::InstructionOf(XlaUsedLine& used) {
  const auto [found, is_new] = instructions_.try_emplace(
      used.instruction.name, buffers_.instructions.size(), used.instruction_text);
  if (is_new) {
    buffers_.instructions.push_back(std::move(used.instruction));
  } else if (found->second.second != used.instruction_text) {
    used.place.Contradict(
        fmt::format("expected the instruction {} as it was printed before, got "
                    "another text",
                    used.instruction.name));
  }
  return found->second.first;
}

// Uses name operands of instructions; those that define values are known.
void XlaLinker::CheckUses(const DumpPlace& place, size_t index) const {
  const XlaValue& value = buffers_.values[index];
  const auto holds_value = [&](const XlaPosition& position) {
    return std::find(value.positions.begin(), value.positions.end(), position) !=
           value.positions.end();
  };
  if (!holds_value(value.defined_at)) {
    place.Contradict(fmt::format("expected {} among the positions of {}",
                                 PositionText(value.defined_at), ValueText(value)));
  }
  for (const XlaUse& use : value.uses) {
    const auto found = instructions_.find(use.instruction);
    if (found == instructions_.end()) continue;
    const std::vector<std::string>& operands = buffers_.instructions[found->second.first].operands;
    if (use.operand >= static_cast<int64_t>(operands.size()) ||
        !holds_value({operands[static_cast<size_t>(use.operand)], use.index})) {
      place.Contradict(fmt::format("expected operand {} of {} to hold {}", use.operand,
                                   use.instruction, ValueText(value)));
    }
  }
}

void XlaLinker::CheckSequence() {
  const int64_t size = static_cast<int64_t>(buffers_.sequence.size());
  if (dump_.sequence_length != size) {
    dump_.sequence_place.Contradict(fmt::format("expected {} instructions in the sequence, got {}",
                                                dump_.sequence_length, size));
  }
  for (int64_t i = 0; i < size; ++i)
    sequence_.emplace(buffers_.sequence[static_cast<size_t>(i)], i);
}

size_t XlaLinker::ValueAt(const XlaPosition& position, const DumpPlace& place) const {
  const auto found = by_position_.find(position);
  if (found == by_position_.end()) {
    place.Contradict(
        fmt::format("expected a value of an allocation, got {}", PositionText(position)));
  }
  return found->second;
}

void XlaLinker::LinkRange(const XlaRangeLine& line) {
  XlaValue& value = buffers_.values[ValueAt(line.position, line.place)];
  const auto [begin, end] = line.range;
  if (begin > end || end > dump_.sequence_length) {
    line.place.Contradict(fmt::format("expected a live range from 0 to {}, got {} to {}",
                                      dump_.sequence_length, begin, end));
  }
  const auto defined = sequence_.find(line.position.instruction);
  const auto starts_later = [&, first = static_cast<size_t>(begin)] {
    return first < buffers_.sequence.size() &&
           buffers_.sequence[first].find("-start") != std::string::npos;
  };
  // What is computed aside lives from where that is started.
  if (defined != sequence_.end() &&
      (defined->second > end || (defined->second < begin && !starts_later()))) {
    line.place.Contradict(
        fmt::format("expected a live range around instruction {}, which defines "
                    "the value, got {} to {}",
                    defined->second, begin, end));
  }
  if (value.live) {
    line.place.Contradict(
        fmt::format("expected each value once, got {} again", PositionText(line.position)));
  }
  value.live = line.range;
}

void XlaLinker::LinkPeak() {
  XlaPeak peak;
  peak.instruction = dump_.peak_instruction;
  if (peak.instruction >= dump_.sequence_length && peak.instruction > 0) {
    dump_.peak_place.Contradict(fmt::format("expected a peak before instruction {}, got {}",
                                            dump_.sequence_length, peak.instruction));
  }
  for (const XlaPeakLine& line : dump_.peak) LinkPeakValue(line, peak);
  CheckPeakIsComplete(peak);
  if (dump_.breakdown_bytes && *dump_.breakdown_bytes != peak.bytes) {
    dump_.breakdown_place.Contradict(fmt::format("expected {} bytes, as at the peak, got {}",
                                                 peak.bytes, *dump_.breakdown_bytes));
  }
  buffers_.peak = std::move(peak);
}

void XlaLinker::LinkPeakValue(const XlaPeakLine& line, XlaPeak& peak) {
  const size_t index = ValueAt(line.position, line.place);
  const XlaValue& value = buffers_.values[index];
  if (!value.live || value.live->begin > peak.instruction || value.live->end < peak.instruction) {
    line.place.Contradict(fmt::format(
        "expected a value that is live at {}, got {}, live {}", peak.instruction,
        PositionText(line.position),
        value.live ? fmt::format("from {} to {}", value.live->begin, value.live->end) : "never"));
  }
  if (!at_peak_.insert(index).second) {
    line.place.Contradict(
        fmt::format("expected each value once, got {} again", PositionText(line.position)));
  }
  const std::optional<int64_t> unpadded = UnpaddedBytes(value.shape);
  if (unpadded && *unpadded != line.bytes) {
    line.place.Contradict(fmt::format("expected {} bytes for {} without padding, got {}", *unpadded,
                                      XlaShapeText(value.shape), line.bytes));
  }
  int64_t cumulative = 0;
  if (__builtin_add_overflow(peak.bytes, line.bytes, &cumulative) ||
      cumulative != line.cumulative) {
    line.place.Contradict(fmt::format("expected a cumulative {} + {} bytes, got {}", peak.bytes,
                                      line.bytes, line.cumulative));
  }
  peak.bytes = cumulative;
  // Values may share memory, so that their sum may pass what the allocations' does not.
  if (__builtin_add_overflow(peak.allocated_bytes, value.bytes, &peak.allocated_bytes)) {
    line.place.Contradict("expected values of 64-bit size together");
  }
  peak.values.push_back({index, line.bytes, line.cumulative});
}

// The values of the peak are distinct, so that their number tells whether one is missing.
void XlaLinker::CheckPeakIsComplete(const XlaPeak& peak) {
  size_t live = 0;
  for (const XlaValue& value : buffers_.values) {
    live +=
        value.live && value.live->begin <= peak.instruction && value.live->end >= peak.instruction;
  }
  if (peak.values.size() != live) {
    dump_.peak_place.Contradict(fmt::format("expected the {} values that are live at {}, got {}",
                                            live, peak.instruction, peak.values.size()));
  }
}

}  // namespace

XlaBuffers LinkXlaDump(XlaDump dump) {
  XlaLinker(dump).Link();
  return std::move(dump.buffers);
}

}  // namespace splashmask
