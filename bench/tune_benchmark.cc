// SPDX-License-Identifier: Apache-2.0
// Time of Tune with tables that come from one look at the mask, beside tables that are compiled for
// each block shape, in turns. Both answers are compared first; at a million positions there is one.
//
//   tune_benchmark [--runs N]

#include <fmt/format.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/limit_cases.h"
#include "bench/timing.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/plans_of_blocks.h"
#include "splashmask/planner/cost/tune.h"

namespace splashmask {
namespace {

constexpr int64_t kHeads = 32;

struct TuneCase {
  std::string name;
  int64_t length;
  std::function<Mask(Shape)> make;
};

std::vector<TuneCase> Cases() {
  const auto documents = [](Shape shape) {
    return Mask::Causal(shape) & Mask::Documents(shape, LogNormalDocuments(shape.q_len, 1));
  };
  const auto strided = [](Shape shape) {
    return Mask::Local(shape, 4095, 0) & Mask::Stride(shape, 2);
  };
  std::vector<TuneCase> cases;
  for (const int64_t length : {int64_t{1} << 15, int64_t{1} << 17, int64_t{1} << 20}) {
    cases.push_back({"causal", length, [](Shape shape) { return Mask::Causal(shape); }});
    cases.push_back({"causal & documents", length, documents});
    cases.push_back({"local & stride", length, strided});
  }
  return cases;
}

// The tables of one pass, compiled for it; nullopt where SMEM does not hold them.
PlanOfBlocks CompiledPlans(const MultiHeadMask& mask, int64_t most_bytes) {
  return [mask, most_bytes](Pass pass, BlockShape block, bool is_fused) -> std::optional<Plan> {
    CompileOptions options;
    options.plan.use_fused_bwd_kernel = is_fused;
    options.block(pass) = block;
    Plan plan = Compile(mask, options);
    const MaskInfo& info = plan.pass(pass)->info;
    const int64_t bytes = info.data_next->size_bytes() + info.block_mask->size_bytes() +
                          (info.mask_next ? info.mask_next->size_bytes() : 0);
    return bytes > most_bytes ? std::nullopt : std::optional(std::move(plan));
  };
}

bool SameAnswer(const TuneResult& a, const TuneResult& b) {
  return a.best.sizes == b.best.sizes && a.best.seconds() == b.best.seconds() &&
         a.candidates == b.candidates && a.beyond_smem == b.beyond_smem;
}

int Run(int runs) {
  constexpr int64_t kLongestCompiled = int64_t{1} << 17;
  const TpuSpec& spec = FindTpuSpec("tpu7x");
  TuneOptions options;
  options.scoped_vmem_limit = int64_t{60000} << 10;
  fmt::print(
      "| mask, {} heads | positions | candidates | tune | compiling each | ratio "
      "|\n|---|---:|---:|---:|---:|---:|\n",
      kHeads);
  for (const TuneCase& c : Cases()) {
    const MultiHeadMask mask(c.make({c.length, c.length}), kHeads);
    AttentionConfig config;
    config.heads = kHeads;
    config.kv_heads = 8;
    config.q_len = config.kv_len = c.length;
    const auto tune = [&] {
      return Tune(spec, config, options,
                  PlansOfBlocks(mask, FinestTunedBlocks(config), {.most_bytes = spec.smem_bytes}));
    };
    const auto compile_each = [&] {
      return Tune(spec, config, options, CompiledPlans(mask, spec.smem_bytes));
    };
    const bool has_peer = c.length <= kLongestCompiled;
    const TuneResult result = tune();
    if (has_peer && !SameAnswer(result, compile_each())) {
      fmt::print(stderr, "{}: the answers differ\n", c.name);
      return 1;
    }
    std::vector<double> ours, theirs;
    for (int run = 0; run < runs; ++run) {
      ours.push_back(Milliseconds(tune));
      if (has_peer) theirs.push_back(Milliseconds(compile_each));
    }
    fmt::print("| {} | {} | {} | {:.0f} ms | {} | {} |\n", c.name, c.length, result.candidates,
               Median(ours), has_peer ? fmt::format("{:.0f} ms", Median(theirs)) : "",
               has_peer ? fmt::format("{:.1f}", MedianRatio(theirs, ours)) : "");
  }
  return 0;
}

}  // namespace
}  // namespace splashmask

int main(int argc, char** argv) {
  int runs = 5;
  if (argc == 3 && std::string_view(argv[1]) == "--runs") runs = std::atoi(argv[2]);
  if (runs < 1 || (argc != 1 && argc != 3)) {
    fmt::print(stderr, "usage: tune_benchmark [--runs N]\n");
    return 2;
  }
  return splashmask::Run(runs);
}
