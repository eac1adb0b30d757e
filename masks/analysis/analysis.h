// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a compiler asks of a mask, answered without visiting cells: the class of a rectangle, a key
// that identifies a rectangle's content, a row's runs, and a rectangle's bits. Private to the
// project.
//
// One class for each kind of node, in positional.cc (masks that compare q with kv),
// array_leaves.cc, where.cc, custom.cc, operators.cc, reorder.cc and reorder_kv.cc: a new kind of
// mask is one new class.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/masks/mask.h"

namespace splashmask {

/// What is known of the cells of a rectangle. The first three are exact; kUnknown promises nothing.
enum class RectClass : uint8_t { kEmpty, kFull, kPartial, kUnknown };

inline bool IsUniform(RectClass c) { return c == RectClass::kEmpty || c == RectClass::kFull; }

/// Rows at q positions first, first + step, ...: `count` of them, at least one. Rows of a mask that
/// nothing reorders have step 1.
struct Rows {
  int64_t first = 0;
  int64_t count = 0;
  int64_t step = 1;

  int64_t last() const { return first + (count - 1) * step; }
  int64_t min() const { return step >= 0 ? first : last(); }
  int64_t max() const { return step >= 0 ? last() : first; }
};

/// Half-open range of kv positions, never empty.
struct KvRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
};

/// A half-open run of kv positions that attend.
struct Run {
  int64_t begin, end;
  friend bool operator==(const Run&, const Run&) = default;
};

/// Sorted, disjoint, not touching, none empty.
using Runs = std::vector<Run>;

/// Integers that identify a rectangle's content: two rectangles of one mask with the same number of
/// rows and columns, the same step between rows and the same key hold the same cells.
using RectKey = std::vector<int64_t>;

/// A mask prepared for questions. Immutable after construction and safe to use from many threads.
class Analysis {
 public:
  explicit Analysis(Shape shape) : shape_(shape) {}
  virtual ~Analysis() = default;

  Shape shape() const { return shape_; }

  /// Exact where it answers kEmpty, kFull or kPartial. O(1) or O(log n).
  virtual RectClass Classify(const Rows& rows, KvRange kv) const = 0;

  /// True only when all the tiles into which the rectangle can be cut, `tile_rows` rows of
  /// `tile_columns` columns each, hold the same cells.
  virtual bool Repeats(const Rows& rows, KvRange kv, int64_t /*tile_rows*/,
                       int64_t /*tile_columns*/) const {
    return IsUniform(Classify(rows, kv));
  }

  /// Appends to `key` and returns true, or returns false when the content has no cheap identity
  /// (then `key` is garbage).
  virtual bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const = 0;

  /// Replaces `runs` by the runs of the row at position `q` inside `kv`.
  virtual void ReadRuns(int64_t q, KvRange kv, Runs* runs) const = 0;

  /// About how many runs a row has; decides between reading runs and drawing bits.
  virtual double RunsPerRow() const = 0;

  /// Draws the cells (q[r], kv.begin + c) into bit c of row r of `out`, which has q.size() rows of
  /// at least kv.size() bits. Bits past kv.size() in the last word become 0.
  virtual void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const;

  /// Whether DrawStrided is less work than drawing all of `span`, where the columns lie.
  virtual bool DrawsStrided(KvRange span) const;

  /// Draws the cells (q[r], columns.first + c * columns.step) into bit c of row r of `out`, as Draw
  /// does.
  virtual void DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const;

  /// Whether each row sees one run at most, which ReadIntervals tells.
  virtual bool HasIntervals() const { return false; }

  /// Only with HasIntervals: row q[r] sees the positions [kv.begin + begins[r], kv.begin + ends[r])
  /// of `kv`; none where ends[r] <= begins[r]. Both are in [0, kv.size()].
  virtual void ReadIntervals(std::span<const int64_t> /*q*/, KvRange /*kv*/, int64_t* /*begins*/,
                             int64_t* /*ends*/) const {}

  /// Columns that should be drawn at once, where there are as many: reading memory row by row wants
  /// long rows. 0 when it does not matter.
  virtual int64_t DrawWidth() const { return 0; }

  /// True when the rows [begin, end) map to positions so scattered that classifying rectangles is
  /// hopeless and runs should be read at once.
  virtual bool Scattered(int64_t /*begin*/, int64_t /*end*/) const { return false; }

 private:
  Shape shape_;
};

/// Prepares a mask. O(S) time and memory in the lengths of its arrays, dense ones excepted: those
/// are neither copied nor read.
std::unique_ptr<const Analysis> Analyze(const Mask& mask);

/// The same for questions about kv positions in `domain`, where the columns of a reordering may be
/// evaluated: inside [-kMostKvPosition, kMostKvPosition], and inside [0, kv_len) unless the mask is
/// analytic.
std::unique_ptr<const Analysis> Analyze(const Mask& mask, KvRange domain);

// The leaves and combinations, each in its own file; Analyze() picks among them.
std::unique_ptr<const Analysis> AnalyzePositional(const Mask& mask, KvRange domain);
std::unique_ptr<const Analysis> AnalyzeArrayLeaf(const Mask& mask);
std::unique_ptr<const Analysis> AnalyzeWhere(const Mask& mask, KvRange domain);
std::unique_ptr<const Analysis> AnalyzeCustom(const Mask& mask);
std::unique_ptr<const Analysis> AnalyzeOperator(const Mask& mask, KvRange domain);
std::unique_ptr<const Analysis> AnalyzeReorder(const Mask& mask, KvRange domain);
/// `mask` with column c at kv position `positions[c]`.
std::unique_ptr<const Analysis> AnalyzeKvOrder(const Mask& mask, const Array& positions);

}  // namespace splashmask
