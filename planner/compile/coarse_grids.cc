// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/coarse_grids.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <utility>

#include "splashmask/planner/compile/run_cursor.h"

namespace splashmask {

/// What a block holds that is made of two. Every block of a grid is joined of as many in the same
/// order, so equal contents are joined of equal ones.
class CoarseGrids::Joins {
 public:
  explicit Joins(bool is_numbered) : is_numbered_(is_numbered) {}

  Content Of(Content first, Content second) {
    if (first == second && first <= kFull) return first;
    if (!is_numbered_) return kPartial;
    const auto [found, is_new] =
        numbers_.try_emplace(std::pair(first, second), static_cast<Content>(numbers_.size()));
    return found->second;
  }

  /// Of `count` that are alike.
  Content Repeated(Content content, int64_t count) {
    Content joined = content;
    for (int64_t i = 1; i < count; ++i) joined = Of(joined, content);
    return joined;
  }

 private:
  bool is_numbered_;
  boost::unordered_flat_map<std::pair<Content, Content>, Content> numbers_;
};

CoarseGrids::Content CoarseGrids::ContentOf(const ContentRun* run) {
  return run != nullptr ? run->content : kEmpty;
}

CoarseGrids::CoarseGrids(const NumberedGrids& finest)
    : is_numbered_(finest.is_numbered), columns_(finest.grids.front().columns) {
  std::vector<ContentGrid>& all = by_rows_[1];
  for (const BlockGrid& grid : finest.grids) {
    ContentGrid& rows = all.emplace_back(static_cast<size_t>(grid.rows()));
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (const GridRun& run : grid.row(row)) {
        const bool is_full = run.block_class == BlockClass::kFull;
        Append(rows[static_cast<size_t>(row)], run.begin, run.end, is_full ? kFull : run.id);
      }
    }
  }
}

void CoarseGrids::Append(ContentRow& row, int64_t begin, int64_t end, Content content) {
  if (content == kEmpty) return;
  if (!row.empty() && row.back().end == begin && row.back().content == content) {
    row.back().end = end;
  } else {
    row.push_back({begin, end, content});
  }
}

CoarseGrids::ContentRow CoarseGrids::Beside(const ContentRow& above, const ContentRow& below,
                                            Joins& joins) {
  ContentRow result;
  const int64_t columns =
      std::max(above.empty() ? 0 : above.back().end, below.empty() ? 0 : below.back().end);
  RunCursor<ContentRun> first(above), second(below);
  for (int64_t column = 0, end; column < columns; column = end) {
    const auto [first_run, first_end] = first.At(column);
    const auto [second_run, second_end] = second.At(column);
    end = std::min({first_end, second_end, columns});
    Append(result, column, end, joins.Of(ContentOf(first_run), ContentOf(second_run)));
  }
  return result;
}

CoarseGrids::ContentRow CoarseGrids::ColumnsMerged(const ContentRow& row, int64_t columns,
                                                   Joins& joins) {
  ContentRow result;
  RunCursor<ContentRun> cursor(row);
  const int64_t end = row.empty() ? 0 : (row.back().end + columns - 1) / columns;
  for (int64_t column = 0; column < end;) {
    const int64_t begin = column * columns;
    const auto [run, until] = cursor.At(begin);
    Content content = ContentOf(run);
    if (const int64_t alike = std::min(until / columns, end) - column; alike > 0) {
      Append(result, column, column + alike, joins.Repeated(content, columns));
      column += alike;
      continue;
    }
    for (int64_t i = begin + 1; i < begin + columns; ++i) {
      content = joins.Of(content, ContentOf(cursor.At(i).first));
    }
    Append(result, column, column + 1, content);
    ++column;
  }
  return result;
}

const std::vector<CoarseGrids::ContentGrid>& CoarseGrids::RowsMerged(int64_t rows) {
  if (const auto found = by_rows_.find(rows); found != by_rows_.end()) return found->second;
  // From the largest blocks that these are made of.
  const auto source = std::find_if(by_rows_.rbegin(), by_rows_.rend(),
                                   [&](const auto& entry) { return rows % entry.first == 0; });
  const auto together = static_cast<size_t>(rows / source->first);
  Joins joins(is_numbered_);
  std::vector<ContentGrid> merged;
  for (const ContentGrid& grid : source->second) {
    ContentGrid& out = merged.emplace_back(grid.size() / together);
    for (size_t row = 0; row < out.size(); ++row) {
      out[row] = grid[row * together];
      for (size_t i = 1; i < together; ++i) {
        out[row] = Beside(out[row], grid[row * together + i], joins);
      }
    }
  }
  return by_rows_.emplace(rows, std::move(merged)).first->second;
}

int64_t CoarseGrids::CountVisible() const {
  int64_t visible = 0;
  for (const ContentGrid& grid : by_rows_.at(1)) {
    for (const ContentRow& row : grid) {
      for (const ContentRun& run : row) visible += run.end - run.begin;
    }
  }
  return visible;
}

NumberedGrids CoarseGrids::Merge(int64_t rows, int64_t columns) {
  Joins joins(is_numbered_);
  std::vector<ContentGrid> merged;
  for (const ContentGrid& grid : RowsMerged(rows)) {
    ContentGrid& out = merged.emplace_back();
    for (const ContentRow& row : grid) out.push_back(ColumnsMerged(row, columns, joins));
  }
  return Number(merged, columns_ / columns);
}

// In the order of first occurrence, as PartialBlocks does.
NumberedGrids CoarseGrids::Number(const std::vector<ContentGrid>& grids, int64_t columns) const {
  NumberedGrids result{{}, is_numbered_, 0};
  boost::unordered_flat_map<Content, int32_t> numbers;
  for (const ContentGrid& rows : grids) {
    BlockGrid& grid = result.grids.emplace_back();
    grid.columns = columns;
    grid.row_begin.push_back(0);
    for (const ContentRow& row : rows) {
      for (const auto& [begin, end, content] : row) {
        const bool is_full = content == kFull;
        int32_t id = kNone;
        if (!is_full && is_numbered_) {
          id = numbers.try_emplace(content, static_cast<int32_t>(numbers.size())).first->second;
        }
        grid.runs.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(end),
                             is_full ? BlockClass::kFull : BlockClass::kPartial, id});
      }
      grid.row_begin.push_back(static_cast<int64_t>(grid.runs.size()));
    }
  }
  result.num_partial = static_cast<int64_t>(numbers.size());
  return result;
}

}  // namespace splashmask
