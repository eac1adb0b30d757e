// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/cells.h"

#include <algorithm>
#include <utility>

#include "splashmask/masks/node.h"

namespace splashmask::certify {

namespace {

constexpr int64_t kTileWords = kTileCells / 64;

// left = left op right, word by word.
void Combine(node::Op op, int64_t words, const uint64_t* right, uint64_t* left) {
  switch (op) {
    case node::Op::kAnd:
      for (int64_t i = 0; i < words; ++i) left[i] &= right[i];
      return;
    case node::Op::kOr:
      for (int64_t i = 0; i < words; ++i) left[i] |= right[i];
      return;
    case node::Op::kXor:
      for (int64_t i = 0; i < words; ++i) left[i] ^= right[i];
      return;
    case node::Op::kSub:
      for (int64_t i = 0; i < words; ++i) left[i] &= ~right[i];
      return;
  }
}

// A mask whose columns are evaluated at other positions: read stretch by stretch of those that
// follow one another.
class KvOrderLeaf final : public Leaf {
 public:
  KvOrderLeaf(const Mask& mask, const Array& positions) : program_(mask), positions_(positions) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    std::fill_n(out, WordsFor(count), 0);
    CellReader reader(program_);
    uint64_t words[kTileWords];
    for (int64_t i = 0; i < count;) {
      const int64_t first = positions_.At(kv_begin + i);
      int64_t cells = 1;
      while (i + cells < count && cells < kTileCells &&
             positions_.At(kv_begin + i + cells) == first + cells) {
        ++cells;
      }
      reader.Read(position, first, cells, words);
      for (int64_t c = 0; c < cells; ++c, ++i) {
        out[i / 64] |= (words[c / 64] >> (c % 64) & 1) << (i % 64);
      }
    }
  }

 private:
  CellProgram program_;
  Array positions_;
};

}  // namespace

CellProgram::CellProgram(const Mask& mask) : mask_(mask) { Append(mask_, 0, 1); }

// Recursion is bounded by kMaxMaskDepth. `depth` operands are alive once `mask` has its value.
void CellProgram::Append(const Mask& mask, int32_t order, int32_t depth) {
  operands_ = std::max(operands_, depth);
  const MaskExpr& expr = mask.node().expr;
  if (std::unique_ptr<Leaf> leaf = MakeLeaf(expr, mask.shape())) {
    AppendLeaf(std::move(leaf), order);
  } else if (const auto* reorder = std::get_if<node::Reorder>(&expr)) {
    if (reorder->q) {
      orders_.push_back({reorder->q->positions, order});
      order = static_cast<int32_t>(orders_.size());
    }
    if (reorder->kv) {
      AppendLeaf(std::make_unique<KvOrderLeaf>(reorder->mask, reorder->kv->positions), order);
    } else {
      Append(reorder->mask, order, depth);
    }
  } else if (const auto* inverse = std::get_if<node::Not>(&expr)) {
    Append(inverse->mask, order, depth);
    steps_.push_back({Kind::kNot});
  } else {
    const auto& binary = std::get<node::Binary>(expr);
    Append(binary.left, order, depth);
    Append(binary.right, order, depth + 1);
    steps_.push_back({Kind::kBinary, -1, binary.op});
  }
}

void CellProgram::AppendLeaf(std::unique_ptr<Leaf> leaf, int32_t order) {
  steps_.push_back({Kind::kLeaf, static_cast<int32_t>(leaves_.size())});
  leaves_.push_back({std::move(leaf), order});
}

CellReader::CellReader(const CellProgram& program)
    : program_(&program),
      positions_(program.orders_.size() + 1),
      operands_(static_cast<size_t>((program.operands_ - 1) * kTileWords)),
      memories_(program.leaves_.size()) {}

void CellReader::FillLeaf(int32_t index, int64_t kv_begin, int64_t count, uint64_t* out) {
  const CellProgram::PlacedLeaf& placed = program_->leaves_[static_cast<size_t>(index)];
  const int64_t position = positions_[static_cast<size_t>(placed.order)];
  const std::optional<int64_t> key = placed.leaf->Key(position);
  Memory& memory = memories_[static_cast<size_t>(index)];
  const int64_t words = (count + 63) / 64;
  if (key && key == memory.key && kv_begin == memory.kv_begin && count == memory.count) {
    std::copy_n(memory.words.data(), words, out);
    return;
  }
  placed.leaf->Fill(position, kv_begin, count, out);
  if (key) {
    memory.key = key;
    memory.kv_begin = kv_begin;
    memory.count = count;
    memory.words.assign(out, out + words);
  }
}

void CellReader::Read(int64_t q, int64_t kv_begin, int64_t count, uint64_t* out) {
  positions_[0] = q;
  for (size_t i = 0; i < program_->orders_.size(); ++i) {
    const CellProgram::Order& order = program_->orders_[i];
    positions_[i + 1] = order.positions.At(positions_[static_cast<size_t>(order.outer)]);
  }

  using Kind = CellProgram::Kind;
  const int64_t words = (count + 63) / 64;
  auto operand = [&](int64_t i) { return i == 0 ? out : operands_.data() + (i - 1) * kTileWords; };
  int64_t alive = 0;
  for (const CellProgram::Step& step : program_->steps_) {
    if (step.kind == Kind::kLeaf) {
      FillLeaf(step.leaf, kv_begin, count, operand(alive++));
    } else if (step.kind == Kind::kNot) {
      uint64_t* value = operand(alive - 1);
      for (int64_t i = 0; i < words; ++i) value[i] = ~value[i];
    } else {
      --alive;
      Combine(step.op, words, operand(alive), operand(alive - 1));
    }
  }
  if (count % 64 != 0) out[words - 1] &= (uint64_t{1} << count % 64) - 1;
}

}  // namespace splashmask::certify
