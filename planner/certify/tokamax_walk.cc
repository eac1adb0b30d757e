// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/tokamax_walk.h"

#include <algorithm>
#include <utility>

namespace splashmask::certify {

int64_t TokamaxWalk::CountRows(Shape shape, const TokamaxPassOptions& options, bool is_dkv) {
  return is_dkv ? shape.kv_len / options.block.kv * options.q_seq_shards
                : shape.q_len / options.block.q * options.kv_seq_shards;
}

TokamaxWalk::TokamaxWalk(const BlockTruth& truth, const TokamaxPassOptions& options, bool is_dkv,
                         RowProgress& progress)
    : truth_(truth),
      is_dkv_(is_dkv),
      dynamic_grid_(options.return_dynamic_grid),
      q_size_(truth.q_blocks() / options.q_seq_shards),
      kv_size_(truth.kv_blocks() / options.kv_seq_shards),
      is_full_(true) {
  for (int64_t index = 0; is_full_ && index < truth.size(); ++index) {
    is_full_ = truth.ClassOf(index) == BlockClass::kFull;
  }
  if (is_full_) return;
  std::vector<std::vector<int64_t>> shards;
  size_t longest = 0;
  for (int64_t q0 = 0; q0 < truth.q_blocks(); q0 += q_size_) {
    for (int64_t kv0 = 0; kv0 < truth.kv_blocks(); kv0 += kv_size_) {
      shards.push_back(VisitsOfShard(q0, kv0, progress));
      counts_.push_back(static_cast<int32_t>(shards.back().size()));
      longest = std::max(longest, shards.back().size());
    }
  }
  for (std::vector<int64_t>& visits : shards) visits.resize(longest, -1);
  if (shards.size() == 1) {
    visits_ = std::move(shards.front());
    return;
  }
  visits_.reserve(longest * shards.size());
  for (std::vector<int64_t>& visits : shards) {
    visits_.insert(visits_.end(), visits.begin(), visits.end());
    visits = {};
  }
}

// `q0`, `kv0`: the first blocks of the shard.
std::vector<int64_t> TokamaxWalk::VisitsOfShard(int64_t q0, int64_t kv0,
                                                RowProgress& progress) const {
  std::vector<int64_t> visits;
  const auto add = [&](int64_t q, int64_t kv) {
    const int64_t index = truth_.Index({0, q0 + q, kv0 + kv});
    if (dynamic_grid_ && truth_.ClassOf(index) == BlockClass::kEmpty) return false;
    visits.push_back(index);
    return true;
  };
  if (is_dkv_) {
    for (int64_t kv = 0; kv < kv_size_; ++kv) {
      bool any = false;
      for (int64_t q = 0; q < q_size_; ++q) any |= add(q, kv);
      // A row without a visible block visits its first one, to write zeros.
      if (!any) visits.push_back(truth_.Index({0, q0, kv0 + kv}));
      progress.FinishRow();
    }
  } else {
    for (int64_t q = 0; q < q_size_; ++q) {
      for (int64_t kv = 0; kv < kv_size_; ++kv) add(q, kv);
      progress.FinishRow();
    }
  }
  return visits;
}

template <typename Value>
std::vector<int32_t> TokamaxWalk::List(Value value) const {
  std::vector<int32_t> list;
  list.reserve(visits_.size());
  for (int64_t index : visits_) {
    list.push_back(index < 0 ? -1 : static_cast<int32_t>(value(index)));
  }
  return list;
}

std::vector<int32_t> TokamaxWalk::Rows() const {
  return List([&](int64_t index) {
    const BlockAt at = truth_.At(index);
    return is_dkv_ ? at.kv_block % kv_size_ : at.q_block % q_size_;
  });
}

std::vector<int32_t> TokamaxWalk::Columns() const {
  return List([&](int64_t index) {
    const BlockAt at = truth_.At(index);
    return is_dkv_ ? at.q_block % q_size_ : at.kv_block % kv_size_;
  });
}

std::vector<int32_t> TokamaxWalk::Classes() const {
  return List([&](int64_t index) { return truth_.ClassOf(index); });
}

std::vector<int32_t> TokamaxWalk::MaskNext(const std::vector<int32_t>& ids) const {
  std::vector<int32_t> next(visits_.size(), -1);
  const int64_t longest = counts_.empty() ? 0 : size() / std::ssize(counts_);
  for (int64_t shard = 0; shard < std::ssize(counts_); ++shard) {
    const int64_t begin = shard * longest;
    int32_t following = -1;
    // Backwards twice: the first time finds what comes after the last visit, the first again.
    for (int round = 0; round < 2; ++round) {
      for (int64_t i = begin + counts_[static_cast<size_t>(shard)] - 1; i >= begin; --i) {
        const int64_t index = visits_[static_cast<size_t>(i)];
        if (truth_.ClassOf(index) == BlockClass::kPartial) {
          following = ids[static_cast<size_t>(index)];
        }
        next[static_cast<size_t>(i)] = following;
      }
    }
  }
  return next;
}

}  // namespace splashmask::certify
