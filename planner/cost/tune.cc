// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/hbm_use.h"
#include "splashmask/planner/cost/tiles.h"
#include "splashmask/planner/cost/tune_candidates.h"

namespace splashmask {

namespace {

// What tokamax's kernels take beyond the most of JAX's.
constexpr double kTokamaxVmem = 1.3;

[[noreturn]] void Unusable(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[tune] expected " + what);
}

bool IsFaster(const TunedKernel& a, const TunedKernel& b) {
  return a.time.total() < b.time.total();
}

// The candidates of one kernel with one combination of layouts.
struct Tried {
  std::vector<TunedKernel> fitting;
  std::optional<TunedKernel> undecided;  // The fastest.

  std::optional<KernelChoice> Choose(size_t runners_up) {
    if (fitting.empty()) {
      return undecided ? std::optional(KernelChoice{*undecided, {}}) : std::nullopt;
    }
    const size_t kept = std::min(fitting.size(), runners_up + 1);
    std::partial_sort(fitting.begin(), fitting.begin() + static_cast<int64_t>(kept), fitting.end(),
                      IsFaster);
    KernelChoice choice{fitting.front(),
                        {fitting.begin() + 1, fitting.begin() + static_cast<int64_t>(kept)}};
    const double as_good = choice.best.time.total() * (1 + kComparisonError);
    choice.as_good =
        std::ranges::count_if(
            fitting, [&](const TunedKernel& other) { return other.time.total() < as_good; }) -
        1;
    if (undecided && IsFaster(*undecided, choice.best)) choice.undecided = undecided;
    return choice;
  }
};

// What the tables of a pass say, with equal shards once.
struct Counted {
  std::vector<StepCounts> shards;
  PassTables tables;
  ProgramTables program;  // Not of tokamax.
};

constexpr int64_t kNeverAsked = int64_t{1} << 62;

// What the least of a kernel's candidates needs, in bytes.
struct Needs {
  bool has_tables = false;     // That SMEM holds, if they may be sharded.
  int64_t vmem = kNeverAsked;  // To fit surely, of those.
  int64_t hbm = kNeverAsked;
};

class Tuner {
 public:
  Tuner(const TpuSpec& spec, const AttentionConfig& config, const TuneOptions& options,
        const PlanOfBlocks& plan_of)
      : spec_(spec),
        config_(config),
        options_(options),
        plan_of_(plan_of),
        limit_(options.scoped_vmem_limit > 0 ? options.scoped_vmem_limit : spec.scoped_vmem_bytes),
        layouts_(LayoutsToTry(options)) {}

  TuneResult Run() {
    CheckLengths();
    const std::vector<std::vector<TpuKernel>> calls = Calls();
    TryAll(KernelsOfAny(calls));
    for (const std::vector<TpuKernel>& kernels : calls) {
      for (size_t layout = 0; layout < layouts_.size(); ++layout) AddCall(kernels, layout);
    }
    if (result_.others.empty()) ThrowNothingFits(calls);
    std::ranges::stable_sort(result_.others, {}, [](const TunedCall& call) {
      return std::pair(call.fit(), call.seconds());
    });
    result_.best = std::move(result_.others.front());
    result_.others.erase(result_.others.begin());
    return std::move(result_);
  }

 private:
  static size_t Index(TpuKernel kernel) { return static_cast<size_t>(kernel); }
  bool is_tokamax() const { return options_.call.library == SplashLibrary::kTokamax; }

  void CheckLengths() const {
    if (BlocksOfKv(config_.kv_len).empty()) {
      Unusable(fmt::format("kv_len ({}) to be a multiple of 128, as blocks of kv are: pad it to {}",
                           config_.kv_len, RoundedUp(config_.kv_len, kLanes)));
    }
    const bool in_lanes = options_.backward || options_.q_layout == QkvLayout::kSeqMinor;
    if (BlocksOfQ(config_.q_len, in_lanes).empty()) {
      Unusable(fmt::format("q_len ({}) to be a multiple of 128, as blocks of q are{}: pad it to {}",
                           config_.q_len, in_lanes ? " where q positions lie in lanes" : "",
                           RoundedUp(config_.q_len, kLanes)));
    }
  }

  // The kernels of a call, for each backward one that may be.
  std::vector<std::vector<TpuKernel>> Calls() const {
    if (!options_.backward) return {{TpuKernel::kFwd}};
    std::vector<std::vector<TpuKernel>> calls;
    if (!is_tokamax() && options_.use_fused_bwd_kernel != true) {
      calls.push_back({TpuKernel::kFwdResiduals, TpuKernel::kDq, TpuKernel::kDkv});
    }
    if (options_.use_fused_bwd_kernel != false) {
      calls.push_back({TpuKernel::kFwdResiduals, TpuKernel::kFused});
    }
    if (calls.empty()) Unusable("the fused backward kernel, as tokamax has no other");
    return calls;
  }

  static std::vector<TpuKernel> KernelsOfAny(const std::vector<std::vector<TpuKernel>>& calls) {
    std::vector<TpuKernel> kernels;
    for (const TpuKernel kernel : kAllTpuKernels) {
      if (std::ranges::any_of(calls, [&](const auto& call) {
            return std::ranges::find(call, kernel) != call.end();
          })) {
        kernels.push_back(kernel);
      }
    }
    return kernels;
  }

  // Kernels inside blocks, as what there is to know of blocks serves all of them.
  void TryAll(const std::vector<TpuKernel>& kernels) {
    const std::vector<int64_t> in_lanes = BlocksOfQ(config_.q_len, true);
    const std::vector<int64_t> kvs = BlocksOfKv(config_.kv_len);
    std::vector<std::vector<Tried>> tried(kernels.size(), std::vector<Tried>(layouts_.size()));
    for (const int64_t q : BlocksOfQ(config_.q_len, false)) {
      const bool in_lanes_too = std::ranges::find(in_lanes, q) != in_lanes.end();
      for (const int64_t kv : kvs) {
        for (size_t i = 0; i < kernels.size(); ++i) {
          const bool is_fwd = PassOf(kernels[i]) == Pass::kFwd;
          if (is_fwd || in_lanes_too) TryBlock(kernels[i], {q, kv}, &tried[i]);
        }
      }
    }
    for (size_t i = 0; i < kernels.size(); ++i) {
      for (Tried& of_layout : tried[i]) {
        choices_[Index(kernels[i])].push_back(of_layout.Choose(options_.runners_up));
      }
    }
  }

  void TryBlock(TpuKernel kernel, BlockShape block, std::vector<Tried>* tried) {
    const std::vector<int64_t> computes =
        kernel == TpuKernel::kDq ? std::vector{block.kv} : BlocksOfKv(block.kv);
    const std::vector<size_t> layouts = LegalLayouts(kernel, block.q);
    const auto count = static_cast<int64_t>(computes.size() * layouts.size());
    result_.candidates += count;
    if (kernel == TpuKernel::kFused && HasTooManyParts(block.kv)) {
      result_.beyond_hbm += count;
      return;
    }
    const std::optional<Plan> plan = plan_of_(PassOf(kernel), block, kernel == TpuKernel::kFused);
    if (!plan) {
      result_.beyond_smem += count;
      return;
    }
    const Counted counted = Count(kernel, *plan);
    for (const int64_t compute : computes) {
      for (const size_t i : layouts) {
        TryCandidate(kernel, {block.q, block.kv, compute}, layouts_[i], counted, &(*tried)[i]);
      }
    }
  }

  // Where q lies in lanes, blocks of it are whole lanes, or all of q.
  std::vector<size_t> LegalLayouts(TpuKernel kernel, int64_t block_q) const {
    const bool may_lie_in_lanes = block_q % kLanes == 0 || block_q == config_.q_len;
    std::vector<size_t> legal;
    for (size_t i = 0; i < layouts_.size(); ++i) {
      if (may_lie_in_lanes || !QLiesInLanes(layouts_[i], kernel)) legal.push_back(i);
    }
    return legal;
  }

  void TryCandidate(TpuKernel kernel, const KernelBlocks& blocks, const BlockSizes& layouts,
                    const Counted& counted, Tried* tried) {
    AttentionConfig config = config_;
    config.block_sizes = WithBlocks(layouts, kernel, blocks);
    config.block_sizes.use_fused_bwd_kernel = kernel == TpuKernel::kFused;
    TunedKernel candidate;
    candidate.kernel = kernel;
    candidate.blocks = blocks;
    candidate.fit = Judge(config, counted, &candidate);
    if (candidate.fit == Fit::kDoesNotFit) return;
    SetTime(config, counted.shards, &candidate);
    if (candidate.fit == Fit::kFits) {
      tried->fitting.push_back(candidate);
      return;
    }
    ++result_.undecided;
    if (!tried->undecided || IsFaster(candidate, *tried->undecided)) tried->undecided = candidate;
  }

  // Whether all memories hold a candidate; counts the first that does not.
  Fit Judge(const AttentionConfig& config, const Counted& counted, TunedKernel* candidate) {
    Needs& needs = needs_[Index(candidate->kernel)];
    const KernelFootprint footprint =
        FootprintOf(spec_, candidate->kernel, config, counted.tables, limit_);
    candidate->vmem = footprint.vmem.total;
    if (is_tokamax()) {
      candidate->vmem.most = std::llround(static_cast<double>(candidate->vmem.most) * kTokamaxVmem);
    }
    const Fit smem = footprint.smem.fit;
    const Fit vmem = is_tokamax() ? FitOf(candidate->vmem, limit_) : footprint.vmem.fit;
    if (smem == Fit::kFits) {
      needs.has_tables = true;
      needs.vmem = std::min(needs.vmem, candidate->vmem.most);
    }
    if (vmem == Fit::kDoesNotFit || smem == Fit::kDoesNotFit) {
      ++(vmem == Fit::kDoesNotFit ? result_.beyond_vmem : result_.beyond_smem);
      return Fit::kDoesNotFit;
    }
    if (is_tokamax()) return std::max(vmem, smem);  // HBM of its programs is not predicted.
    const HbmUse hbm = HbmUseOf(spec_, candidate->kernel, config, counted.program);
    candidate->hbm_bytes = hbm.total();
    needs.hbm = std::min(needs.hbm, hbm.total());
    result_.beyond_hbm += hbm.fit == Fit::kDoesNotFit;
    return std::max({vmem, smem, hbm.fit});
  }

  // On the slowest shard.
  void SetTime(const AttentionConfig& config, const std::vector<StepCounts>& shards,
               TunedKernel* candidate) const {
    for (const StepCounts& counts : shards) {
      const KernelTime time = PredictTime(spec_, candidate->kernel, config, counts, options_.call);
      if (time.total() <= candidate->time.total()) continue;
      candidate->time = time;
      candidate->counts = counts;
    }
  }

  Counted Count(TpuKernel kernel, const Plan& plan) const {
    const Pass pass = PassOf(kernel);
    Counted counted;
    if (is_tokamax()) {
      const TokamaxMaskInfo& info = plan.tokamax_pass(pass)->info;
      counted.shards = CountTokamaxSteps(plan, pass, config_.kv_heads);
      counted.tables.partial_blocks =
          info.partial_mask_blocks ? info.partial_mask_blocks->count() : 0;
      counted.tables.has_q_sequence = info.q_sequence.has_value();
    } else {
      counted.shards = CountSteps(plan, pass, KvHeadsOfPlan(config_, plan.options));
      counted.tables = TablesOf(plan.pass(pass)->info, plan.options);
      counted.program = ProgramTablesOf(plan.pass(pass)->info, plan.options);
    }
    KeepDistinct(&counted.shards);
    return counted;
  }

  static void KeepDistinct(std::vector<StepCounts>* shards) {
    size_t kept = 0;
    for (size_t i = 0; i < shards->size(); ++i) {
      const auto end = shards->begin() + static_cast<int64_t>(kept);
      if (std::find(shards->begin(), end, (*shards)[i]) == end) (*shards)[kept++] = (*shards)[i];
    }
    shards->resize(kept);
  }

  // Whether the dq that the fused kernel writes for each kv block alone is more than HBM holds.
  bool HasTooManyParts(int64_t block_kv) {
    const auto rows = static_cast<double>(config_.batch) * static_cast<double>(config_.heads) *
                      static_cast<double>(config_.q_len);
    const int64_t row = RoundedUp(config_.head_dim, kLanes) * OperandBytes(config_.dtype);
    const int64_t parts = config_.kv_len / block_kv;
    const double bytes = rows * static_cast<double>(row) * static_cast<double>(parts);
    Needs& needs = needs_[Index(TpuKernel::kFused)];
    if (bytes < static_cast<double>(kNeverAsked))
      needs.hbm = std::min<int64_t>(needs.hbm, std::llround(bytes));
    return bytes > static_cast<double>(spec_.hbm_limit_bytes);
  }

  void AddCall(const std::vector<TpuKernel>& kernels, size_t layout) {
    TunedCall call{layouts_[layout], {}};
    for (const TpuKernel kernel : kernels) {
      const std::optional<KernelChoice>& choice = choices_[Index(kernel)][layout];
      if (!choice) return;
      call.sizes = WithBlocks(call.sizes, kernel, choice->best.blocks);
      call.sizes.use_fused_bwd_kernel |= kernel == TpuKernel::kFused;
      call.kernels.push_back(*choice);
    }
    result_.others.push_back(std::move(call));
  }

  [[noreturn]] void ThrowNothingFits(const std::vector<std::vector<TpuKernel>>& calls) const {
    for (const TpuKernel kernel : calls.front()) {
      const auto& choices = choices_[Index(kernel)];
      if (std::ranges::none_of(choices, [](const auto& choice) { return choice.has_value(); })) {
        ThrowDoesNotFit(kernel);
      }
    }
    Unusable("layouts that all kernels fit");
  }

  [[noreturn]] void ThrowDoesNotFit(TpuKernel kernel) const {
    const Needs& needs = needs_[Index(kernel)];
    const std::string_view name = TpuKernelName(kernel);
    if (needs.hbm != kNeverAsked && needs.hbm > spec_.hbm_limit_bytes) {
      Unusable(
          fmt::format("{} to fit {} bytes of HBM, got {} at least: shard heads, q or the batch",
                      name, spec_.hbm_limit_bytes, needs.hbm));
    }
    if (!needs.has_tables) {
      Unusable(
          fmt::format("tables of {} that SMEM holds, got none with blocks of up to {}: shard "
                      "heads or q",
                      name, kLargestBlock));
    }
    constexpr int64_t kKiB = 1024;
    const int64_t least_kib = (needs.vmem + kKiB - 1) / kKiB, chip_kib = spec_.vmem_bytes / kKiB;
    Unusable(fmt::format(
        "a scoped VMEM limit of at least {} KiB, which some blocks of {} surely fit, "
        "got {}: {}",
        least_kib, name, limit_ / kKiB,
        least_kib <= chip_kib ? "raise it, or shard heads or q"
                              : fmt::format("a {} has no more than {}", spec_.name, chip_kib)));
  }

  const TpuSpec& spec_;
  const AttentionConfig& config_;
  const TuneOptions& options_;
  const PlanOfBlocks& plan_of_;
  const int64_t limit_;
  const std::vector<BlockSizes> layouts_;
  std::array<std::vector<std::optional<KernelChoice>>, std::size(kAllTpuKernels)> choices_;
  std::array<Needs, std::size(kAllTpuKernels)> needs_;
  TuneResult result_;
};

}  // namespace

int64_t SmemOfShards(const TpuSpec& spec, const PlanOptions& options) {
  return spec.smem_bytes * options.head_shards * options.q_seq_shards;
}

double TunedCall::seconds() const {
  double sum = 0;
  for (const KernelChoice& choice : kernels) sum += choice.best.time.total();
  return sum;
}

Fit TunedCall::fit() const {
  Fit worst = Fit::kFits;
  for (const KernelChoice& choice : kernels) worst = std::max(worst, choice.best.fit);
  return worst;
}

double TunedCall::relative_uncertainty() const {
  double sum = 0;  // What is wrong with one kernel's is wrong with the others'.
  for (const KernelChoice& choice : kernels) {
    sum += choice.best.time.total() * choice.best.time.relative_uncertainty;
  }
  return sum / seconds();
}

TuneResult Tune(const TpuSpec& spec, const AttentionConfig& config, const TuneOptions& options,
                const PlanOfBlocks& plan_of) {
  AttentionConfig call = config;
  call.block_sizes = {};
  CheckAttentionConfig(call);
  return Tuner(spec, call, options, plan_of).Run();
}

BlockShape FinestTunedBlocks(const AttentionConfig& config) {
  const auto divisor = [](const std::vector<int64_t>& sizes) {
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{0},
                           [](int64_t a, int64_t b) { return std::gcd(a, b); });
  };
  return {divisor(BlocksOfQ(config.q_len, false)), divisor(BlocksOfKv(config.kv_len))};
}

}  // namespace splashmask
