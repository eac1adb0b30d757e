// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_tables.h"
#include "splashmask/masks/print.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

json::object FieldsJson(const std::vector<PlanTable>& fields) {
  json::object tables;
  for (const PlanTable& field : fields) {
    tables[field.name] = {{"dtype", field.dtype},
                          {"shape", json::array(field.shape.begin(), field.shape.end())},
                          {"bytes", field.size_bytes()}};
  }
  return tables;
}

std::string FieldsText(const std::vector<PlanTable>& fields, const std::optional<Mask>& function) {
  std::string text;
  for (const PlanTable& field : fields) {
    text += fmt::format("  {:<20} {:<6} {:<24} {:>14} bytes\n", field.name, field.dtype,
                        ShapeText(field.shape), Grouped(field.size_bytes()));
  }
  if (function) text += fmt::format("  {:<20} {}\n", "mask_function", ToString(*function));
  return text;
}

json::value MaskFunctionJson(const std::optional<Mask>& function) {
  return function ? json::value(ToString(*function)) : json::value(nullptr);
}

std::string TableShapeText(const MaskInfo& info) {
  return info.block_mask ? fmt::format("[{}]", fmt::join(info.block_mask->shape(), ", ")) : "none";
}

BlockCounts Total(const std::vector<BlockCounts>& heads) {
  BlockCounts total;
  for (const BlockCounts& counts : heads) total += counts;
  return total;
}

std::string CountsText(const BlockCounts& counts) {
  return fmt::format("{} blocks: {} full, {} partial, {} empty; density {}",
                     Grouped(counts.total()), Grouped(counts.full), Grouped(counts.partial),
                     Grouped(counts.empty), Percent(counts.density()));
}

/// Heads with equal counts, in the order of their first heads.
std::vector<std::pair<BlockCounts, std::vector<int64_t>>> GroupHeads(
    const std::vector<BlockCounts>& by_head) {
  std::vector<std::pair<BlockCounts, std::vector<int64_t>>> groups;
  std::map<std::pair<int64_t, int64_t>, size_t> group_of;
  for (size_t head = 0; head < by_head.size(); ++head) {
    const BlockCounts& counts = by_head[head];
    const auto [entry, is_new] = group_of.try_emplace({counts.partial, counts.full}, groups.size());
    if (is_new) groups.emplace_back(counts, std::vector<int64_t>());
    groups[entry->second].second.push_back(static_cast<int64_t>(head));
  }
  return groups;
}

/// The groups as the text shows them: beyond what one cares to read, their sum.
std::vector<std::pair<std::string, BlockCounts>> GroupsToShow(const Plan& plan, Pass pass) {
  constexpr size_t kMostGroups = 16;
  const std::vector<BlockCounts> by_head = CountBlocks(plan, pass);
  const auto groups = GroupHeads(by_head);
  if (groups.size() > kMostGroups) return {{"sum of heads", Total(by_head)}};
  std::vector<std::pair<std::string, BlockCounts>> shown;
  for (const auto& [counts, heads] : groups) {
    shown.emplace_back(groups.size() == 1 ? "each head" : Heads(heads, plan.mask.num_heads()),
                       counts);
  }
  return shown;
}

json::object PassJson(const Plan& plan, Pass pass) {
  const CompiledPass& compiled = *plan.pass(pass);
  const std::vector<BlockCounts> by_head = CountBlocks(plan, pass);
  json::array heads;
  for (const auto& [counts, group] : GroupHeads(by_head)) {
    json::object entry = CountsJson(counts);
    entry["heads"] = json::array(group.begin(), group.end());
    heads.push_back(std::move(entry));
  }
  return {{"block_q", compiled.block.q},
          {"block_kv", compiled.block.kv},
          {"tables", FieldsJson(PlanTables(compiled.info))},
          {"blocks", CountsJson(Total(by_head))},
          {"blocks_by_head", std::move(heads)},
          {"mask_function", MaskFunctionJson(compiled.mask_function)}};
}

json::object TokamaxPassJson(const Plan& plan, Pass which) {
  const TokamaxPass& pass = *plan.tokamax_pass(which);
  const TokamaxPassOptions& options = pass.options;
  return {{"block_q", options.block.q},
          {"block_kv", options.block.kv},
          {"q_seq_shards", options.q_seq_shards},
          {"kv_seq_shards", options.kv_seq_shards},
          {"downcast_smem_data", options.downcast_smem_data},
          {"return_dynamic_grid", options.return_dynamic_grid},
          {"simplify", options.simplify},
          {"tables", FieldsJson(PlanTables(pass.info))},
          {"blocks", CountsJson(CountTokamaxBlocks(plan, which))},
          {"mask_function", MaskFunctionJson(pass.mask_function)}};
}

/// Lines of columns as wide as their widest cell; from column `first_number` on aligned to the
/// right.
std::string AlignColumns(const std::vector<std::vector<std::string>>& rows, size_t first_number) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += i == 0 ? "" : "  ";
      text += i < first_number ? fmt::format("{:<{}}", row[i], widths[i])
                               : fmt::format("{:>{}}", row[i], widths[i]);
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string ShapeText(const MultiHeadMask& mask) {
  const Shape shape = mask.shape();
  return fmt::format("{} q x {} kv, {} head{}", Grouped(shape.q_len), Grouped(shape.kv_len),
                     Grouped(mask.num_heads()), mask.num_heads() == 1 ? "" : "s");
}

std::string PassesText(const Plan& plan) {
  std::vector<std::vector<std::string>> rows = {{"pass", "block", "table shape", "bytes",
                                                 "blocks of", "full", "partial", "empty",
                                                 "density"}};
  for (const Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    const CompiledPass& compiled = *plan.pass(pass);
    std::vector<std::string> row = {
        std::string(PassName(pass)), fmt::format("{} x {}", compiled.block.q, compiled.block.kv),
        TableShapeText(compiled.info), Bytes(TotalBytes(PlanTables(compiled.info)))};
    for (const auto& [heads, counts] : GroupsToShow(plan, pass)) {
      row.resize(4);
      for (std::string cell : {heads, Grouped(counts.full), Grouped(counts.partial),
                               Grouped(counts.empty), Percent(counts.density())}) {
        row.push_back(std::move(cell));
      }
      rows.push_back(row);
      row.assign(4, "");
    }
  }
  return AlignColumns(rows, /*first_number=*/5);
}

std::string PassText(const Plan& plan, Pass pass) {
  const CompiledPass& compiled = *plan.pass(pass);
  const std::vector<PlanTable> fields = PlanTables(compiled.info);
  std::string text =
      fmt::format("{}  block_q {}, block_kv {}, {}\n", PassName(pass), Grouped(compiled.block.q),
                  Grouped(compiled.block.kv), Bytes(TotalBytes(fields)));
  text += FieldsText(fields, compiled.mask_function);
  for (const auto& [heads, counts] : GroupsToShow(plan, pass)) {
    text += fmt::format("  {:<20} {}\n", heads, CountsText(counts));
  }
  return text;
}

std::string TokamaxText(const Plan& plan, Pass which) {
  const TokamaxPass& pass = *plan.tokamax_pass(which);
  const TokamaxPassOptions& options = pass.options;
  const std::vector<PlanTable> fields = PlanTables(pass.info);
  return fmt::format(
             "{}  block_q {}, block_kv {}, {}\n"
             "  q_seq_shards {}, kv_seq_shards {}, downcast_smem_data {}, return_dynamic_grid {}, "
             "simplify {}\n",
             TokamaxPassPath(which), Grouped(options.block.q), Grouped(options.block.kv),
             Bytes(TotalBytes(fields)), options.q_seq_shards, options.kv_seq_shards,
             YesNo(options.downcast_smem_data), YesNo(options.return_dynamic_grid),
             YesNo(options.simplify)) +
         FieldsText(fields, pass.mask_function) +
         fmt::format("  {:<20} {}\n", "each head", CountsText(CountTokamaxBlocks(plan, which)));
}

json::object PlanJson(const Plan& plan) {
  const Shape shape = plan.mask.shape();
  const PlanOptions& options = plan.options;
  json::object passes;
  for (const Pass pass : kAllPasses) {
    if (plan.pass(pass)) passes[PassName(pass)] = PassJson(plan, pass);
  }
  json::object tokamax;
  for (const Pass pass : kTokamaxPasses) {
    if (!plan.tokamax_pass(pass)) continue;
    tokamax[PassName(pass)] = TokamaxPassJson(plan, pass);
  }
  return {{"mask", ToString(plan.mask)},
          {"q_len", shape.q_len},
          {"kv_len", shape.kv_len},
          {"num_heads", plan.mask.num_heads()},
          {"options",
           {{"head_shards", options.head_shards},
            {"q_seq_shards", options.q_seq_shards},
            {"downcast_smem_data", options.downcast_smem_data},
            {"shrink_grid", options.shrink_grid},
            {"simplify", options.simplify},
            {"use_fused_bwd_kernel", options.use_fused_bwd_kernel}}},
          {"passes", std::move(passes)},
          {"tokamax", std::move(tokamax)}};
}

json::object CountsJson(const BlockCounts& counts) {
  return {{"empty", counts.empty},
          {"partial", counts.partial},
          {"full", counts.full},
          {"density", counts.density()}};
}

json::object DigestsJson(const PlanDigests& digests) {
  return {{"mask", digests.mask_digest},
          {"plan", digests.plan_digest},
          {"content", digests.content_digest}};
}

const char* YesNo(bool value) { return value ? "yes" : "no"; }

const char* SealName(SealState seal) {
  switch (seal) {
    case SealState::kValid:
      return "valid";
    case SealState::kBroken:
      return "broken";
    case SealState::kNotChecked:
      break;
  }
  return "not checked";
}

std::string ToLine(const json::object& json) { return json::serialize(json) + "\n"; }

}  // namespace splashmask::cli
