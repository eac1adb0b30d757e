// SPDX-License-Identifier: Apache-2.0
// splashmask bench attention: attention on this machine's processors beside other libraries',
// taking turns, every number compared first.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/cli/attention_peers.h"
#include "splashmask/cli/bench_attention_report.h"
#include "splashmask/cli/commands.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/peers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/run_arrays.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/cli/timing.h"
#include "splashmask/io/arrays.h"
#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fma_peak.h"
#include "splashmask/kernels/simd_target.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/threads.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::vector<std::string> masks;
  int64_t q_len = 4096, heads = 8;
  std::optional<int64_t> kv_len, block_q, block_kv;
  ArraysWanted arrays;
  PeersWanted peers;
  bool backward = false;
  int repeat = 5, threads = 0;
  bool json = false;
};

constexpr const char* kHelp = "Time attention on this machine beside torch's and JAX's";

constexpr const char* kMore =
    R"(Without masks: full(), causal() and local(1024, 0). q, k and v are drawn at random.

Peers are looked for by the Python of --python: sdpa and flex (torch's scaled_dot_product_attention
and compiled FlexAttention with its BlockMask) and jax (jax.nn.dot_product_attention in jit). What
cannot be imported is told and left out. Each result is compared with ours before anything is timed;
then all take turns, on as many processors as there are threads, and medians count. With --backward
the time is that of the forward pass and the gradients of q, k and v together.

GFLOP/s count the pairs that the mask lets through. The share is of the float32 multiply-adds that as
many threads do in registers, measured in the same run.

Examples:
  splashmask bench attention
  splashmask bench attention 'causal() & local(511, 0)' --q-len 8192 --kv-heads 2 --backward
  splashmask bench attention 'causal()' --dtype bfloat16 --peers sdpa --python ~/torch/bin/python)";

// [batch, heads, length, dim] of its own.
class OwnedTensor {
 public:
  OwnedTensor(const ConstTensor& like, int64_t dim)
      : bytes_(static_cast<size_t>(like.batch * like.heads * like.length * dim *
                                   FloatSize(like.type))),
        view_(Tensor::Contiguous(bytes_.data(), like.type, like.batch, like.heads, like.length,
                                 dim)) {}
  const Tensor& view() const { return view_; }

 private:
  std::vector<std::byte> bytes_;
  Tensor view_;
};

// The block shape of every pass: what is asked for, or about 512.
BlockShape BlockOf(const Arguments& arguments, Shape shape) {
  const auto choose = [](int64_t length) {
    constexpr int64_t kWanted = 512, kLeast = 64;
    int64_t block = std::min(kWanted, length);
    while (length % block != 0) --block;
    return block < kLeast ? length : block;
  };
  return {arguments.block_q.value_or(choose(shape.q_len)),
          arguments.block_kv.value_or(choose(shape.kv_len))};
}

Plan CompileMask(const Arguments& arguments, const std::string& text, ProgressBar& bar) {
  const Shape shape{arguments.q_len, arguments.kv_len.value_or(arguments.q_len)};
  CompileOptions options;
  options.fwd = BlockOf(arguments, shape);
  if (arguments.backward) options.dq = options.dkv = options.fwd;
  options.progress = bar.Step("compile");
  return Compile(ParseMultiHeadMask(text, shape, arguments.heads, FileResolver()), options);
}

// One mask, computed by us and by every peer.
class Row {
 public:
  Row(const Arguments& arguments, const Plan& plan, ProgressBar& bar)
      : arguments_(arguments),
        mask_(plan.mask),
        bar_(bar),
        arrays_(plan, arguments.arrays, bar.Step("draw")),
        inputs_(arrays_.inputs()),
        attention_(plan, {{}, arguments.threads, {}}),
        out_(inputs_.q, inputs_.v.dim),
        dq_(inputs_.q, inputs_.q.dim),
        dk_(inputs_.k, inputs_.k.dim),
        dv_(inputs_.v, inputs_.v.dim),
        d_out_(inputs_.q, inputs_.v.dim),
        logsumexp_(static_cast<size_t>(inputs_.q.batch * inputs_.q.heads * inputs_.q.length)) {}

  void Run(Peers* peers) {
    const Shape shape = mask_.shape();
    const auto is_first = [&](const Mask& mask) { return mask == mask_.masks().front(); };
    const bool is_one = std::ranges::all_of(mask_.masks(), is_first);
    result_.mask = is_one ? ToString(mask_.masks().front()) : ToString(mask_);
    result_.all_pairs = mask_.num_heads() * shape.q_len * shape.kv_len;
    for (const int64_t pairs : CountPairs(mask_, {}, arguments_.threads, bar_.Step("count"))) {
      result_.visible_pairs += pairs;
    }
    const double dims = static_cast<double>(inputs_.q.dim + inputs_.v.dim);
    const double of_gradients = static_cast<double>(3 * inputs_.q.dim + 2 * inputs_.v.dim);
    result_.ours.flops = 2 * static_cast<double>(result_.visible_pairs * inputs_.q.batch) *
                         (dims + (arguments_.backward ? of_gradients : 0));
    // Any numbers do for d_out: those of out.
    attention_.Forward(inputs_, d_out_.view(), logsumexp_, bar_.Step("forward"));
    Compute();
    if (peers != nullptr) Compare(*peers);
    const Progress progress = bar_.Step("time");
    for (int i = 0; i < arguments_.repeat; ++i) {
      progress.ThrowIfStopped();
      progress.Report(static_cast<double>(i) / arguments_.repeat);
      result_.ours.seconds.push_back(SecondsOf([&] { Compute(); }));
      for (AttentionPeerResult& peer : result_.peers) {
        peer.Try([&] { peer.timing.seconds.push_back(peers->SecondsOf(peer.name)); });
      }
    }
  }

  AttentionResult result() const { return result_; }
  const RunArrays& arrays() const { return arrays_; }

 private:
  void Compute() {
    attention_.Forward(inputs_, out_.view(), logsumexp_, bar_.Step("forward"));
    if (!arguments_.backward) return;
    attention_.Backward(inputs_, {out_.view(), logsumexp_}, d_out_.view(),
                        {dq_.view(), dk_.view(), dv_.view(), {}}, bar_.Step("backward"));
  }

  void Compare(Peers& peers) {
    bool is_loaded = false;
    for (const auto& [name, version] : peers.versions()) {
      bar_.Step(name).Report(0);
      AttentionPeerResult& peer = result_.peers.emplace_back();
      peer.name = name;
      peer.title = AttentionPeers().Title(name);
      peer.version = version;
      peer.Try([&] {
        if (!is_loaded) LoadAttention(peers, {mask_, inputs_, d_out_.view(), arguments_.backward});
        is_loaded = true;
        for (const auto& [what, numbers] : ComputeAttention(peers, peer.name)) {
          if (peer.problem.empty()) CompareOne(what, numbers, &peer);
        }
      });
    }
  }

  void CompareOne(const std::string& what, const std::vector<float>& theirs,
                  AttentionPeerResult* peer) {
    const Tensor& ours = (what == "out"  ? out_
                          : what == "dq" ? dq_
                          : what == "dk" ? dk_
                                         : dv_)
                             .view();
    const int64_t size = ours.batch * ours.heads * ours.length * ours.dim;
    if (std::ssize(theirs) != size) {
      result_.has_mismatch = true;
      peer->problem = fmt::format("not timed: expected {} numbers of its {}, got {}", size, what,
                                  theirs.size());
      return;
    }
    // Sums of rounded numbers, in another order: by their mean square, and the worst of them.
    const double tolerance = ours.type == FloatType::kFloat32 ? 1e-4 : 2e-2;
    double largest = 0, difference = 0, squares = 0, squares_apart = 0;
    size_t i = 0;
    for (int64_t row = 0; row < ours.batch * ours.heads * ours.length; ++row) {
      const int64_t head = row / ours.length;
      // A row that sees nothing is 0 here, and something else elsewhere.
      const bool is_empty =
          (what == "out" || what == "dq") && std::isinf(logsumexp_[static_cast<size_t>(row)]);
      for (int64_t d = 0; d < ours.dim; ++d, ++i) {
        if (is_empty) continue;
        const auto own = static_cast<double>(
            ours.At(head / ours.heads, head % ours.heads, row % ours.length, d));
        const double apart = std::abs(own - static_cast<double>(theirs[i]));
        largest = std::max(largest, std::abs(own));
        if (apart > difference || std::isnan(apart)) difference = apart;
        squares += own * own;
        squares_apart += apart * apart;
      }
    }
    if (difference <= 10 * tolerance * (1 + largest) &&
        squares_apart <= tolerance * tolerance * (1 + squares)) {
      peer->difference = std::max(peer->difference, difference);
      return;
    }
    result_.has_mismatch = true;
    peer->problem = fmt::format("not timed: its {} differs from ours by {:.1e}", what, difference);
  }

  const Arguments& arguments_;
  const MultiHeadMask mask_;
  ProgressBar& bar_;
  const RunArrays arrays_;
  const AttentionInputs inputs_;
  const SplashAttention attention_;
  OwnedTensor out_, dq_, dk_, dv_, d_out_;
  std::vector<float> logsumexp_;
  AttentionResult result_;
};

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  std::vector<std::string> masks = arguments.masks;
  if (masks.empty()) masks = {"full()", "causal()", "local(1024, 0)"};
  const int threads = CountThreads(arguments.threads);
  ProgressBar bar(stop);
  std::vector<Plan> plans;  // All of them before any work, so that none is lost.
  for (const std::string& mask : masks) plans.push_back(CompileMask(arguments, mask, bar));
  std::map<std::string, std::string> missing;
  const std::unique_ptr<Peers> peers =
      StartPeers(arguments.peers, AttentionPeers(), threads, bar, stop, &missing);
  double peak = 0;  // The best that was seen before and after any of them.
  std::string arrays;
  json::object described;
  std::vector<AttentionResult> results;
  for (const Plan& plan : plans) {
    peak = std::max(peak, MeasureFmaPeak(threads));
    Row row(arguments, plan, bar);
    row.Run(peers.get());
    results.push_back(row.result());
    arrays = row.arrays().Describe();
    described = row.arrays().DescribeJson();
    described["block_q"] = plan.fwd->block.q;
    described["block_kv"] = plan.fwd->block.kv;
  }
  described["backward"] = arguments.backward;
  described["threads"] = threads;
  described["simd_target"] = SimdTarget();
  peak = std::max(peak, MeasureFmaPeak(threads));
  bar.Wipe();
  std::string text =
      fmt::format("{}, {} thread{}, {}, peak {:.1f} GFLOP/s in float32 multiply-adds\n", arrays,
                  threads, threads == 1 ? "" : "s", SimdTarget(), peak / 1e9);
  json::array masks_json;
  json::object left_out;
  for (const AttentionResult& result : results) {
    text += result.Describe(peak);
    masks_json.push_back(result.DescribeJson(peak));
  }
  for (const auto& [name, reason] : missing) left_out[name] = reason;
  described["peak_gflops"] = peak / 1e9;
  described["masks"] = masks_json;
  described["missing"] = left_out;
  WriteStdout(arguments.json ? ToLine(described) : text);
  const bool has_mismatch = std::ranges::any_of(results, &AttentionResult::has_mismatch);
  return has_mismatch ? kAnswerIsNo : kDone;
}

}  // namespace

void AddBenchAttention(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax =
      line.Add("bench attention", kHelp, kMore,
               [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); });
  Arguments& a = *arguments;
  syntax.Positionals("MASK", a.masks, "Masks, in their text form");
  syntax.Integer("--q-len", a.q_len, "Number of q positions (default: 4096)");
  syntax.Integer("--kv-len", a.kv_len, "Number of kv positions (default: --q-len)");
  syntax.Integer("--heads", a.heads, "Heads of q (default: 8)");
  AddDrawnArrays(syntax, a.arrays);
  syntax.Integer("--block-q", a.block_q, "Block shape of every pass (default: about 512)");
  syntax.Integer("--block-kv", a.block_kv, "Likewise");
  syntax.Flag("--backward", a.backward, "With the gradients of q, k and v");
  AddPeersWanted(syntax, AttentionPeers(), a.peers);
  syntax.Integer("--repeat", a.repeat, "Turns, of which the median counts (default: 5)",
                 {1, 1000000});
  syntax.Integer("--threads", a.threads, "Threads to use (default: 0, all)", {0, 1024});
  syntax.Flag("--json", a.json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
