// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/packed.h"

#include <fmt/format.h>
#include <tbb/enumerable_thread_specific.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/computable.h"
#include "splashmask/planner/compile/distances.h"
#include "splashmask/planner/compile/packed_blocks.h"
#include "splashmask/planner/compile/packed_documents.h"
#include "splashmask/planner/compile/packed_tables.h"
#include "splashmask/planner/compile/table_memory.h"
#include "splashmask/planner/compile/tables.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

constexpr std::string_view kOp = "compile_packed";

BlockShape DkvBlock(const PackedOptions& options) { return options.dkv.value_or(options.fwd); }

void CheckInput(const SegmentIds& segment_ids, const Mask& mask, const PackedOptions& options) {
  const int64_t length = segment_ids.length;
  if (segment_ids.batch < 1 || length < 1) {
    Expected(kOp,
             fmt::format("at least one sequence of at least one token, got segment_ids of {} x {}",
                         segment_ids.batch, length));
  }
  if (length > std::numeric_limits<int32_t>::max()) {
    Expected(kOp, fmt::format("at most {} tokens a sequence, as positions are int32; got {}",
                              std::numeric_limits<int32_t>::max(), length));
  }
  if (mask.shape() != Shape{length, length}) {
    Expected(kOp, fmt::format("a mask of {} x {}, the length of the sequences, got {} x {}", length,
                              length, mask.shape().q_len, mask.shape().kv_len));
  }
  const std::string of = "the sequence length";
  CheckDivides(kOp, "block_q", options.fwd.q, of, length);
  CheckDivides(kOp, "block_kv", options.fwd.kv, of, length);
  CheckDivides(kOp, "block_q_dkv", DkvBlock(options).q, of, length);
  CheckDivides(kOp, "block_kv_dkv", DkvBlock(options).kv, of, length);
  if (options.threads < 0)
    Expected(kOp, fmt::format("threads of at least 0, got {}", options.threads));
}

// The given size of shrunk tables, or the one that the mask alone needs.
int64_t ShrunkSize(const char* name, const std::optional<int64_t>& given, int64_t blocks,
                   int64_t by_mask) {
  if (!given) return by_mask;
  if (*given < 1 || *given > blocks) {
    Expected(kOp,
             fmt::format("{} between 1 and the {} blocks there are, got {}", name, blocks, *given));
  }
  return *given;
}

PackedPass MakePass(BlockShape block, std::array<int64_t, 3> shape, int64_t most_blocks,
                    bool downcast) {
  const DType data_type = SmallestType(most_blocks - 1, downcast);
  const DType class_type = SmallestType(1, downcast);
  CheckTableMemory({shape[0], shape[1], shape[2], DTypeSize(data_type) + DTypeSize(class_type)},
                   kOp);
  return {block, Table(data_type, shape), Table(class_type, shape)};
}

PackedPass MakeFwd(const PackedOptions& options, int64_t batch, int64_t length,
                   const Distances& distances) {
  const BlockShape block = options.fwd;
  const int64_t rows = length / block.q, columns = length / block.kv;
  int64_t by_mask = columns;
  if (!options.width) {
    PackedBlocks blocks(block, length);
    blocks.SetWhole(distances);
    by_mask = LongestRow(blocks);
  }
  const int64_t width = ShrunkSize("a width", options.width, columns, by_mask);
  return MakePass(block, {batch, rows, width}, columns, options.downcast_smem_data);
}

PackedPass MakeDkv(const PackedOptions& options, int64_t batch, int64_t length,
                   const Distances& distances) {
  const BlockShape block = DkvBlock(options);
  const int64_t rows = length / block.q, columns = length / block.kv;
  if (options.use_fused_bwd_kernel && options.height) {
    Expected(
        kOp,
        fmt::format("no height with use_fused_bwd_kernel, whose dkv tables are not shrunk; got {}",
                    *options.height));
  }
  int64_t by_mask = rows;
  if (!options.height && !options.use_fused_bwd_kernel) {
    PackedBlocks blocks(block, length);
    blocks.SetWhole(distances);
    by_mask = LongestColumn(blocks);
  }
  const int64_t height = ShrunkSize("a height", options.height, rows, by_mask);
  return MakePass(block, {batch, height, columns}, rows, options.downcast_smem_data);
}

// Compiles the sequences of one batch, each on whichever thread takes it.
class BatchCompiler {
 public:
  BatchCompiler(const SegmentIds& segment_ids, const Distances& distances,
                const PackedOptions& options, PackedPass& fwd, PackedPass& dkv)
      : segment_ids_(segment_ids),
        distances_(distances),
        options_(options),
        fwd_(fwd),
        dkv_(dkv),
        needs_(static_cast<size_t>(segment_ids.batch)) {}

  void Compile() {
    tbb::enumerable_thread_specific<Workspace> workspaces([&] {
      return Workspace{{},
                       PackedBlocks(fwd_.block, segment_ids_.length),
                       PackedBlocks(dkv_.block, segment_ids_.length)};
    });
    ParallelFor(segment_ids_.batch,
                [&](int64_t sequence) { CompileSequence(sequence, workspaces.local()); });
    CheckNeeds("width", &Needs::width, fwd_.data_next.shape()[2]);
    CheckNeeds("height", &Needs::height, dkv_.data_next.shape()[1]);
  }

 private:
  struct Workspace {
    PackedDocuments documents;
    PackedBlocks fwd, dkv;
  };
  struct Needs {
    int64_t width, height;
  };

  void CompileSequence(int64_t sequence, Workspace& work) {
    work.documents.Read(segment_ids_.ids + sequence * segment_ids_.length, segment_ids_.length);
    work.fwd.Set(work.documents, distances_, options_.pad);
    const bool same = fwd_.block == dkv_.block;
    if (!same) work.dkv.Set(work.documents, distances_, options_.pad);
    const PackedBlocks& dkv_blocks = same ? work.fwd : work.dkv;

    Needs& needs = needs_[sequence];
    needs.width = LongestRow(work.fwd);
    if (needs.width <= fwd_.data_next.shape()[2]) FillFwd(work.fwd, sequence, fwd_);
    if (options_.use_fused_bwd_kernel) {
      needs.height = 0;
      FillDkvWhole(dkv_blocks, sequence, dkv_);
      return;
    }
    needs.height = LongestColumn(dkv_blocks);
    if (needs.height <= dkv_.data_next.shape()[1]) FillDkvShrunk(dkv_blocks, sequence, dkv_);
  }

  // Names the first sequence that does not fit, whichever thread met it.
  void CheckNeeds(const char* name, int64_t Needs::*size, int64_t given) const {
    const auto first = std::ranges::find_if(
        needs_, [&](int64_t n) { return n > given; }, size);
    if (first == needs_.end()) return;
    Expected(kOp,
             fmt::format("a {} that every sequence fits in, got {}: sequence {} needs {}, and the "
                         "whole batch {}",
                         name, given, first - needs_.begin(), *first.*size,
                         std::ranges::max(needs_, {}, size).*size));
  }

  const SegmentIds& segment_ids_;
  const Distances& distances_;
  const PackedOptions& options_;
  PackedPass& fwd_;
  PackedPass& dkv_;
  std::vector<Needs> needs_;  // Of each sequence.
};

}  // namespace

PackedTables CompilePacked(const SegmentIds& segment_ids, const Mask& mask,
                           const PackedOptions& options) {
  CheckInput(segment_ids, mask, options);
  const Distances distances = AttendedDistances(mask);
  PackedPass fwd = MakeFwd(options, segment_ids.batch, segment_ids.length, distances);
  PackedPass dkv = MakeDkv(options, segment_ids.batch, segment_ids.length, distances);
  Array q_sequence;
  RunWithThreads(options.threads, [&] {
    BatchCompiler(segment_ids, distances, options, fwd, dkv).Compile();
    q_sequence = RowNumbers(segment_ids.length);
  });
  return {std::move(fwd), std::move(dkv), std::move(q_sequence), mask};
}

}  // namespace splashmask
