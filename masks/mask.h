// SPDX-License-Identifier: Apache-2.0
#pragma once
// The mask expression: an immutable value that says which (q, kv) pairs attend.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "splashmask/masks/array.h"

namespace splashmask {

class CustomFunction;
class Predicate;
struct MaskNode;

/// Number of query and key positions.
struct Shape {
  int64_t q_len = 0;
  int64_t kv_len = 0;
  friend bool operator==(const Shape&, const Shape&) = default;
};

/// Where each row, or each column, of a reordered mask is evaluated: an array of positions, or one
/// of the two standard layouts of context parallelism.
struct Positions {
  enum class Kind : uint8_t { kArray, kZigzag, kStriped };

  /// Row (column) r is evaluated at position `positions[r]`; 1-D, any integer dtype, which is kept.
  static Positions FromArray(Array positions);
  /// 2n equal pieces; shard i gets pieces i and 2n-1-i.
  static Positions Zigzag(int64_t n);
  /// Shard i gets the positions congruent to i modulo n.
  static Positions Striped(int64_t n);

  Kind kind = Kind::kArray;
  Array array;
  int64_t n = 0;
};

/// An immutable mask of a given shape. True means *attend*. Cheap to copy, safe to share between
/// threads. Arithmetic is exact: offsets and windows may be any 64-bit integers. Equality is
/// structural (`a & b` differs from `b & a`), arrays count by content; it holds exactly when the
/// canonical texts (print.h) are equal.
///
/// Every factory throws `Error`: kInvalidArgument for a shape that is not positive or a parameter
/// outside its range, kInvalidArray for an array that does not fit.
class Mask {
 public:
  static Mask Full(Shape shape);
  static Mask Empty(Shape shape);
  /// q + offset >= kv
  static Mask Causal(Shape shape, int64_t offset = 0);
  /// q + offset - left <= kv <= q + offset + right; nullopt is unbounded on that side.
  static Mask Local(Shape shape, std::optional<int64_t> left, std::optional<int64_t> right,
                    int64_t offset = 0);
  /// q // chunk == kv // chunk and q >= kv; chunk >= 1. Floor division.
  static Mask ChunkedCausal(Shape shape, int64_t chunk);
  /// kv < n
  static Mask Prefix(Shape shape, int64_t n);
  /// begin <= q < end
  static Mask QRange(Shape shape, int64_t begin, int64_t end);
  /// begin <= kv < end
  static Mask KvRange(Shape shape, int64_t begin, int64_t end);
  /// (q - kv) mod step == phase, the modulus never negative; step >= 1, 0 <= phase < step.
  static Mask Stride(Shape shape, int64_t step, int64_t phase = 0);
  /// Same document. Lengths are >= 0 and sum to at most each axis; positions past the last document
  /// are padding and see nothing.
  static Mask Documents(Shape shape, std::vector<int64_t> lengths);
  /// The same, from a 1-D integer array, which the text form names.
  static Mask Documents(Shape shape, Array lengths);
  /// q_ids[q] == kv_ids[kv], neither equal to `pad`; 1-D integer arrays [q_len] and [kv_len].
  static Mask Segments(Shape shape, Array q_ids, Array kv_ids,
                       std::optional<int64_t> pad = std::nullopt);
  /// bits[q // block, kv // block]; a 2-D bool array [ceil(q_len/block), ceil(kv_len/block)].
  static Mask Blocks(Shape shape, Array bits, int64_t block);
  /// array[q, kv]; a 2-D bool array [q_len, kv_len].
  static Mask Dense(Shape shape, Array array);

  /// What the predicate says of q, kv, q_len and kv_len: integers, `+ - * // %`, comparisons, `and
  /// or not`, `abs min max`, with Python's meaning in 64 bits. Throws kSyntax for text that is no
  /// such condition, kInvalidArgument where a cell of the shape divides by zero or leaves 64 bits:
  /// it names the first in row order.
  static Mask Where(Shape shape, std::string_view predicate);
  static Mask Where(Shape shape, const Predicate& predicate);

  /// What the function says. It has no text form: such a mask cannot be stored.
  static Mask Custom(Shape shape, std::shared_ptr<const CustomFunction> function);

  /// Row r of the result is this mask at q position q[r], column c at kv position kv[c]; an axis
  /// without positions stays as it is. Analytic masks accept any q positions and kv positions of
  /// magnitude up to kMostKvPosition, with repeats; masks with segments, blocks or dense leaves
  /// need positions in [0, q_len) and [0, kv_len), and a predicate must not fail there. Reordering
  /// with the identity (of q: as int32) gives this mask itself, and reordering twice composes.
  Mask Reorder(const std::optional<Positions>& q,
               const std::optional<Positions>& kv = std::nullopt) const;

  Mask operator~() const;
  /// The operators throw kInvalidArgument when the shapes differ.
  friend Mask operator&(const Mask& a, const Mask& b);
  friend Mask operator|(const Mask& a, const Mask& b);
  friend Mask operator^(const Mask& a, const Mask& b);
  /// a and not b
  friend Mask operator-(const Mask& a, const Mask& b);

  friend bool operator==(const Mask& a, const Mask& b);
  /// Equal masks have equal hashes. Reads every array once.
  size_t Hash() const;

  Shape shape() const;
  const MaskNode& node() const { return *node_; }

  explicit Mask(std::shared_ptr<const MaskNode> node) : node_(std::move(node)) {}

 private:
  std::shared_ptr<const MaskNode> node_;
};

/// Largest magnitude of a kv position in a reordering.
inline constexpr int64_t kMostKvPosition = int64_t{1} << 60;

/// Deepest expression that may be built; deeper ones throw kInvalidArgument.
inline constexpr int kMaxMaskDepth = 2000;
/// Most nodes an expression may have, counting shared sub-expressions each time they occur.
inline constexpr int64_t kMaxMaskNodes = 1'000'000;

}  // namespace splashmask
