// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_case.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "tests/support/random_predicate.h"
#include "tests/support/uniform.h"

namespace splashmask {

namespace {

bool OneIn(std::mt19937_64& random, int64_t n) { return Uniform(random, 1, n) == 1; }

// Around zero and the length, now and then enormous.
int64_t Distance(std::mt19937_64& random, int64_t length) {
  if (OneIn(random, 40)) return std::numeric_limits<int64_t>::max() - Uniform(random, 0, 2);
  if (OneIn(random, 40)) return std::numeric_limits<int64_t>::min() + Uniform(random, 0, 2);
  return Uniform(random, -length - 2, length + 2);
}

std::optional<int64_t> Window(std::mt19937_64& random, int64_t length) {
  if (OneIn(random, 4)) return std::nullopt;
  return OneIn(random, 8) ? Distance(random, length) : Uniform(random, 0, length);
}

Array RandomBools(std::mt19937_64& random, int64_t rows, int64_t columns) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(rows * columns));
  const int64_t density = Uniform(random, 0, 8);
  for (uint8_t& byte : *bytes) byte = Uniform(random, 0, 7) < density;
  return Array(DType::kBool, {rows, columns}, std::shared_ptr<const void>(bytes, bytes->data()));
}

Array RandomIds(std::mt19937_64& random, int64_t length) {
  std::vector<int32_t> ids;
  const int64_t change = Uniform(random, 1, 12);
  int32_t id = static_cast<int32_t>(Uniform(random, -1, 3));
  for (int64_t i = 0; i < length; ++i) {
    if (OneIn(random, change)) id = static_cast<int32_t>(Uniform(random, -1, 3));
    ids.push_back(id);
  }
  return Array::FromVector(ids);
}

// Local variables order the draws: the order in which arguments are evaluated is the compiler's.
Mask RandomCausal(std::mt19937_64& random, Shape shape) {
  return Mask::Causal(shape, OneIn(random, 2) ? 0 : Distance(random, shape.kv_len));
}

Mask RandomLocal(std::mt19937_64& random, Shape shape) {
  const std::optional<int64_t> left = Window(random, shape.kv_len);
  const std::optional<int64_t> right = Window(random, shape.kv_len);
  return Mask::Local(shape, left, right, OneIn(random, 2) ? 0 : Distance(random, shape.kv_len));
}

Mask RandomRange(std::mt19937_64& random, Shape shape, bool over_q) {
  const int64_t length = over_q ? shape.q_len : shape.kv_len;
  const int64_t begin = Distance(random, length), end = Distance(random, length);
  return over_q ? Mask::QRange(shape, begin, end) : Mask::KvRange(shape, begin, end);
}

Mask RandomSegments(std::mt19937_64& random, Shape shape) {
  const Array q_ids = RandomIds(random, shape.q_len), kv_ids = RandomIds(random, shape.kv_len);
  if (OneIn(random, 2)) return Mask::Segments(shape, q_ids, kv_ids);
  return Mask::Segments(shape, q_ids, kv_ids, Uniform(random, -1, 3));
}

Mask RandomDocuments(std::mt19937_64& random, Shape shape) {
  std::vector<int64_t> lengths;
  int64_t left = std::min(shape.q_len, shape.kv_len);
  while (left > 0 && !OneIn(random, 6)) {
    lengths.push_back(Uniform(random, 0, left));
    left -= lengths.back();
  }
  return Mask::Documents(shape, std::move(lengths));
}

Mask RandomBlocks(std::mt19937_64& random, Shape shape) {
  const int64_t block = Uniform(random, 1, 20);
  const int64_t rows = (shape.q_len - 1) / block + 1, columns = (shape.kv_len - 1) / block + 1;
  return Mask::Blocks(shape, RandomBools(random, rows, columns), block);
}

Mask RandomWhere(std::mt19937_64& random, Shape shape) {
  while (true) {
    const std::string predicate = RandomPredicate(random, static_cast<int>(Uniform(random, 1, 3)));
    try {
      return Mask::Where(shape, predicate);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInvalidArgument) throw;  // It fails somewhere.
    }
  }
}

Mask RandomLeaf(std::mt19937_64& random, Shape shape, bool analytic) {
  const int64_t q_len = shape.q_len, kv_len = shape.kv_len;
  switch (Uniform(random, 0, analytic ? 14 : 17)) {
    case 0:
      return Mask::Full(shape);
    case 1:
      return Mask::Empty(shape);
    case 2:
    case 3:
    case 4:
      return RandomCausal(random, shape);
    case 5:
    case 6:
      return RandomLocal(random, shape);
    case 7:
      return Mask::ChunkedCausal(shape, Uniform(random, 1, kv_len + 2));
    case 8:
      return Mask::Prefix(shape, Distance(random, kv_len));
    case 9:
    case 10:
      return RandomRange(random, shape, OneIn(random, 2));
    case 11: {
      const int64_t step = Uniform(random, 1, OneIn(random, 3) ? 2 * kv_len : 9);
      return Mask::Stride(shape, step, Uniform(random, 0, step - 1));
    }
    case 12:
      return RandomDocuments(random, shape);
    case 13:
    case 14:
      return RandomWhere(random, shape);
    case 15:
      return RandomSegments(random, shape);
    case 16:
      return RandomBlocks(random, shape);
    default:
      return Mask::Dense(shape, RandomBools(random, q_len, kv_len));
  }
}

// Positions of an axis, all of them in range or not.
Positions RandomPositions(std::mt19937_64& random, int64_t length, bool in_range, bool is_kv) {
  if (length % 4 == 0 && OneIn(random, 3)) {
    return OneIn(random, 2) ? Positions::Zigzag(2) : Positions::Striped(4);
  }
  std::vector<int64_t> positions(static_cast<size_t>(length));
  std::iota(positions.begin(), positions.end(), 0);
  if (OneIn(random, 3)) {
    // Pieces that stay whole, some of them backwards.
    const int64_t piece = Uniform(random, 1, length);
    for (int64_t begin = 0; begin + piece <= length; begin += piece) {
      const int64_t first = Uniform(random, 0, length - piece);
      const bool backwards = OneIn(random, 4);
      for (int64_t i = 0; i < piece; ++i) {
        positions[begin + i] = backwards ? first + piece - 1 - i : first + i;
      }
    }
  } else {
    for (size_t i = positions.size() - 1; i > 0; --i) {
      std::swap(positions[i], positions[random() % (i + 1)]);
    }
  }
  if (!in_range && OneIn(random, 2)) {
    for (int64_t& position : positions) {
      position = Distance(random, length);
      if (is_kv) position = std::clamp(position, -kMostKvPosition, kMostKvPosition);
    }
  }
  if (OneIn(random, 2)) return Positions::FromArray(Array::FromVector(positions));
  std::vector<int32_t> narrow;
  for (int64_t position : positions) narrow.push_back(static_cast<int32_t>(position));
  return Positions::FromArray(Array::FromVector(narrow));
}

// A reordering of rows, columns or both; positions leave the shape only where `mask` may be asked
// there.
Mask RandomReorder(std::mt19937_64& random, const Mask& mask, bool in_range,
                   bool rows_alone = false) {
  const auto [q_len, kv_len] = mask.shape();
  while (true) {
    std::optional<Positions> q, kv;
    const int64_t axes = rows_alone ? 1 : Uniform(random, 1, 3);
    if (axes != 2) q = RandomPositions(random, q_len, in_range, false);
    if (axes != 1) kv = RandomPositions(random, kv_len, in_range, true);
    try {
      return mask.Reorder(q, kv);
    } catch (const Error& error) {
      // A predicate may fail out there.
      if (std::string(error.what()).find("[where]") == std::string::npos) throw;
      in_range = true;
    }
  }
}

// `analytic`: neither arrays nor reorderings, so that any position may be asked for.
Mask RandomExpression(std::mt19937_64& random, Shape shape, int depth, bool analytic) {
  const int64_t kind = depth == 0 ? 0 : Uniform(random, 0, 9);
  if (kind < 3) return RandomLeaf(random, shape, analytic);
  if (kind == 3) return ~RandomExpression(random, shape, depth - 1, analytic);
  if (kind == 4 && !analytic) {
    const bool any_position = OneIn(random, 2);
    return RandomReorder(random, RandomExpression(random, shape, depth - 1, any_position),
                         !any_position);
  }
  const Mask left = RandomExpression(random, shape, depth - 1, analytic);
  const Mask right = RandomExpression(random, shape, depth - 1, analytic);
  switch (Uniform(random, 0, 3)) {
    case 0:
      return left & right;
    case 1:
      return left | right;
    case 2:
      return left ^ right;
    default:
      return left - right;
  }
}

// Causal, local or chunked causal, with or without a reordering to any positions.
Mask RandomComputable(std::mt19937_64& random, Shape shape) {
  const int64_t kind = Uniform(random, 0, 2);
  const Mask leaf = kind == 0   ? RandomCausal(random, shape)
                    : kind == 1 ? RandomLocal(random, shape)
                                : Mask::ChunkedCausal(shape, Uniform(random, 1, shape.kv_len + 2));
  return OneIn(random, 2) ? leaf : RandomReorder(random, leaf, false, OneIn(random, 2));
}

BlockShape RandomBlock(std::mt19937_64& random, Shape shape, int64_t q_seq_shards) {
  static constexpr int64_t kCandidates[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 48, 64, 96};
  auto pick = [&](int64_t length) {
    std::vector<int64_t> divisors;
    for (int64_t size : kCandidates) {
      if (length % size == 0 && size * 24 >= length) divisors.push_back(size);
    }
    return divisors.empty() ? length : divisors[random() % divisors.size()];
  };
  return {pick(shape.q_len / q_seq_shards), pick(shape.kv_len)};
}

}  // namespace

Mask RandomMask(std::mt19937_64& random, Shape shape, int depth) {
  return RandomExpression(random, shape, depth, false);
}

RandomCase MakeRandomCase(uint64_t seed) {
  std::mt19937_64 random(seed);
  static constexpr int64_t kLengths[] = {1, 2, 6, 8, 12, 24, 40, 48, 64, 65, 72, 96, 128, 130};
  auto length = [&] { return kLengths[random() % std::size(kLengths)]; };
  CompileOptions options;
  PlanOptions& plan = options.plan;
  plan.q_seq_shards = OneIn(random, 2) ? 1 : Uniform(random, 1, 4);
  const Shape shape{length() * plan.q_seq_shards, length()};

  std::vector<Mask> distinct;
  const int64_t count = OneIn(random, 2) ? 1 : Uniform(random, 1, 3);
  while (std::ssize(distinct) < count) {
    distinct.push_back(OneIn(random, 3) ? RandomComputable(random, shape)
                                        : RandomMask(random, shape, 3));
  }
  plan.head_shards = Uniform(random, 1, 3);
  const int64_t heads_per_shard = Uniform(random, 1, 2);
  const bool same_in_shard = OneIn(random, 2);
  std::vector<Mask> heads;
  for (int64_t shard = 0; shard < plan.head_shards; ++shard) {
    const Mask shard_mask = distinct[random() % distinct.size()];
    for (int64_t head = 0; head < heads_per_shard; ++head) {
      heads.push_back(same_in_shard ? shard_mask : distinct[random() % distinct.size()]);
    }
  }
  plan.downcast_smem_data = !OneIn(random, 3);
  plan.shrink_grid = !OneIn(random, 3);
  plan.use_fused_bwd_kernel = OneIn(random, 4);
  plan.simplify = OneIn(random, 4);
  options.fwd = RandomBlock(random, shape, plan.q_seq_shards);
  const bool same_blocks = OneIn(random, 2);
  if (!plan.use_fused_bwd_kernel) {
    options.dq = same_blocks ? options.fwd : RandomBlock(random, shape, plan.q_seq_shards);
  }
  options.dkv = same_blocks ? options.fwd : RandomBlock(random, shape, plan.q_seq_shards);
  return {MultiHeadMask(std::move(heads)), options};
}

}  // namespace splashmask
