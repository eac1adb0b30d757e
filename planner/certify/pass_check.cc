// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/pass_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/certify/partial_blocks.h"

namespace splashmask::certify {

namespace {

constexpr char kNone[] = "None";

template <typename Sizes>
std::string DescribeArray(DType dtype, const Sizes& shape) {
  return fmt::format("{}[{}]", DTypeName(dtype), fmt::join(shape, ", "));
}

std::string DescribeMask(const std::optional<Mask>& mask) {
  if (!mask) return kNone;
  return fmt::format("{} of shape ({}, {})", ToString(*mask), mask->shape().q_len,
                     mask->shape().kv_len);
}

const Mask& WithoutReorder(const Mask& mask) {
  const auto* reorder = std::get_if<node::Reorder>(&mask.node().expr);
  return reorder == nullptr ? mask : reorder->mask;
}

// The q positions that a computable mask hands to the kernel.
Array QPositions(const Mask& mask) {
  const auto* reorder = std::get_if<node::Reorder>(&mask.node().expr);
  if (reorder != nullptr) return reorder->q_positions;
  std::vector<int32_t> rows(static_cast<size_t>(mask.shape().q_len));
  std::iota(rows.begin(), rows.end(), 0);
  return Array::FromVector(rows);
}

// Whether anything but a position is looked up to decide a cell.
bool ReadsMore(const Mask& mask) {
  const MaskExpr& expr = mask.node().expr;
  if (const auto* inverse = std::get_if<node::Not>(&expr)) return ReadsMore(inverse->mask);
  if (const auto* pair = std::get_if<node::Binary>(&expr)) {
    return ReadsMore(pair->left) || ReadsMore(pair->right);
  }
  return mask.node().has_indexed_leaf || std::holds_alternative<node::Documents>(expr) ||
         std::holds_alternative<node::Custom>(expr) || std::holds_alternative<node::Reorder>(expr);
}

}  // namespace

std::optional<Mask> ComputedByKernel(const HeadEntries& heads, const PlanOptions& options) {
  if (heads.masks.size() != 1) return std::nullopt;
  const Mask& leaf = WithoutReorder(heads.masks.front());
  const auto* custom = std::get_if<node::Custom>(&leaf.node().expr);
  const bool computable = (custom != nullptr && custom->function->computable()) ||
                          std::holds_alternative<node::Causal>(leaf.node().expr) ||
                          std::holds_alternative<node::Local>(leaf.node().expr) ||
                          std::holds_alternative<node::ChunkedCausal>(leaf.node().expr) ||
                          (options.simplify && !ReadsMore(leaf));
  return computable ? std::optional(leaf) : std::nullopt;
}

PassCheck::PassCheck(const Plan& plan, Pass pass, const HeadEntries& heads, ProvenGrid& grid,
                     RowProgress& progress)
    : plan_(plan),
      pass_(pass),
      compiled_(*plan.pass(pass)),
      heads_(heads),
      grid_(grid),
      progress_(progress),
      is_dkv_(pass == Pass::kDkv),
      leaf_(ComputedByKernel(heads, plan.options)),
      layout_(grid.truth, is_dkv_,
              plan.options.shrink_grid && heads.masks.size() == 1 &&
                  !(is_dkv_ && plan.options.use_fused_bwd_kernel),
              plan.options.q_seq_shards) {}

std::optional<Mismatch> PassCheck::Run() {
  const MaskInfo& info = compiled_.info;
  const TableInput input{grid_.truth, heads_, layout_, plan_.options, is_dkv_};
  Result wrong;
  if ((wrong = CheckMaskFunction())) return wrong;
  if ((wrong = CheckQSequence())) return wrong;
  if (info.is_dynamic_mask) return Wrong("is_dynamic_mask", kNone, "True");
  if ((wrong = CheckTable("block_mask", info.block_mask, ExpectedBlockMask(input)))) return wrong;
  if ((wrong = CheckTable("data_next", info.data_next, ExpectedDataNext(input)))) return wrong;
  if ((wrong = CheckPartialMaskBlocks())) return wrong;
  if (grid_.reference == nullptr || leaf_) {
    if (info.mask_next) {
      return Wrong("mask_next", kNone,
                   DescribeArray(info.mask_next->dtype(), info.mask_next->shape()));
    }
    return std::nullopt;
  }
  return CheckTable("mask_next", info.mask_next, ExpectedMaskNext(input, grid_.ids));
}

Mismatch PassCheck::Wrong(const char* table, std::string expected, std::string got) const {
  Mismatch mismatch;
  mismatch.pass = pass_;
  mismatch.table = table;
  mismatch.expected = std::move(expected);
  mismatch.got = std::move(got);
  return mismatch;
}

PassCheck::Result PassCheck::CheckMaskFunction() const {
  if (compiled_.mask_function == leaf_) return std::nullopt;
  return Wrong("mask_function", DescribeMask(leaf_), DescribeMask(compiled_.mask_function));
}

PassCheck::Result PassCheck::CheckQSequence() {
  const std::optional<Array>& got = compiled_.info.q_sequence;
  const std::string got_type = got ? DescribeArray(got->dtype(), got->shape()) : kNone;
  if (!leaf_) return got ? Result(Wrong("q_sequence", kNone, got_type)) : std::nullopt;
  const Array expected = QPositions(heads_.masks.front());
  const std::string expected_type = DescribeArray(expected.dtype(), expected.shape());
  if (got_type != expected_type) return Wrong("q_sequence", expected_type, got_type);
  entries_ += expected.size();
  for (int64_t row = 0; row < expected.size(); ++row) {
    if (got->At(row) == expected.At(row)) continue;
    Mismatch mismatch =
        Wrong("q_sequence", fmt::to_string(expected.At(row)), fmt::to_string(got->At(row)));
    mismatch.index = {row};
    mismatch.q = row;
    return mismatch;
  }
  return std::nullopt;
}

PassCheck::Result PassCheck::CheckTable(const char* name, const std::optional<Table>& got,
                                        const std::vector<int32_t>& expected) {
  const std::string got_type = got ? DescribeArray(got->dtype(), got->shape()) : kNone;
  const int64_t shape[] = {heads_.size(), layout_.rows(), layout_.columns()};
  const std::string expected_type =
      DescribeArray(ExpectedDType(expected, plan_.options.downcast_smem_data), shape);
  if (got_type != expected_type) return Wrong(name, expected_type, got_type);
  entries_ += got->size();
  for (int64_t i = 0; i < got->size(); ++i) {
    const int32_t value = got->At(i);
    if (value == expected[static_cast<size_t>(i)]) continue;
    const int64_t entry = i / (shape[1] * shape[2]), row = i / shape[2] % shape[1],
                  column = i % shape[2];
    Mismatch mismatch =
        Wrong(name, fmt::to_string(expected[static_cast<size_t>(i)]), fmt::to_string(value));
    mismatch.index = {entry, row, column};
    LocateElement(entry, layout_.At(row, column), value, &mismatch);
    return mismatch;
  }
  return std::nullopt;
}

void PassCheck::LocateElement(int64_t entry, const Place& place, int32_t got,
                              Mismatch* mismatch) const {
  if (place.kind != Place::Kind::kBlock) return;
  const BlockShape block = compiled_.block;
  const int64_t mask = heads_.mask_of_entry[static_cast<size_t>(entry)];
  const BlockAt at{mask, place.q_block, place.kv_block};
  mismatch->head = heads_.head_of_entry[static_cast<size_t>(entry)];
  mismatch->q = place.q_block * block.q;
  mismatch->kv = place.kv_block * block.kv;
  if (mismatch->table != "block_mask" ||
      grid_.truth.ClassOf(grid_.truth.Index(at)) != BlockClass::kPartial) {
    return;  // The first cell of the block is as good as any.
  }
  // A partial block taken for a full one shows in a cell that is masked, and the other way round.
  const bool shows = got != static_cast<int32_t>(BlockClass::kFull);
  BlockPainter painter(grid_.truth, false);
  const std::vector<std::byte>& bits = painter.Draw(at);
  const int64_t row_bytes = (block.kv + 7) / 8;
  for (int64_t cell = 0; cell < block.q * block.kv; ++cell) {
    const int64_t q = cell / block.kv, kv = cell % block.kv;
    const auto byte = std::to_integer<unsigned>(bits[static_cast<size_t>(q * row_bytes + kv / 8)]);
    if ((byte >> (kv % 8) & 1) == shows) {
      *mismatch->q += q;
      *mismatch->kv += kv;
      return;
    }
  }
}

std::string PassCheck::DescribeBlocks(const std::string& count) const {
  const BlockShape block = compiled_.block;
  return fmt::format("bool[{}, {}, {}]", count, is_dkv_ ? block.kv : block.q,
                     is_dkv_ ? block.q : block.kv);
}

PassCheck::Result PassCheck::CheckPartialMaskBlocks() {
  const std::optional<PartialMaskBlocks>& stored = compiled_.info.partial_mask_blocks;
  std::string got_type = kNone;
  if (stored) {
    std::vector<int64_t> shape = stored->leading();
    shape.insert(shape.end(), {stored->rows(), stored->columns()});
    got_type = DescribeArray(DType::kBool, shape);
  }
  int64_t partial = 0;
  std::optional<BlockAt> first;
  for (int64_t index = 0; index < grid_.truth.size(); ++index) {
    if (grid_.truth.ClassOf(index) != BlockClass::kPartial) continue;
    if (!first) first = grid_.truth.At(index);
    ++partial;
  }
  if (leaf_ || partial == 0) {
    return stored ? Result(Wrong("partial_mask_blocks", kNone, got_type)) : std::nullopt;
  }
  if (!stored || stored->leading().size() != 1 ||
      got_type != DescribeBlocks(fmt::to_string(stored->count()))) {
    return Wrong("partial_mask_blocks", DescribeBlocks("*"), got_type);
  }
  if (stored->count() > partial) {
    return Wrong("partial_mask_blocks", DescribeBlocks(fmt::format("{} or fewer", partial)),
                 got_type);
  }
  return grid_.reference == nullptr ? ProveReference(*stored) : CompareWithReference(*stored);
}

// Equal blocks of the mask equal the same stored block, and it is the lowest, so following the
// order of the mask through the matches proves content, order, distinctness and use all at once.
PassCheck::Result PassCheck::ProveReference(const PartialMaskBlocks& stored) {
  std::vector<int32_t> matches = MatchPartialBlocks(grid_.truth, stored, is_dkv_, progress_);
  int32_t used = 0;
  for (int64_t index = 0; index < grid_.truth.size(); ++index) {
    if (grid_.truth.ClassOf(index) != BlockClass::kPartial) continue;
    const int32_t match = matches[static_cast<size_t>(index)];
    if (match == used) ++used;
    if (match >= 0 && match < used) continue;
    // A block that none of the earlier ones equals, and that stored block `used` should hold.
    return WrongBit(stored, used, grid_.truth.At(index));
  }
  if (used != stored.count()) {
    return Wrong("partial_mask_blocks", DescribeBlocks(fmt::to_string(used)),
                 DescribeBlocks(fmt::to_string(stored.count())));
  }
  grid_.ids = std::move(matches);
  grid_.reference = &stored;
  grid_.reference_is_dkv = is_dkv_;
  return std::nullopt;
}

PassCheck::Result PassCheck::CompareWithReference(const PartialMaskBlocks& stored) const {
  const PartialMaskBlocks& reference = *grid_.reference;
  if (stored.count() != reference.count()) {
    return Wrong("partial_mask_blocks", DescribeBlocks(fmt::to_string(reference.count())),
                 DescribeBlocks(fmt::to_string(stored.count())));
  }
  const bool transpose = is_dkv_ != grid_.reference_is_dkv;
  std::vector<uint8_t> equal(static_cast<size_t>(stored.count()));
  tbb::parallel_for(tbb::blocked_range<int64_t>(0, stored.count()), [&](const auto& range) {
    std::vector<std::byte> turned(static_cast<size_t>(stored.block_bytes()));
    for (int64_t id = range.begin(); id < range.end(); ++id) {
      const std::byte* expected = reference.block(id);
      if (transpose) {
        TransposeBits(expected, reference.rows(), reference.columns(), turned.data());
        expected = turned.data();
      }
      equal[static_cast<size_t>(id)] =
          std::memcmp(stored.block(id), expected, static_cast<size_t>(stored.block_bytes())) == 0;
    }
  });
  const auto differs = std::find(equal.begin(), equal.end(), 0);
  if (differs == equal.end()) return std::nullopt;
  const auto id = static_cast<int32_t>(differs - equal.begin());
  const auto shown = std::find(grid_.ids.begin(), grid_.ids.end(), id);
  return WrongBit(stored, id, grid_.truth.At(shown - grid_.ids.begin()));
}

Mismatch PassCheck::WrongBit(const PartialMaskBlocks& stored, int64_t id, const BlockAt& at) const {
  const BlockShape block = compiled_.block;
  if (id == stored.count()) {
    Mismatch mismatch =
        Wrong("partial_mask_blocks", DescribeBlocks(fmt::format("{} or more", id + 1)),
              DescribeBlocks(fmt::to_string(id)));
    mismatch.head = heads_.first_head[static_cast<size_t>(at.mask)];
    mismatch.q = at.q_block * block.q;
    mismatch.kv = at.kv_block * block.kv;
    return mismatch;
  }
  BlockPainter painter(grid_.truth, is_dkv_);
  const std::vector<std::byte>& expected = painter.Draw(at);
  const std::byte* got = stored.block(id);
  const int64_t byte = std::mismatch(expected.begin(), expected.end(), got).second - got;
  const auto difference =
      std::to_integer<unsigned>(got[byte] ^ expected[static_cast<size_t>(byte)]);
  const int64_t bit = std::countr_zero(difference);
  const int64_t row = byte / stored.row_bytes(), column = byte % stored.row_bytes() * 8 + bit;
  const bool got_bit = (std::to_integer<unsigned>(got[byte]) >> bit & 1) != 0;
  if (column >= stored.columns()) {
    Mismatch mismatch = Wrong("partial_mask_blocks", "pad bit 0", "1");
    mismatch.index = {id, row, column};
    return mismatch;
  }
  Mismatch mismatch =
      Wrong("partial_mask_blocks", got_bit ? "False" : "True", got_bit ? "True" : "False");
  mismatch.index = {id, row, column};
  mismatch.head = heads_.first_head[static_cast<size_t>(at.mask)];
  mismatch.q = at.q_block * block.q + (is_dkv_ ? column : row);
  mismatch.kv = at.kv_block * block.kv + (is_dkv_ ? row : column);
  return mismatch;
}

}  // namespace splashmask::certify
