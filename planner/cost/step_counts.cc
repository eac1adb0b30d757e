// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/step_counts.h"

#include <fmt/format.h>

#include <string>

#include "splashmask/masks/error.h"
#include "splashmask/planner/table_types.h"

namespace splashmask {

namespace {

// A run of steps: how often an index changes inside it, and its ends.
struct Run {
  int64_t changes = 0;
  int32_t first = 0, last = 0;
};

// What one entry of the tables says of the steps of one shard. fwd and dq: one sequence for all
// rows, so one run. dkv: one for each column.
struct Entry {
  std::array<int64_t, 3> classes{};  // Of empty, partial and full blocks.
  std::vector<Run> next, stored;
};

// Rows [begin, end) of one entry of a table.
struct Rows {
  const Table& table;
  int64_t entry, begin, end;

  int64_t width() const { return table.shape()[2]; }
  template <typename T>
  const T* row(int64_t i) const {
    return table.as<T>() + (entry * table.shape()[1] + i) * width();
  }
};

// One run through all rows, each from left to right.
Run RowByRow(const Rows& rows) {
  Run run;
  WithType(rows.table.dtype(), [&]<typename T>(T*) {
    const T* begin = rows.row<T>(rows.begin);
    const int64_t count = (rows.end - rows.begin) * rows.width();
    for (int64_t i = 1; i < count; ++i) run.changes += begin[i] != begin[i - 1];
    run.first = begin[0];
    run.last = begin[count - 1];
  });
  return run;
}

// A run for each column, from top to bottom. Rows are read one after the other all the same.
std::vector<Run> ColumnByColumn(const Rows& rows) {
  const auto width = static_cast<size_t>(rows.width());
  std::vector<int32_t> changes(width);
  std::vector<Run> runs(width);
  WithType(rows.table.dtype(), [&]<typename T>(T*) {
    for (int64_t i = rows.begin + 1; i < rows.end; ++i) {
      const T *above = rows.row<T>(i - 1), *row = rows.row<T>(i);
      for (size_t c = 0; c < width; ++c) changes[c] += row[c] != above[c];
    }
    const T *first = rows.row<T>(rows.begin), *last = rows.row<T>(rows.end - 1);
    for (size_t c = 0; c < width; ++c) runs[c] = {changes[c], first[c], last[c]};
  });
  return runs;
}

std::array<int64_t, 3> CountClasses(const Rows& rows) {
  int64_t partial = 0, full = 0;
  const int64_t count = (rows.end - rows.begin) * rows.width();
  WithType(rows.table.dtype(), [&]<typename T>(T*) {
    const T* begin = rows.row<T>(rows.begin);
    for (int64_t i = 0; i < count; ++i) {
      partial += begin[i] == 1;
      full += begin[i] == 2;
    }
  });
  return {count - partial - full, partial, full};
}

class Counter {
 public:
  Counter(const Plan& plan, Pass pass, int64_t kv_heads)
      : info_(plan.pass(pass)->info),
        is_dkv_(pass == Pass::kDkv),
        head_shards_(plan.options.head_shards),
        q_seq_shards_(plan.options.q_seq_shards),
        heads_(plan.mask.num_heads()),
        heads_per_kv_head_(heads_ / kv_heads),
        entries_(info_.block_mask->shape()[0]) {}

  StepCounts Shard(int64_t head_shard, int64_t q_shard) const {
    const auto [entries, rows, columns] = info_.block_mask->shape();
    const int64_t heads = heads_ / head_shards_, height = rows / q_seq_shards_;
    StepCounts counts;
    counts.computes_mask = info_.q_sequence.has_value();
    counts.stores_mask = info_.partial_mask_blocks.has_value();
    counts.grid = is_dkv_ ? std::array{columns, heads, height} : std::array{heads, height, columns};
    const int64_t first_head = head_shard * heads;
    const int64_t first_entry = EntryOf(first_head);
    std::vector<Entry> walked;
    for (int64_t e = first_entry; e <= EntryOf(first_head + heads - 1); ++e) {
      walked.push_back(Walk(e, q_shard * height, (q_shard + 1) * height));
    }
    const auto entry = [&](int64_t head) -> const Entry& {
      return walked[static_cast<size_t>(EntryOf(head) - first_entry)];
    };
    for (int64_t h = first_head; h < first_head + heads; ++h) {
      const auto& classes = entry(h).classes;
      counts.skipped += classes[0];
      counts.partial += classes[1];
      counts.full += classes[2];
    }
    if (is_dkv_) {
      CountDkv(first_head, heads, columns, entry, &counts);
    } else {
      CountFwd(first_head, heads, height, entry, &counts);
    }
    return counts;
  }

 private:
  int64_t EntryOf(int64_t head) const { return head / (heads_ / entries_); }
  int64_t KvHead(int64_t head) const { return head / heads_per_kv_head_; }

  Entry Walk(int64_t entry, int64_t begin, int64_t end) const {
    const auto runs = [&](const Table& table) {
      const Rows rows{table, entry, begin, end};
      return is_dkv_ ? ColumnByColumn(rows) : std::vector<Run>{RowByRow(rows)};
    };
    Entry walked;
    walked.classes = CountClasses({*info_.block_mask, entry, begin, end});
    walked.next = runs(*info_.data_next);
    walked.stored = info_.mask_next ? runs(*info_.mask_next) : std::vector<Run>(walked.next.size());
    return walked;
  }

  // Heads, then q blocks, then kv blocks.
  template <typename EntryOfHead>
  void CountFwd(int64_t first_head, int64_t heads, int64_t height, const EntryOfHead& entry,
                StepCounts* counts) const {
    counts->outputs = heads * height;
    counts->q_copies = heads * height;
    counts->q_only_copies = height == 1 ? 1 : heads * height;
    counts->kv_copies = counts->kv_only_copies = counts->partial_copies = 1;
    for (int64_t h = first_head; h < first_head + heads; ++h) {
      const Run &next = entry(h).next[0], &stored = entry(h).stored[0];
      counts->kv_copies += next.changes;
      counts->kv_only_copies += next.changes;
      counts->partial_copies += stored.changes;
      if (h == first_head) continue;
      const bool moves = entry(h - 1).next[0].last != next.first;
      counts->kv_copies += moves || KvHead(h) != KvHead(h - 1);
      counts->kv_only_copies += moves;
      counts->partial_copies += entry(h - 1).stored[0].last != stored.first;
    }
    if (!info_.partial_mask_blocks) counts->partial_copies = 0;
  }

  // kv blocks, then heads, then q blocks.
  template <typename EntryOfHead>
  void CountDkv(int64_t first_head, int64_t heads, int64_t columns, const EntryOfHead& entry,
                StepCounts* counts) const {
    const int64_t kv_heads = KvHead(first_head + heads - 1) - KvHead(first_head) + 1;
    counts->outputs = counts->kv_copies = columns * kv_heads;
    counts->kv_only_copies = columns;
    counts->q_copies = counts->q_only_copies = counts->partial_copies = 1;
    const Run *last_next = nullptr, *last_stored = nullptr;
    for (size_t c = 0; c < static_cast<size_t>(columns); ++c) {
      for (int64_t h = first_head; h < first_head + heads; ++h) {
        const Run &next = entry(h).next[c], &stored = entry(h).stored[c];
        counts->q_copies += next.changes;
        counts->q_only_copies += next.changes;
        counts->partial_copies += stored.changes;
        if (last_next != nullptr) {
          const bool moves = last_next->last != next.first;
          counts->q_copies += moves || heads > 1;
          counts->q_only_copies += moves;
          counts->partial_copies += last_stored->last != stored.first;
        }
        last_next = &next;
        last_stored = &stored;
      }
    }
    if (!info_.partial_mask_blocks) counts->partial_copies = 0;
  }

  const MaskInfo& info_;
  const bool is_dkv_;
  const int64_t head_shards_, q_seq_shards_, heads_, heads_per_kv_head_, entries_;
};

void CheckHeads(const Plan& plan, int64_t kv_heads) {
  const int64_t heads = plan.mask.num_heads(), shards = plan.options.head_shards;
  const auto refuse = [](const std::string& text) {
    throw Error(ErrorCode::kInvalidArgument, "[plan] expected " + text);
  };
  if (kv_heads < 1 || heads % kv_heads != 0) {
    refuse(fmt::format("kv_heads ({}) to divide the heads of the mask ({})", kv_heads, heads));
  }
  if (kv_heads > 1 && kv_heads % shards != 0) {
    refuse(fmt::format("kv_heads ({}) to be a multiple of head_shards ({})", kv_heads, shards));
  }
}

void CheckTables(const Plan& plan, Pass pass) {
  const MaskInfo& info = plan.pass(pass)->info;
  const auto require = [&](bool holds, const char* what) {
    if (holds) return;
    throw Error(ErrorCode::kDamaged, fmt::format("[plan] {}: expected {}", PassName(pass), what));
  };
  require(info.block_mask && info.data_next && !info.is_dynamic_mask, "block_mask and data_next");
  const auto& shape = info.block_mask->shape();
  require(shape[0] >= 1 && shape[1] >= 1 && shape[2] >= 1 &&
              plan.mask.num_heads() % shape[0] == 0 && shape[1] % plan.options.q_seq_shards == 0 &&
              info.data_next->shape() == shape &&
              (!info.mask_next || info.mask_next->shape() == shape),
          "tables for its heads and blocks");
}

}  // namespace

std::vector<StepCounts> CountSteps(const Plan& plan, Pass pass, int64_t kv_heads) {
  if (!plan.pass(pass)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[plan] expected a plan with the pass {}", PassName(pass)));
  }
  CheckHeads(plan, kv_heads);
  CheckTables(plan, pass);
  const Counter counter(plan, pass, kv_heads);
  std::vector<StepCounts> shards;
  for (int64_t head_shard = 0; head_shard < plan.options.head_shards; ++head_shard) {
    for (int64_t q_shard = 0; q_shard < plan.options.q_seq_shards; ++q_shard) {
      shards.push_back(counter.Shard(head_shard, q_shard));
    }
  }
  return shards;
}

}  // namespace splashmask
