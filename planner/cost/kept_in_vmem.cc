// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/kept_in_vmem.h"

#include <algorithm>
#include <string_view>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

bool HasNoCopies(const AttentionConfig& config) {
  const BlockSizes& sizes = config.block_sizes;
  return sizes.q_layout == QkvLayout::kHeadDimMinor && sizes.k_layout == QkvLayout::kHeadDimMinor &&
         sizes.v_layout == QkvLayout::kHeadDimMinor && config.head_dim % kLanes == 0 &&
         config.head_dim_v % kLanes == 0;
}

// What is kept of one kernel's operands.
class Keeper {
 public:
  Keeper(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config, int64_t limit)
      : spec_(spec),
        config_(config),
        room_(spec.vmem_bytes - limit),
        is_forward_(PassOf(kernel) == Pass::kFwd),
        is_dkv_(PassOf(kernel) == Pass::kDkv),
        // In a program of nothing else: if no operand is transposed or padded for it, nothing runs
        // before the forward kernel, and there is no time to copy anything to VMEM. Programs for
        // tpu7x do so nevertheless.
        is_first_(is_forward_ && HasNoCopies(config) && spec.generation < 7) {}

  bool MayKeep(const KernelWindow& window) const {
    if (spec_.generation == 4 || window.operand_bytes == 0) return false;
    if (window.operand_bytes > MostOf(window.name)) return false;
    // Segment ids are repeated first, which takes some time.
    if (!is_first_ || config_.segments) return true;
    const std::string_view name = window.name;
    return !(HasTwoCores() || name == "q" || name == "k" || name == "v" || IsMask(window));
  }

  // Of those that it may keep.
  bool Keeps(const KernelWindow& window) const {
    const std::string_view name = window.name;
    const auto takes_at_most = [&](int64_t tenths) {
      return window.operand_bytes <= room_ * tenths / 10;
    };
    const bool is_early_on_two_cores = is_forward_ && HasTwoCores();
    if (name == "q_sequence") return takes_at_most(is_first_ ? 3 : 2) && !is_early_on_two_cores;
    if (name == "q_segment_ids") return takes_at_most(is_first_ ? 3 : 2) && !HasTwoCores();
    if (is_first_) return false;
    if (name == "k" || name == "v") return takes_at_most(1) && !is_early_on_two_cores;
    // Two kernels want it.
    if (name == "q") return takes_at_most(7) && !is_forward_ && HasOneCoreAChip();
    if (!IsMask(window)) return false;
    // Other operands are kept first, unless they are too large in a batch.
    if (is_forward_ && config_.batch > 1) return takes_at_most(3);
    return takes_at_most(2) && !HasTwoCores() && (config_.batch > 1 || !is_dkv_);
  }

  int64_t room() const { return room_; }

 private:
  static bool IsMask(const KernelWindow& window) { return window.name == "partial_mask_blocks"; }
  bool HasTwoCores() const { return spec_.cores_per_device > 1; }
  bool HasOneCoreAChip() const { return spec_.cores_per_chip == 1; }
  // Results, and the output's gradient, are kept where they are small.
  int64_t MostOf(std::string_view name) const {
    const bool is_forwards = name == "out" || (name == "logsumexp" && is_forward_);
    if (is_forwards || name == "dk" || name == "dv" || name == "dq" || name == "do") {
      return room_ * (is_first_ ? 7 : 3) / 10;
    }
    return room_;
  }

  const TpuSpec& spec_;
  const AttentionConfig& config_;
  const int64_t room_;
  const bool is_forward_, is_dkv_, is_first_;
};

}  // namespace

KeptWindows KeptInVmem(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                       const std::vector<KernelWindow>& windows, int64_t limit) {
  const Keeper keeper(spec, kernel, config, limit);
  KeptWindows kept;
  std::vector<const KernelWindow*> may_keep;
  for (const KernelWindow& window : windows) {
    if (!keeper.MayKeep(window)) continue;
    may_keep.push_back(&window);
    if (keeper.Keeps(window)) kept.least += window.bytes();
  }
  // At most, the room holds those that free most of the kernel's own for what they take.
  const auto freed = [](const KernelWindow* window) {
    return static_cast<double>(window->bytes()) / static_cast<double>(window->operand_bytes);
  };
  std::stable_sort(may_keep.begin(), may_keep.end(),
                   [&](const auto* a, const auto* b) { return freed(a) > freed(b); });
  int64_t room = keeper.room();
  for (const KernelWindow* window : may_keep) {
    const int64_t taken = std::min(window->operand_bytes, room);
    kept.most += static_cast<int64_t>(freed(window) * static_cast<double>(taken));
    room -= taken;
  }
  kept.most = std::max(kept.most, kept.least);
  return kept;
}

}  // namespace splashmask
