// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tasks of fast mode have in common: rows in memory, and what they see. Private to
// kernels/.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/kernels/tensor.h"

namespace splashmask::fast {

/// One head of a tensor: element (i, d) is data[i * row + d * dim].
template <typename Data>
struct BasicRows {
  Data* data = nullptr;
  FloatType type = FloatType::kFloat32;
  int64_t row = 0, dim = 1;
};
using Rows = BasicRows<const void>;
using OutputRows = BasicRows<void>;

/// Those of one head of one sequence, from a row on.
template <typename RowsType, typename Data>
RowsType RowsOf(const BasicTensor<Data>& tensor, int64_t batch, int64_t head, int64_t first_row) {
  using Bytes = std::conditional_t<std::is_const_v<Data>, const std::byte, std::byte>;
  return {static_cast<Bytes*>(tensor.data) +
              tensor.Offset(batch, head, first_row, 0) * FloatSize(tensor.type),
          tensor.type, tensor.strides.length, tensor.strides.dim};
}

/// Rows of q in a task, about: so many that a tile of k and v, which comes from beyond the second
/// cache, serves many of them, so few that the state of all stays there, and fewer where threads
/// would have too little to share.
inline int64_t RowsPerTask(int64_t rows_of_all, int64_t threads) {
  int64_t rows = 512;
  while (rows > 64 && rows_of_all / rows < 4 * threads) rows /= 2;
  return rows;
}

/// What Draw found.
enum class Drawn : uint8_t { kNone, kSome, kAll };

/// Blocks of cells, of which a tile is drawn at a time.
class TileCells {
 public:
  virtual ~TileCells() = default;
  /// Bit r of lanes[c]: whether row first_row + r of the block sees its position kv_begin + c; for
  /// rows <= 64 and c < count, kv_begin a multiple of 8. Bits past the rows are 0. Where every cell
  /// is seen, or none, `lanes` may stay as they are.
  virtual Drawn Draw(int64_t block, int64_t first_row, int64_t rows, int64_t kv_begin,
                     int64_t count, uint64_t* lanes) const = 0;
};

/// A rectangle of such a block.
struct CellsOfVisit {
  const TileCells* cells = nullptr;
  int64_t block = 0, first_row = 0, kv_begin = 0;

  /// Rows and positions are counted from the rectangle's first.
  Drawn Draw(int64_t row, int64_t rows, int64_t kv, int64_t count, uint64_t* lanes) const {
    return cells->Draw(block, first_row + row, rows, kv_begin + kv, count, lanes);
  }
};

/// A rectangle that is not skipped: some rows and some kv positions. It is bounded, or has cells,
/// or neither: then every row sees all of it.
struct Visit {
  int64_t kv_begin = 0, kv_count = 0;
  bool bounded = false;  ///< The rows see lower[r] <= kv < upper[r].
  CellsOfVisit cells = {};
};

/// What the rows of a task see, beside its visits.
struct MaskOfTask {
  const int32_t *lower = nullptr, *upper = nullptr;  ///< [rows]; for bounded visits.
  /// Both or neither, [rows] and [kv_len]. Pairs whose ids differ are not seen.
  const int32_t *q_segment_ids = nullptr, *kv_segment_ids = nullptr;

  /// Those of rows from `first_row` on, if there are any.
  void SetSegmentIds(const AttentionInputs& inputs, int64_t batch, int64_t first_row) {
    if (!inputs.segment_ids) return;
    q_segment_ids = inputs.segment_ids->OfQ(batch, inputs.q.length) + first_row;
    kv_segment_ids = inputs.segment_ids->OfKv(batch, inputs.k.length);
  }
};

}  // namespace splashmask::fast
