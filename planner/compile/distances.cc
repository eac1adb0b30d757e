// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/distances.h"

#include <fmt/format.h>

#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/bits.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/check_options.h"

namespace splashmask {

namespace {

[[noreturn]] void RefuseLeaf(const Mask& leaf) {
  std::string way_out;
  if (std::holds_alternative<node::ChunkedCausal>(leaf.node().expr)) {
    way_out = ": fold chunks into the ids and use causal()";
  } else if (std::holds_alternative<node::Documents>(leaf.node().expr) ||
             std::holds_alternative<node::Segments>(leaf.node().expr)) {
    way_out = ": documents belong in the ids";
  }
  Expected("compile_packed",
           fmt::format("a mask that depends on q - kv alone (full, causal, local, stride and their "
                       "combinations), "
                       "as positions count from the start of the whole sequence; got {}{}",
                       ToString(leaf), way_out));
}

// The distances of masks of one length, as bits: bit 0 is the lowest, -(length - 1).
class DistanceBits {
 public:
  explicit DistanceBits(int64_t length)
      : low_(1 - length), high_(length - 1), words_(WordsFor(count())) {}

  int64_t count() const { return high_ - low_ + 1; }

  // A leaf is a single progression, or nothing.
  std::optional<Progression> Leaf(const Mask& mask) const {
    using Result = std::optional<Progression>;
    return std::visit(Overloaded{
                          [&](const node::Full&) -> Result { return Clip(low_, high_, 1); },
                          [&](const node::Empty&) -> Result { return std::nullopt; },
                          [&](const node::Causal& n) { return Clip(-Wide{n.offset}, high_, 1); },
                          [&](const node::Local& n) {
                            const Wide first = n.right ? -Wide{n.offset} - *n.right : Wide{low_};
                            const Wide last = n.left ? Wide{*n.left} - n.offset : Wide{high_};
                            return Clip(first, last, 1);
                          },
                          [&](const node::Stride& n) {
                            const int64_t ahead =
                                FloorMod(n.phase - FloorMod(low_, n.step), n.step);
                            return Clip(Wide{low_} + ahead, high_, n.step);
                          },
                          [&](const auto&) -> Result { RefuseLeaf(mask); },
                      },
                      mask.node().expr);
  }

  // Draws the distances of `mask` into words() words.
  void Draw(const Mask& mask, uint64_t* row) const {
    if (const auto* negation = std::get_if<node::Not>(&mask.node().expr)) {
      Draw(negation->mask, row);
      FlipBits(row, count());
      return;
    }
    if (const auto* binary = std::get_if<node::Binary>(&mask.node().expr)) {
      Draw(binary->left, row);
      std::vector<uint64_t> right(static_cast<size_t>(words_));
      Draw(binary->right, right.data());
      switch (binary->op) {
        case node::Op::kAnd:
          return AndWords(row, right.data(), words_);
        case node::Op::kOr:
          return OrWords(row, right.data(), words_);
        case node::Op::kXor:
          return XorWords(row, right.data(), words_);
        case node::Op::kSub:
          return AndNotWords(row, right.data(), words_);
      }
    }
    Clear(row);
    if (const std::optional<Progression> leaf = Leaf(mask)) Set(*leaf, row);
  }

  void Clear(uint64_t* row) const { FillRow(row, count(), false); }

  void Set(const Progression& progression, uint64_t* row) const {
    const int64_t first = progression.first - low_, last = progression.last - low_;
    if (progression.step == 1) return SetBits(row, first, last + 1);
    for (int64_t bit = first; bit <= last; bit += progression.step) SetBits(row, bit, bit + 1);
  }

  // The runs of bits in each residue class of `step`.
  Distances Runs(const uint64_t* row, int64_t step) const {
    Distances found;
    const auto is_set = [&](int64_t bit) { return (row[bit / 64] >> (bit % 64) & 1) != 0; };
    for (int64_t residue = 0; residue < std::min(step, count()); ++residue) {
      for (int64_t bit = residue; bit < count(); bit += step) {
        if (!is_set(bit)) continue;
        const int64_t first = bit;
        while (bit + step < count() && is_set(bit + step)) bit += step;
        found.push_back({low_ + first, low_ + bit, first == bit ? 1 : step});
      }
    }
    return found;
  }

  int64_t words() const { return words_; }

 private:
  std::optional<Progression> Clip(Wide first, Wide last, int64_t step) const {
    first = std::max<Wide>(first, low_);
    last = std::min<Wide>(last, high_);
    if (first > last) return std::nullopt;
    last = first + (last - first) / step * step;
    return Progression{static_cast<int64_t>(first), static_cast<int64_t>(last),
                       first == last ? 1 : step};
  }

  const int64_t low_, high_, words_;
};

// The least common multiple of all strides of an expression; 1 when it exceeds `most`, as there is
// no period to find then.
int64_t Period(const Mask& mask, int64_t most) {
  if (const auto* stride = std::get_if<node::Stride>(&mask.node().expr)) {
    return stride->step <= most ? stride->step : 1;
  }
  if (const auto* negation = std::get_if<node::Not>(&mask.node().expr)) {
    return Period(negation->mask, most);
  }
  const auto* binary = std::get_if<node::Binary>(&mask.node().expr);
  if (binary == nullptr) return 1;
  const int64_t left = Period(binary->left, most), right = Period(binary->right, most);
  const int64_t both = left / std::gcd(left, right);
  return both <= most / right ? both * right : 1;
}

// Any mask as progressions: its runs, those of each residue class of its period, or the runs of
// several distances and the classes of single ones, whichever are fewest.
Distances FewestProgressions(const Mask& mask, const DistanceBits& bits) {
  std::vector<uint64_t> row(static_cast<size_t>(bits.words()));
  bits.Draw(mask, row.data());
  Distances runs = bits.Runs(row.data(), 1);
  const int64_t period = Period(mask, bits.count());
  if (period == 1 || runs.size() == 1) return runs;

  Distances classes = bits.Runs(row.data(), period);
  Distances mixed;
  bits.Clear(row.data());
  for (const Progression& run : runs) {
    if (run.first == run.last) {
      bits.Set(run, row.data());
    } else {
      mixed.push_back(run);
    }
  }
  const Distances singles = bits.Runs(row.data(), period);
  mixed.insert(mixed.end(), singles.begin(), singles.end());

  Distances& fewest = classes.size() < runs.size() ? classes : runs;
  return mixed.size() < fewest.size() ? mixed : fewest;
}

void Append(const Mask& mask, const DistanceBits& bits, Distances* distances) {
  const MaskExpr& expr = mask.node().expr;
  const auto* binary = std::get_if<node::Binary>(&expr);
  if (binary != nullptr && binary->op == node::Op::kOr) {
    Append(binary->left, bits, distances);
    Append(binary->right, bits, distances);
  } else if (binary == nullptr && !std::holds_alternative<node::Not>(expr)) {
    if (const std::optional<Progression> leaf = bits.Leaf(mask)) distances->push_back(*leaf);
  } else {
    const Distances found = FewestProgressions(mask, bits);
    distances->insert(distances->end(), found.begin(), found.end());
  }
}

}  // namespace

Distances AttendedDistances(const Mask& mask) {
  const Shape shape = mask.shape();
  if (shape.q_len != shape.kv_len) {
    Expected("compile_packed",
             fmt::format("a square mask, as q and kv are the same tokens, got {} x {}", shape.q_len,
                         shape.kv_len));
  }
  Distances distances;
  Append(mask, DistanceBits(shape.q_len), &distances);
  const bool sees_itself = std::any_of(distances.begin(), distances.end(),
                                       [](const Progression& p) { return p.Meets(0, 0); });
  if (!sees_itself) {
    Expected("compile_packed", fmt::format("a mask in which every token sees itself, or a row "
                                           "might see nothing and become NaN; got "
                                           "{}",
                                           ToString(mask)));
  }
  return distances;
}

}  // namespace splashmask
