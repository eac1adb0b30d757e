// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads the buffer assignment that XLA dumps: what a compiled program keeps in memory, where, and
// when. XLA_FLAGS="--xla_dump_to=DIR" makes JAX write it (tests/io/make_xla_dump.py).
//
// Goals: every number of the dump, held against the others; the splash attention kernels inside.
// Non-goals: the HLO program itself, and the human-readable copies of the same numbers.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/io/xla/mosaic_body.h"
#include "splashmask/io/xla/xla_shape.h"

namespace splashmask {

/// The output of an instruction, or a part of it: "name{3}". Empty index: the whole.
struct XlaPosition {
  std::string instruction;
  std::vector<int64_t> index;

  auto operator<=>(const XlaPosition&) const = default;
};

/// An operand that reads a value.
struct XlaUse {
  std::string instruction;
  int64_t operand = 0;
  std::vector<int64_t> index;  ///< Inside the operand, where that is a tuple.

  bool operator==(const XlaUse&) const = default;
};

/// A Pallas kernel for TPUs, which the program calls.
struct XlaKernel {
  std::string name;                 ///< The instruction's, without its number: "splash_mha_fwd".
  std::vector<std::string> scopes;  ///< The parts of op_name, outermost first.
  MosaicBody body;                  ///< Grid and block shapes, or why they cannot be read.
};

/// An instruction that defines a value.
struct XlaInstruction {
  std::string name;
  XlaShape shape;
  std::string opcode;                 ///< "custom-call".
  std::vector<std::string> operands;  ///< Names of instructions; none for literals.
  std::string literal;                ///< Of a constant: "{ 0, 1 }"; of a parameter its number.
  std::string custom_call_target;     ///< Empty where there is none.
  std::string op_name;                ///< Of the metadata: "jit(f)/jit(main)/dot_general".
  std::optional<XlaKernel> kernel;    ///< Of a custom call to "tpu_custom_call".
};

/// When a value is live: from the instruction of that number in `XlaBuffers::sequence` to that one,
/// both included; the end of a program's results is the length of the sequence.
struct XlaLiveRange {
  int64_t begin = 0, end = 0;

  bool operator==(const XlaLiveRange&) const = default;
};

/// A value with its place in an allocation.
struct XlaValue {
  int64_t id = 0;
  XlaPosition defined_at;
  bool is_phi = false;     ///< Joins the values of branches, or of a loop's turns.
  int64_t color = 0;       ///< The memory: 0 HBM, 1 VMEM, 2 SMEM on a TPU.
  int64_t allocation = 0;  ///< Number of the allocation that holds it.
  int64_t bytes = 0, offset = 0;
  XlaShape shape;

  // Of the section "Used values", where the dump has it.
  std::vector<XlaPosition> positions;  ///< Every place that holds the value.
  std::vector<XlaUse> uses;
  std::optional<size_t> instruction;  ///< Number in `XlaBuffers::instructions`.

  std::optional<XlaLiveRange> live;  ///< Of values in the sequence, where the dump has it.
};

/// The entry parameter that an allocation holds, or a part of it.
struct XlaParameter {
  int64_t number = 0;
  std::string shape;  ///< Without layout, as printed.
  std::vector<int64_t> index;
};

/// A contiguous piece of one memory.
struct XlaAllocation {
  int64_t number = 0;
  int64_t bytes = 0;
  int64_t color = 0;
  std::optional<int64_t> page;
  bool is_constant = false, is_thread_local = false, is_preallocated_temp = false;
  bool maybe_live_out = false;
  std::optional<XlaParameter> parameter;
  std::optional<std::string> output_shape;  ///< Without layout, as printed.
  std::vector<std::string> other_flags;     ///< Those that this version does not know.
  std::vector<size_t> values;               ///< Numbers in `XlaBuffers::values`.
};

/// A value that is live at the peak.
struct XlaPeakValue {
  size_t value = 0;        ///< Number in `XlaBuffers::values`.
  int64_t bytes = 0;       ///< As XLA counts here: without any padding.
  int64_t cumulative = 0;  ///< Sum of the bytes so far.
};

/// The moment when most bytes are live.
struct XlaPeak {
  int64_t instruction = 0;  ///< Number in `XlaBuffers::sequence`.
  std::vector<XlaPeakValue> values;
  int64_t bytes = 0;            ///< Sum without padding: the last cumulative number.
  int64_t allocated_bytes = 0;  ///< Sum with padding, of what the values take in their allocations.
};

/// A dump. The sections behind the first are there or not: newer compilers write three files.
struct XlaBuffers {
  std::vector<XlaAllocation> allocations;
  std::vector<XlaValue> values;  ///< In the order of the allocations.

  std::optional<int64_t> total_bytes;        ///< "Total bytes used".
  std::vector<XlaInstruction> instructions;  ///< Those that define values.

  std::vector<std::string> sequence;  ///< Names of the program's instructions in order.
  std::optional<XlaPeak> peak;

  /// Sum over the allocations of one memory.
  int64_t BytesOfColor(int64_t color) const;
};

/// Reads a dump in one file, or the three of newer compilers by the name of the first: beside
/// "X-buffer-assignment.txt", "X-buffer-assignment-values.txt" and "X-live-range.txt" are read
/// where they exist. Throws as ParseXlaBuffers does, kNotFound, kInvalidArgument for what is no
/// regular file, and kIo.
XlaBuffers ReadXlaBuffers(const std::string& path);

/// Parses a dump in one text; `name` stands for it in messages. Throws kSyntax, with the line, for
/// a text that is no dump or is cut short, and kInvalidArgument where its numbers contradict each
/// other: a total that is not the sum of the allocations, a value outside of its allocation, of
/// another size than its shape's, in no memory or two; a live range outside of the sequence; a peak
/// that is not what the live ranges say.
XlaBuffers ParseXlaBuffers(std::string_view text, std::string_view name);

}  // namespace splashmask
