// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/literal_tables.h"

#include <optional>

namespace splashmask {

namespace {

bool IsRepeated(const Table& table) {
  if (table.size() < 2) return false;
  for (int64_t i = 1; i < table.size(); ++i) {
    if (table.At(i) != table.At(0)) return false;
  }
  return true;
}

LiteralTables::Positions PositionsOf(const Array& positions) {
  using Positions = LiteralTables::Positions;
  if (positions.AllOf([](int64_t row, int64_t position) { return position == row; })) {
    return Positions::kCounted;
  }
  const int64_t first = positions.At(0);
  const bool is_repeated = positions.size() > 1 && positions.AllOf([&](int64_t, int64_t position) {
    return position == first;
  });
  return is_repeated ? Positions::kRepeated : Positions::kOther;
}

}  // namespace

LiteralTables LiteralsOf(const MaskInfo& info) {
  LiteralTables result;
  result.tables = TablesOf(info, PlanOptions());
  const std::array<const std::optional<Table>*, 3> tables{&info.data_next, &info.block_mask,
                                                          &info.mask_next};
  for (size_t i = 0; i < tables.size(); ++i) {
    if (!*tables[i]) continue;
    result.is_repeated[i] = IsRepeated(**tables[i]);
    for (size_t earlier = 0; earlier < i; ++earlier) {
      if (*tables[earlier] != *tables[i]) continue;
      result.first_equal[i] = earlier;
      break;
    }
  }
  if (info.q_sequence) result.positions = PositionsOf(*info.q_sequence);
  return result;
}

}  // namespace splashmask
