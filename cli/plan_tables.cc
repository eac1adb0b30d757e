// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

namespace splashmask::cli {

namespace {

/// A Table or an Array.
template <typename Elements>
void AppendElements(std::vector<PlanTable>& tables, const char* name,
                    const std::optional<Elements>& elements) {
  if (!elements) return;
  tables.push_back({name,
                    std::string(DTypeName(elements->dtype())),
                    {elements->shape().begin(), elements->shape().end()},
                    {elements->data(), static_cast<size_t>(elements->size_bytes())}});
}

void AppendBlocks(std::vector<PlanTable>& tables, const std::optional<PartialMaskBlocks>& blocks) {
  if (!blocks) return;
  std::vector<int64_t> shape = blocks->leading();
  shape.push_back(blocks->rows());
  shape.push_back(blocks->columns());
  tables.push_back({"partial_mask_blocks",
                    "bool",
                    shape,
                    {blocks->data(), static_cast<size_t>(blocks->size_bytes())}});
}

}  // namespace

std::vector<PlanTable> PlanTables(const MaskInfo& info) {
  std::vector<PlanTable> tables;
  AppendElements(tables, "data_next", info.data_next);
  AppendElements(tables, "mask_next", info.mask_next);
  AppendElements(tables, "block_mask", info.block_mask);
  AppendBlocks(tables, info.partial_mask_blocks);
  AppendElements(tables, "q_sequence", info.q_sequence);
  return tables;
}

std::vector<PlanTable> PlanTables(const TokamaxMaskInfo& info) {
  std::vector<PlanTable> tables;
  AppendElements(tables, "mask_next", info.mask_next);
  AppendElements(tables, "active_rows", info.active_rows);
  AppendElements(tables, "active_cols", info.active_cols);
  AppendElements(tables, "block_mask", info.block_mask);
  AppendElements(tables, "num_active_blocks", info.num_active_blocks);
  AppendBlocks(tables, info.partial_mask_blocks);
  AppendElements(tables, "q_sequence", info.q_sequence);
  return tables;
}

int64_t TotalBytes(const std::vector<PlanTable>& tables) {
  int64_t bytes = 0;
  for (const PlanTable& table : tables) bytes += table.size_bytes();
  return bytes;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace splashmask::cli
