// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/certify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/simplify.h"
#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/certify/cells.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/certify/kernel_mask.h"
#include "splashmask/planner/certify/pass_check.h"
#include "splashmask/planner/certify/simplify_check.h"
#include "splashmask/planner/certify/stored_blocks.h"
#include "splashmask/planner/certify/tokamax_check.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace certify {

namespace {

// Refuses what would not fit: for each block of each mask its class and its id, for each one of the
// grid its slot or its visit, and for each one of the tables a next value and the expected entry;
// and what the leaves keep for each position.
void CheckMemory(const HeadEntries& heads, Shape shape, BlockShape block) {
  const int64_t q_blocks = shape.q_len / block.q, kv_blocks = shape.kv_len / block.kv;
  const __int128 bytes = static_cast<__int128>(q_blocks) * kv_blocks *
                             (5 * std::ssize(heads.masks) + 8 + 8 * heads.size()) +
                         static_cast<__int128>(8) * shape.q_len +
                         static_cast<__int128>(8) * shape.kv_len;
  if (bytes <= AvailableMemory()) return;
  throw Error(ErrorCode::kTooLarge,
              fmt::format("[certify] expected tables that fit in memory, got {} x {} blocks, which "
                          "take {} bytes to prove; use larger blocks",
                          q_blocks, kv_blocks, bytes));
}

// What is there to prove: a pass in one of the dialects.
struct Job {
  Pass pass;
  bool is_tokamax;
  BlockShape block;
  bool simplify;
};

std::vector<Job> FindJobs(const Plan& plan) {
  std::vector<Job> jobs;
  for (Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    jobs.push_back({pass, false, plan.pass(pass)->block, plan.options.simplify});
  }
  for (Pass pass : kTokamaxPasses) {
    if (!plan.tokamax_pass(pass)) continue;
    const TokamaxPassOptions& options = plan.tokamax_pass(pass)->options;
    jobs.push_back({pass, true, options.block, options.simplify});
  }
  return jobs;
}

Certificate CertifyPlan(const Plan& plan, const Progress& progress) {
  const Shape shape = plan.mask.shape();
  const std::vector<Job> jobs = FindJobs(plan);
  const auto simplified = std::ranges::find_if(jobs, &Job::simplify);
  const bool simplifies = simplified != jobs.end();

  // Tables of simplified masks group heads by these. Cells are those of the masks as they were
  // written: of one head of each group, and the groups are proven to have but one truth.
  const MultiHeadMask simple = simplifies ? Simplify(plan.mask) : plan.mask;
  const HeadEntries plain_heads = FindHeadEntries(plan.mask, plan.options.head_shards);
  const HeadEntries simple_heads = FindHeadEntries(simple, plan.options.head_shards);
  const SimplifyCheck simplify_check(plan.mask, simple);
  const auto heads_of = [&](const Job& job) -> const HeadEntries& {
    return job.simplify ? simple_heads : plain_heads;
  };
  // Where jobs differ in this, some are tokamax's, and there is one mask.
  const HeadEntries& heads = simplifies ? simple_heads : plain_heads;
  std::vector<CellProgram> programs;
  for (const int64_t head : heads.first_head) {
    programs.emplace_back(plan.mask.masks()[static_cast<size_t>(head)]);
  }

  // Passes of one block shape share the evaluation of cells, and the second reading, of partial
  // blocks, where any of them stores some.
  std::map<std::pair<int64_t, int64_t>, int> readings;
  for (const Job& job : jobs) {
    int& times = readings[{job.block.q, job.block.kv}];
    times = std::max(times, ComputedByKernel(heads_of(job), job.simplify) ? 1 : 2);
  }
  int64_t rows = simplify_check.CountRows();
  for (const auto& [block, times] : readings) {
    rows += shape.q_len / block.first * std::ssize(programs) * times;
  }
  for (const Job& job : jobs) {
    if (!job.is_tokamax) continue;
    rows +=
        TokamaxWalk::CountRows(shape, plan.tokamax_pass(job.pass)->options, job.pass == Pass::kDkv);
  }

  Certificate certificate;
  RowProgress row_progress(progress, rows);
  certificate.cells = simplify_check.CountCells();
  certificate.mismatch = simplify_check.Run(row_progress);
  if (certificate.mismatch) {
    certificate.mismatch->pass = simplified->pass;
    certificate.mismatch->is_tokamax = simplified->is_tokamax;
    return certificate;
  }
  std::map<std::pair<int64_t, int64_t>, ProvenGrid> grids;
  for (const auto& [sizes, times] : readings) {
    const BlockShape block{sizes.first, sizes.second};
    CheckMemory(heads, shape, block);
    grids.emplace(sizes,
                  ProvenGrid{BlockTruth(programs, shape, block, row_progress), {}, nullptr, false});
    certificate.cells += shape.q_len * shape.kv_len * std::ssize(programs);
  }
  if (!grids.empty()) {
    const auto& empty = grids.begin()->second.truth.empty();
    for (size_t mask = 0; mask < empty.size(); ++mask) {
      if (empty[mask].rows.empty() && empty[mask].columns.empty()) continue;
      certificate.empty.push_back({heads.first_head[mask], empty[mask].rows, empty[mask].columns});
    }
  }

  const auto prove = [&](const Job& job, auto check) {
    certificate.mismatch = check.Run();
    certificate.entries += check.entries();
    if (!certificate.mismatch) return true;
    certificate.mismatch->pass = job.pass;
    certificate.mismatch->is_tokamax = job.is_tokamax;
    return false;
  };
  for (const Job& job : jobs) {
    ProvenGrid& grid = grids.at({job.block.q, job.block.kv});
    const bool is_right =
        job.is_tokamax
            ? prove(job, TokamaxCheck(*plan.tokamax_pass(job.pass), job.pass == Pass::kDkv,
                                      heads_of(job), grid, row_progress))
            : prove(job, PassCheck(plan, job.pass, heads_of(job), grid, row_progress));
    if (!is_right) break;
  }
  progress.Report(1);
  return certificate;
}

}  // namespace

}  // namespace certify

namespace {

void CheckDivides(int64_t divisor, std::string_view divisor_name, int64_t value,
                  std::string_view value_name) {
  if (divisor >= 1 && value % divisor == 0) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[certify] expected {} of at least 1 that divides {} ({}), got {}",
                          divisor_name, value_name, value, divisor));
}

void CheckOptions(const Plan& plan) {
  const Shape shape = plan.mask.shape();
  const PlanOptions& options = plan.options;
  CheckDivides(options.head_shards, "head_shards", plan.mask.num_heads(), "the number of heads");
  CheckDivides(options.q_seq_shards, "q_seq_shards", shape.q_len, "q_len");
  for (Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    const BlockShape block = plan.pass(pass)->block;
    const std::string name(PassName(pass));
    CheckDivides(block.q, name + " block_q", shape.q_len / options.q_seq_shards,
                 "the q positions of a shard");
    CheckDivides(block.kv, name + " block_kv", shape.kv_len, "kv_len");
  }
  if (options.use_fused_bwd_kernel && plan.dq) {
    throw Error(ErrorCode::kInvalidArgument,
                "[certify] expected no dq pass with use_fused_bwd_kernel, got one");
  }
  if (plan.has_tokamax() && !plan.has_one_mask()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[certify] expected one mask for all heads beside tokamax lists, got several");
  }
  for (Pass pass : kTokamaxPasses) {
    if (!plan.tokamax_pass(pass)) continue;
    const TokamaxPassOptions& tokamax = plan.tokamax_pass(pass)->options;
    const std::string name = TokamaxPassPath(pass);
    CheckDivides(tokamax.q_seq_shards, name + " q_seq_shards", shape.q_len, "q_len");
    CheckDivides(tokamax.kv_seq_shards, name + " kv_seq_shards", shape.kv_len, "kv_len");
    CheckDivides(tokamax.block.q, name + " block_q", shape.q_len / tokamax.q_seq_shards,
                 "the q positions of a shard");
    CheckDivides(tokamax.block.kv, name + " block_kv", shape.kv_len / tokamax.kv_seq_shards,
                 "the kv positions of a shard");
  }
}

}  // namespace

std::string Mismatch::PassPath() const {
  return is_tokamax ? TokamaxPassPath(pass) : std::string(PassName(pass));
}

std::string Mismatch::ToString() const {
  std::string text = fmt::format("{} {}", PassPath(), table);
  if (!index.empty()) text += fmt::format("[{}]", fmt::join(index, ", "));
  text += fmt::format(": expected {}, got {}", expected, got);
  std::vector<std::string> position;
  if (head) position.push_back(fmt::format("head {}", *head));
  if (q) position.push_back(fmt::format("q {}", *q));
  if (kv) position.push_back(fmt::format("kv {}", *kv));
  if (!position.empty()) text += fmt::format(" (at {})", fmt::join(position, ", "));
  return text;
}

Certificate Certify(const Plan& plan, const CertifyOptions& options) {
  CheckOptions(plan);
  Certificate certificate;
  RunWithThreads(options.threads,
                 [&] { certificate = certify::CertifyPlan(plan, options.progress); });
  return certificate;
}

}  // namespace splashmask
