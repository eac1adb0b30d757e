// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the programs of all kernels keep alike: operands, tables, scratch. Private to cost.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/cost/hbm_buffers.h"
#include "splashmask/planner/cost/packed_temporaries.h"

namespace splashmask {

/// A program that calls one kernel once.
struct ProgramCall {
  const AttentionConfig& config;
  TpuKernel kernel;
  const LiteralTables& tables;
  const TpuSpec& chip;
  const ProgramOptions& options;
};

/// "bf16" or "f32".
std::string_view XlaName(OperandDType dtype);

/// Collects the buffers of one program.
class BufferList {
 public:
  using Dims = std::vector<int64_t>;

  /// Keeps references to what the call refers to.
  explicit BufferList(const ProgramCall& call);

  const AttentionConfig& config() const { return call_.config; }
  KernelBlocks blocks() const { return BlocksOf(config().block_sizes, call_.kernel); }
  const TpuSpec& chip() const { return call_.chip; }
  /// Whether what belongs to q positions is read with these in the lanes.
  bool q_is_in_lanes() const { return PassOf(call_.kernel) == Pass::kDkv; }

  /// A batch is vmapped: it is the first axis of whatever differs between its sequences.
  Dims Batched(Dims dims) const;
  /// Of q, its gradient and what has its rows.
  Dims QueryDims(int64_t head_dim) const;
  /// Of k, v and their gradients.
  Dims KeyDims(int64_t head_dim) const;

  void Add(std::string name, BufferKind kind, XlaShape shape, int64_t bytes);
  void Add(std::string name, BufferKind kind, XlaShape shape);

  struct Temporary {
    XlaShape shape;                    ///< With the memory in which it lies.
    std::optional<size_t> index = {};  ///< Among those in HBM.
  };
  /// An array that another instruction than the kernel reads or writes: it goes to faster memory as
  /// long as there is some.
  Temporary AddTemporary(std::string name, XlaShape shape, Lifetime lifetime = Lifetime::kOperand,
                         std::optional<size_t> made_from = {});

  /// q, k, v and segment ids.
  void AddInputs();
  /// An argument of the program which the kernel wants in the layout of `operand`.
  void AddArgument(const std::string& name, const XlaShape& operand);
  /// One with rows of the model's dtype that the kernel may want transposed.
  void AddSequenceArgument(const std::string& name, Dims dims, QkvLayout layout);
  void AddSinks();
  void AddTables();

  /// float32 that the kernel writes for one block, and reads.
  void AddScratch(std::string name, Dims dims);
  /// What the kernel writes row by row, and the program's output, which has fewest bytes.
  void AddResult(const std::string& name, Dims dims);
  /// What the kernel writes.
  void AddKernelResult(XlaShape shape) { results_.push_back(std::move(shape)); }
  /// Three scalars of the addition in a reduction.
  void AddSummands(std::string_view dtype);
  /// Those, in float32, of a reduction that XLA makes after it has laid arrays out.
  void AddSummandsWithoutLayout();
  /// What the program returns, as its caller sees it.
  void AddReturned(XlaShape shape) { returned_.push_back(std::move(shape)); }

  /// Adds pointers, and sorts. XLA lays the pointers to the kernel's results behind the other
  /// temporaries if there is a reduction, else before them.
  ProgramBuffers Finish(bool has_reduction);

 private:
  void AddPointers(std::string name, BufferKind kind, std::vector<XlaShape> elements);
  void AddThreadLocals(const XlaShape& scalar, int64_t bytes);
  void AddSegmentIds();
  void AddTable(const char* name, size_t index, const TableOperand& table);
  void AddPartialBlocks(int64_t count);
  void AddPositions();
  // Values that belong to q or kv positions, repeated in lanes or in sublanes.
  XlaShape RepeatedShape(Dims batched_length, bool is_in_lanes) const;

  const ProgramCall call_;
  int64_t faster_bytes_left_ = 0;
  std::vector<XlaShape> results_, returned_;
  std::vector<PackedTemporary> in_hbm_;
  ProgramBuffers result_;
};

}  // namespace splashmask
