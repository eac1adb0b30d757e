// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/balance.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <string>

#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"
#include "splashmask/planner/cost/deal_blocks.h"

namespace splashmask {

namespace {

constexpr std::pair<BalanceMethod, std::string_view> kMethodNames[] = {
    {BalanceMethod::kContiguous, "contiguous"},
    {BalanceMethod::kZigzag, "zigzag"},
    {BalanceMethod::kStriped, "striped"},
    {BalanceMethod::kLpt, "lpt"}};
constexpr std::pair<WorkUnit, std::string_view> kUnitNames[] = {{WorkUnit::kBlocks, "blocks"},
                                                                {WorkUnit::kPairs, "pairs"}};

[[noreturn]] void Refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[balance] expected " + what);
}

void AddTimes(int64_t work, int64_t times, int64_t* sum) {
  int64_t product = 0;
  if (__builtin_mul_overflow(work, times, &product) || __builtin_add_overflow(*sum, product, sum)) {
    throw Error(ErrorCode::kTooLarge, "[balance] expected work within 64 bits, got more");
  }
}

void AddTimes(const std::vector<int64_t>& work, int64_t times, std::vector<int64_t>* sums) {
  sums->resize(work.size());
  for (size_t i = 0; i < work.size(); ++i) AddTimes(work[i], times, &(*sums)[i]);
}

// Of as many consecutive parts as `parts` says.
std::vector<int64_t> Joined(const std::vector<int64_t>& work, int64_t parts) {
  std::vector<int64_t> sums(static_cast<size_t>(parts));
  const size_t size = work.size() / sums.size();
  for (size_t i = 0; i < work.size(); ++i) AddTimes(work[i], 1, &sums[i / size]);
  return sums;
}

// Which block each of the reordered q blocks is, unless one holds positions of several.
std::optional<std::vector<int64_t>> WholeBlocks(const Array& permutation, int64_t block_q) {
  std::vector<int64_t> blocks;
  const bool all = permutation.AllOf([&](int64_t row, int64_t position) {
    if (row % block_q == 0) blocks.push_back(position / block_q);
    return position / block_q == blocks.back();
  });
  return all ? std::optional(std::move(blocks)) : std::nullopt;
}

std::vector<int64_t> Gather(const std::vector<int64_t>& work, const std::vector<int64_t>& from) {
  std::vector<int64_t> gathered;
  for (const int64_t i : from) gathered.push_back(work[static_cast<size_t>(i)]);
  return gathered;
}

Array RowNumbers(int64_t count) {
  std::vector<int32_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return Array::FromVector(rows);
}

Array Invert(const Array& permutation) {
  std::vector<int32_t> inverse(static_cast<size_t>(permutation.size()));
  permutation.ForEach([&](int64_t row, int64_t position) {
    inverse[static_cast<size_t>(position)] = static_cast<int32_t>(row);
  });
  return Array::FromVector(inverse);
}

MultiHeadMask ReorderHeads(const MultiHeadMask& mask, const Positions& order) {
  std::map<const MaskNode*, Mask> reordered;  // Heads that share a mask still do.
  std::vector<Mask> heads;
  for (const Mask& head : mask.masks()) {
    auto at = reordered.find(&head.node());
    if (at == reordered.end()) at = reordered.emplace(&head.node(), head.Reorder(order)).first;
    heads.push_back(at->second);
  }
  return MultiHeadMask(std::move(heads));
}

template <typename Value, size_t kSize>
std::string_view NameOf(const std::pair<Value, std::string_view> (&names)[kSize], Value value) {
  return std::ranges::find(names, value, &std::pair<Value, std::string_view>::first)->second;
}

template <typename Value, size_t kSize>
std::optional<Value> Named(const std::pair<Value, std::string_view> (&names)[kSize],
                           std::string_view name) {
  for (const auto& [value, its_name] : names) {
    if (its_name == name) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string_view BalanceMethodName(BalanceMethod method) { return NameOf(kMethodNames, method); }

BalanceMethod BalanceMethodFromName(std::string_view name) {
  if (const auto method = Named(kMethodNames, name)) return *method;
  Refuse(fmt::format("method contiguous, zigzag, striped or lpt, got '{}'", name));
}

std::string_view WorkUnitName(WorkUnit unit) { return NameOf(kUnitNames, unit); }

WorkUnit WorkUnitFromName(std::string_view name) {
  if (const auto unit = Named(kUnitNames, name)) return *unit;
  Refuse(fmt::format("unit blocks or pairs, got '{}'", name));
}

double Imbalance(const std::vector<int64_t>& work) {
  double sum = 0, most = 0;
  for (const int64_t of_part : work) {
    sum += static_cast<double>(of_part);
    most = std::max(most, static_cast<double>(of_part));
  }
  return sum == 0 ? 1 : most * static_cast<double>(work.size()) / sum;
}

std::vector<std::pair<int64_t, int64_t>> ShardBalance::RangesOf(int64_t shard) const {
  const int64_t rows = permutation.size() / shards();
  std::vector<int64_t> positions(static_cast<size_t>(rows));
  permutation.Read(shard * rows, positions);
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const int64_t position : positions) {
    if (!ranges.empty() && ranges.back().second == position) {
      ++ranges.back().second;
    } else {
      ranges.emplace_back(position, position + 1);
    }
  }
  return ranges;
}

MultiHeadMask ShardBalance::Reorder(const MultiHeadMask& mask) const {
  return ReorderHeads(mask, order);
}

ShardBalancer::ShardBalancer(std::vector<WeightedMask> masks, const BalanceOptions& options,
                             Measure measure)
    : masks_(std::move(masks)), options_(options), measure_(std::move(measure)) {
  if (masks_.empty()) Refuse("at least one mask, got none");
  const Shape shape = masks_.front().mask.shape();
  for (const auto& [mask, weight] : masks_) {
    if (mask.shape() != shape) {
      Refuse(fmt::format("masks of one shape ({} x {}), got one of {} x {}", shape.q_len,
                         shape.kv_len, mask.shape().q_len, mask.shape().kv_len));
    }
    if (weight < 1) Refuse(fmt::format("weights of at least 1, got {}", weight));
  }
  const auto [shards, block_q, unit] = options;
  if (shards < 1) Refuse(fmt::format("shards of at least 1, got {}", shards));
  if (block_q < 1) Refuse(fmt::format("block_q of at least 1, got {}", block_q));
  if (shape.q_len % shards != 0 || shape.q_len / shards % block_q != 0) {
    Refuse(
        fmt::format("as many q blocks in each shard, got q_len {}, shards {} and block_q {}: "
                    "shards times block_q has to divide q_len",
                    shape.q_len, shards, block_q));
  }
  if (shape.q_len > std::numeric_limits<int32_t>::max()) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[balance] expected q_len below 2^31, got {}", shape.q_len));
  }
  for (const auto& [mask, weight] : masks_) of_blocks_.push_back(measure_(mask));
}

std::vector<int64_t> ShardBalancer::WeightedWork() const {
  std::vector<int64_t> work;
  for (size_t i = 0; i < masks_.size(); ++i) {
    const PartWork& of_mask = of_blocks_[i];
    AddTimes(options_.unit == WorkUnit::kBlocks ? of_mask.blocks : of_mask.pairs, masks_[i].weight,
             &work);
  }
  int64_t sum = 0;
  for (const int64_t of_block : work) AddTimes(of_block, 1, &sum);
  return work;
}

Positions ShardBalancer::OrderOf(BalanceMethod method) const {
  const int64_t q_len = masks_.front().mask.shape().q_len;
  switch (method) {
    case BalanceMethod::kContiguous:
      return Positions::FromArray(RowNumbers(q_len));
    case BalanceMethod::kZigzag:
      return Positions::Zigzag(options_.shards);
    case BalanceMethod::kStriped:
      return Positions::Striped(options_.shards);
    case BalanceMethod::kLpt:
      break;
  }
  std::vector<int32_t> positions;
  for (const std::vector<int64_t>& blocks : DealBlocks(WeightedWork(), options_.shards)) {
    for (const int64_t block : blocks) {
      for (int64_t i = 0; i < options_.block_q; ++i) {
        positions.push_back(static_cast<int32_t>(block * options_.block_q + i));
      }
    }
  }
  return Positions::FromArray(Array::FromVector(positions));
}

ShardBalance ShardBalancer::Balance(BalanceMethod method) const {
  ShardBalance balance;
  balance.method = method;
  balance.order = OrderOf(method);
  balance.permutation =
      balance.order.kind == Positions::Kind::kArray
          ? balance.order.array
          : node::LayoutPositions(balance.order, "q", masks_.front().mask.shape().q_len);
  balance.inverse = Invert(balance.permutation);

  const auto blocks = WholeBlocks(balance.permutation, options_.block_q);
  balance.keeps_blocks = blocks.has_value();
  for (size_t i = 0; i < masks_.size(); ++i) {
    const PartWork of_rows = blocks ? PartWork{Gather(of_blocks_[i].pairs, *blocks),
                                               Gather(of_blocks_[i].blocks, *blocks)}
                                    : measure_(balance.Reorder(masks_[i].mask));
    const PartWork of_shards{Joined(of_rows.pairs, options_.shards),
                             Joined(of_rows.blocks, options_.shards)};
    AddTimes(of_shards.pairs, masks_[i].weight, &balance.total.pairs);
    AddTimes(of_shards.blocks, masks_[i].weight, &balance.total.blocks);
    balance.of_masks.push_back(of_shards);
  }
  Joined(balance.total.pairs, 1);  // That sums over the shards stay within 64 bits, too.
  Joined(balance.total.blocks, 1);
  return balance;
}

}  // namespace splashmask
