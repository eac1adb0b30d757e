// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/plans_of_blocks.h"

#include <memory>
#include <vector>

#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/coarse_plans.h"
#include "splashmask/planner/compile/head_masks.h"

namespace splashmask {

namespace {

// The next multiple of `least` beyond `size` that divides `whole` and that `size` divides.
int64_t NextDivisor(int64_t size, int64_t whole, int64_t least) {
  for (int64_t next = size + least; next < whole; next += least) {
    if (whole % next == 0 && next % size == 0) return next;
  }
  return whole;
}

// Looks at the mask as often as the blocks that it is asked for are multiples of none that it has
// seen, if tables of them may be small enough.
class UsablePlans {
 public:
  UsablePlans(const MultiHeadMask& mask, BlockShape least, const UsableOptions& options)
      : mask_(mask), least_(least), options_(options) {}

  std::optional<Plan> Find(Pass pass, BlockShape block, bool is_fused) {
    options_.progress.ThrowIfStopped();
    if (looks_.empty()) {
      CheckPass(mask_.shape(), mask_.num_heads(), least_, options_.plan, "");
      most_blocks_ = options_.easy_blocks / CountDistinctMasks(mask_);
      LookAt({mask_.shape().q_len / options_.plan.q_seq_shards, mask_.shape().kv_len});
    }
    CoarsePlans* plans = FindLook(block);
    if (plans == nullptr && looks_.front().plans.LeastTableBytes(block) <= options_.most_bytes) {
      plans = &LookAt(block);
    }
    return plans ? plans->Find(pass, block, is_fused, options_.most_bytes) : std::nullopt;
  }

 private:
  struct Look {
    BlockShape finest;
    CoarsePlans plans;
  };

  static int64_t CountDistinctMasks(const MultiHeadMask& mask) {
    return std::ssize(GroupHeads(mask, 1).unique);
  }

  int64_t CountBlocks(BlockShape block) const {
    return mask_.shape().q_len / block.q * (mask_.shape().kv_len / block.kv);
  }

  CoarsePlans* FindLook(BlockShape block) {
    for (Look& look : looks_) {
      if (block.q % look.finest.q == 0 && block.kv % look.finest.kv == 0) return &look.plans;
    }
    return nullptr;
  }

  // As fine as is easy, but blocks that divide `whole`.
  CoarsePlans& LookAt(BlockShape whole) {
    BlockShape finest = least_;
    while (CountBlocks(finest) > most_blocks_ && !(finest == whole)) {
      const bool more_rows = mask_.shape().q_len / finest.q > mask_.shape().kv_len / finest.kv;
      if (finest.kv == whole.kv || (more_rows && finest.q < whole.q)) {
        finest.q = NextDivisor(finest.q, whole.q, least_.q);
      } else {
        finest.kv = NextDivisor(finest.kv, whole.kv, least_.kv);
      }
    }
    constexpr size_t kLooksKept = 8;
    if (looks_.size() == kLooksKept) looks_.erase(looks_.begin() + 1);
    looks_.push_back(
        {finest, CoarsePlans(mask_, finest, options_.plan, options_.threads, options_.progress)});
    return looks_.back().plans;
  }

  const MultiHeadMask mask_;
  const BlockShape least_;
  const UsableOptions options_;
  int64_t most_blocks_ = 0;
  std::vector<Look> looks_;
};

}  // namespace

std::function<std::optional<Plan>(Pass, BlockShape, bool)> PlansOfBlocks(
    const MultiHeadMask& mask, BlockShape least, const UsableOptions& options) {
  const auto plans = std::make_shared<UsablePlans>(mask, least, options);
  return [plans](Pass pass, BlockShape block, bool is_fused) {
    return plans->Find(pass, block, is_fused);
  };
}

}  // namespace splashmask
