// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/leaves.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "splashmask/planner/certify/predicate_leaf.h"

namespace splashmask::certify {

namespace {

static_assert(std::endian::native == std::endian::little,
              "bytes are packed as little-endian words");

// Exact for the sum of any three 64-bit integers.
using Wide = __int128;

// kv columns [begin, end), not yet clipped to anything.
struct Interval {
  Wide begin, end;
};
constexpr Wide kFar = Wide{1} << 100;
constexpr Interval kEverything{-kFar, kFar};
constexpr Interval kNothing{0, 0};

Wide FloorMod(Wide a, Wide b) {
  const Wide remainder = a % b;
  return remainder < 0 ? remainder + b : remainder;
}

// Sets bits [begin, end) of `out`, which holds at least `end` bits.
void SetBits(int64_t begin, int64_t end, uint64_t* out) {
  if (begin >= end) return;
  const int64_t first = begin / 64, last = (end - 1) / 64;
  const uint64_t head = ~uint64_t{0} << (begin % 64);
  const uint64_t tail = ~uint64_t{0} >> (63 - (end - 1) % 64);
  if (first == last) {
    out[first] |= head & tail;
    return;
  }
  out[first] |= head;
  std::fill(out + first + 1, out + last, ~uint64_t{0});
  out[last] |= tail;
}

// Sets the columns of `interval` that lie in [kv_begin, kv_begin + count).
void SetInterval(Interval interval, int64_t kv_begin, int64_t count, uint64_t* out) {
  const Wide begin = std::clamp<Wide>(interval.begin - kv_begin, 0, count);
  const Wide end = std::clamp<Wide>(interval.end - kv_begin, 0, count);
  SetBits(static_cast<int64_t>(begin), static_cast<int64_t>(end), out);
}

// 64 bytes to 64 bits; any byte but 0 is a set bit.
uint64_t PackBytes(const std::byte* bytes) {
  uint64_t packed = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t x;
    std::memcpy(&x, bytes + 8 * i, 8);
    // The high bit of each byte, without a carry into the next one.
    x = ((x & 0x7f7f7f7f7f7f7f7f) + 0x7f7f7f7f7f7f7f7f) | x;
    // The product moves the low bit of byte k to bit 56 + k.
    x = ((x >> 7) & 0x0101010101010101) * 0x0102040810204080;
    packed |= (x >> 56) << (8 * i);
  }
  return packed;
}

// A row of these is one interval of columns.
template <typename IntervalOfRow>
class IntervalLeaf final : public Leaf {
 public:
  explicit IntervalLeaf(IntervalOfRow interval) : interval_(std::move(interval)) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    std::fill_n(out, WordsFor(count), 0);
    SetInterval(interval_(Wide{position}), kv_begin, count, out);
  }

 private:
  IntervalOfRow interval_;
};

template <typename IntervalOfRow>
std::unique_ptr<Leaf> ByInterval(IntervalOfRow interval) {
  return std::make_unique<IntervalLeaf<IntervalOfRow>>(std::move(interval));
}

class StrideLeaf final : public Leaf {
 public:
  explicit StrideLeaf(const node::Stride& stride) : stride_(stride) {
    // A word with a visible column in its first `step` bits is this, shifted to that column.
    for (int64_t bit = 0; bit < 64; bit += std::min<int64_t>(stride.step, 64)) {
      pattern_ |= uint64_t{1} << bit;
    }
  }

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    const int64_t step = stride_.step;
    // Columns are visible where kv = position - phase, modulo step.
    auto first =
        static_cast<int64_t>(FloorMod(Wide{position} - stride_.phase - Wide{kv_begin}, step));
    const int64_t advance = 64 % step;
    for (int64_t word = 0; word < WordsFor(count); ++word) {
      out[word] = first < 64 ? pattern_ << first : 0;
      // The first visible column again, in [0, step), now counted from the next word.
      first -= advance;
      if (first < 0) first += step;
    }
  }

 private:
  node::Stride stride_;
  uint64_t pattern_ = 0;
};

class SegmentsLeaf final : public Leaf {
 public:
  explicit SegmentsLeaf(const node::Segments& segments)
      : q_ids_(segments.q_ids), kv_ids_(segments.kv_ids.ToInt64()), pad_(segments.pad) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    const int64_t id = q_ids_.At(position);
    std::fill_n(out, WordsFor(count), 0);
    if (id == pad_) return;
    for (int64_t begin = 0; begin < count; begin += 64) {
      std::byte equal[64] = {};
      const int64_t cells = std::min<int64_t>(64, count - begin);
      const int64_t* ids = kv_ids_.data() + kv_begin + begin;
      for (int64_t i = 0; i < cells; ++i) equal[i] = std::byte{ids[i] == id};
      out[begin / 64] = PackBytes(equal);
    }
  }

  std::optional<int64_t> Key(int64_t position) const override { return q_ids_.At(position); }

 private:
  const Array& q_ids_;
  std::vector<int64_t> kv_ids_;
  std::optional<int64_t> pad_;
};

class BlocksLeaf final : public Leaf {
 public:
  explicit BlocksLeaf(const node::Blocks& blocks) : blocks_(blocks) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    const int64_t block = blocks_.block;
    const std::byte* bits = blocks_.bits.data() + position / block * blocks_.bits.shape()[1];
    std::fill_n(out, WordsFor(count), 0);
    for (int64_t j = kv_begin / block; j <= (kv_begin + count - 1) / block; ++j) {
      if (bits[j] == std::byte{0}) continue;
      SetInterval({Wide{j} * block, Wide{j + 1} * block}, kv_begin, count, out);
    }
  }

  std::optional<int64_t> Key(int64_t position) const override { return position / blocks_.block; }

 private:
  const node::Blocks& blocks_;
};

class DenseLeaf final : public Leaf {
 public:
  explicit DenseLeaf(const Array& array) : array_(array) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    const std::byte* cells = array_.data() + position * array_.shape()[1] + kv_begin;
    for (int64_t word = 0; word < count / 64; ++word) out[word] = PackBytes(cells + 64 * word);
    if (count % 64 != 0) {
      std::byte rest[64] = {};
      std::copy_n(cells + count / 64 * 64, count % 64, rest);
      out[count / 64] = PackBytes(rest);
    }
  }

 private:
  const Array& array_;
};

class CustomLeaf final : public Leaf {
 public:
  explicit CustomLeaf(const CustomFunction& function) : function_(function) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    std::vector<std::byte> cells(static_cast<size_t>(WordsFor(count)) * 64);
    function_.Evaluate({&position, 1}, kv_begin, kv_begin + count, cells.data());
    for (int64_t word = 0; word < WordsFor(count); ++word) {
      out[word] = PackBytes(cells.data() + 64 * word);
    }
  }

 private:
  const CustomFunction& function_;
};

std::unique_ptr<Leaf> MakeDocuments(const node::Documents& documents) {
  std::vector<int64_t> bounds{0};
  for (int64_t length : documents.lengths) bounds.push_back(bounds.back() + length);
  return ByInterval([bounds = std::move(bounds)](Wide q) -> Interval {
    if (q < 0 || q >= bounds.back()) return kNothing;
    const auto end = std::upper_bound(bounds.begin(), bounds.end(), static_cast<int64_t>(q));
    return {end[-1], end[0]};
  });
}

}  // namespace

std::unique_ptr<Leaf> MakeLeaf(const MaskExpr& expr, Shape shape) {
  using LeafPtr = std::unique_ptr<Leaf>;
  return std::visit(
      Overloaded{
          [](const node::Full&) { return ByInterval([](Wide) { return kEverything; }); },
          [](const node::Empty&) { return ByInterval([](Wide) { return kNothing; }); },
          [](const node::Causal& n) {
            return ByInterval([n](Wide q) { return Interval{-kFar, q + n.offset + 1}; });
          },
          [](const node::Local& n) {
            return ByInterval([n](Wide q) {
              const Wide centre = q + n.offset;
              return Interval{n.left ? centre - *n.left : -kFar,
                              n.right ? centre + *n.right + 1 : kFar};
            });
          },
          [](const node::ChunkedCausal& n) {
            return ByInterval([n](Wide q) { return Interval{q - FloorMod(q, n.chunk), q + 1}; });
          },
          [](const node::Prefix& n) {
            return ByInterval([n](Wide) { return Interval{-kFar, n.n}; });
          },
          [](const node::QRange& n) {
            return ByInterval(
                [n](Wide q) { return n.begin <= q && q < n.end ? kEverything : kNothing; });
          },
          [](const node::KvRange& n) {
            return ByInterval([n](Wide) { return Interval{n.begin, n.end}; });
          },
          [](const node::Stride& n) -> LeafPtr { return std::make_unique<StrideLeaf>(n); },
          [](const node::Documents& n) { return MakeDocuments(n); },
          [](const node::Segments& n) -> LeafPtr { return std::make_unique<SegmentsLeaf>(n); },
          [](const node::Blocks& n) -> LeafPtr { return std::make_unique<BlocksLeaf>(n); },
          [](const node::Dense& n) -> LeafPtr { return std::make_unique<DenseLeaf>(n.array); },
          [&](const node::Where& n) { return MakePredicateLeaf(n.predicate, shape); },
          [](const node::Custom& n) -> LeafPtr {
            return std::make_unique<CustomLeaf>(*n.function);
          },
          [](const node::Reorder&) -> LeafPtr { return nullptr; },
          [](const node::Not&) -> LeafPtr { return nullptr; },
          [](const node::Binary&) -> LeafPtr { return nullptr; },
      },
      expr);
}

}  // namespace splashmask::certify
