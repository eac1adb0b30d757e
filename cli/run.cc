// SPDX-License-Identifier: Apache-2.0
// splashmask run: attention over a plan, on this machine's processors, timed and checked.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/run_arrays.h"
#include "splashmask/cli/run_check.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/cli/timing.h"
#include "splashmask/io/arrays.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fma_peak.h"
#include "splashmask/kernels/simd_target.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/short_text.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/plan_statistics.h"
#include "splashmask/planner/threads.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::string file;
  ArraysWanted arrays;
  bool backward = false;
  int repeat = 5;
  int64_t check_rows = 64;
  int threads = 0;
  std::optional<std::string> output, logsumexp;
  bool json = false;
};

constexpr const char* kHelp = "Compute attention over a plan on this machine, timed and checked";

constexpr const char* kMore =
    R"(Without --q, --k and --v they are drawn at random, q divided by sqrt(head_dim). Nothing here scales q.
Arrays are name.npy or file.h5:/path, float32 or (in .npy) bfloat16, [heads, length, dim] or
[batch, heads, length, dim]. What is written is float32: -o out.npy, or -o out.h5 with the datasets
out and logsumexp.

GFLOP/s count the pairs that the mask lets through. The share is of the float32 multiply-adds that
as many threads do in registers, measured in the same run. The error is the largest beside attention
in float64, at rows chosen at random.

Examples:
  splashmask compile 'causal()' --q-len 2048 --heads 2 -o small.h5
  splashmask run small.h5
  splashmask run small.h5 --dtype bfloat16 --kv-heads 1 --backward
  splashmask run small.h5 --q q.npy --k k.npy --v v.npy -o out.npy --lse lse.npy)";

template <typename Work>
Timing Measure(int repeat, double flops, const Work& work) {
  Timing timing{{}, flops};
  for (int i = 0; i < repeat; ++i) timing.seconds.push_back(SecondsOf(work));
  return timing;
}

class RunOfPlan {
 public:
  RunOfPlan(const Arguments& arguments, Plan plan, ProgressBar& bar)
      : arguments_(arguments),
        bar_(bar),
        arrays_(plan, arguments.arrays, bar.Step("draw")),
        attention_(std::move(plan), {{}, arguments.threads, {}}) {}

  void Compute() {
    const AttentionInputs in = arrays_.inputs();
    const Tensor out = Like(in.q, in.v.dim, out_);
    threads_ = CountThreads(arguments_.threads);
    peak_ = MeasureFmaPeak(threads_);  // And again afterwards: the machine may be busy.
    logsumexp_.resize(static_cast<size_t>(in.q.batch * in.q.heads * in.q.length));
    // Also the one that is not timed: pages are touched, clocks are up.
    attention_.Forward(in, out, logsumexp_, bar_.Step("forward"));
    CountVisible();
    const double dims = static_cast<double>(in.q.dim + in.v.dim);
    const double pairs = static_cast<double>(pairs_) * static_cast<double>(in.q.batch);
    forward_ = Measure(arguments_.repeat, 2 * pairs * dims,
                       [&] { attention_.Forward(in, out, logsumexp_, bar_.Step("forward")); });
    if (arguments_.backward) ComputeBackward(in, out, pairs);
    errors_ = CheckRows(attention_.plan().mask, in, out_, logsumexp_, arguments_.check_rows,
                        bar_.Step("check"));
    bar_.Wipe();
    peak_ = std::max(peak_, MeasureFmaPeak(threads_));
    bar_.Step("").ThrowIfStopped();
  }

  void Write() const {
    const NamedFloats out{"out", arrays_.OutShape(), out_};
    const NamedFloats logsumexp{"logsumexp", arrays_.LogsumexpShape(), logsumexp_};
    if (arguments_.output) {
      const bool both = HoldsManyFloats(*arguments_.output) && !arguments_.logsumexp;
      WriteFloats(*arguments_.output,
                  both ? std::vector{out, logsumexp} : std::vector<NamedFloats>{out});
    }
    if (arguments_.logsumexp) WriteFloats(*arguments_.logsumexp, std::vector{logsumexp});
  }

  std::string Describe() const {
    const BlockCounts counts = Counts();
    std::string text = fmt::format(
        "mask      {}\narrays    {}\nblocks    {} full, {} partial, {} skipped of {} in all heads "
        "(fwd, {} q x {} kv)\n",
        ShortMaskText(ToString(attention_.plan().mask)), arrays_.Describe(), Grouped(counts.full),
        Grouped(counts.partial), Grouped(counts.empty), Grouped(counts.total()),
        attention_.plan().fwd->block.q, attention_.plan().fwd->block.kv);
    const auto line = [&](const char* name, const Timing& timing) {
      text +=
          fmt::format("{:<9} {}, {:.1f} GFLOP/s, {:.1f} % of the peak\n", name,
                      Duration(timing.median()), timing.rate() / 1e9, 100 * timing.rate() / peak_);
    };
    line("forward", forward_);
    if (backward_) line("backward", *backward_);
    text += fmt::format("peak      {:.1f} GFLOP/s in float32 multiply-adds, {} thread{}, {}\n",
                        peak_ / 1e9, threads_, threads_ == 1 ? "" : "s", SimdTarget());
    if (errors_.rows > 0) {
      text += fmt::format("error     {:.1e} in out, {:.1e} in logsumexp, at {} rows\n", errors_.out,
                          errors_.logsumexp, errors_.rows);
    }
    for (const auto& path : {arguments_.output, arguments_.logsumexp}) {
      if (path) text += fmt::format("wrote     {}\n", *path);
    }
    return text;
  }

  json::object DescribeJson() const {
    const auto timing = [&](const Timing& t) {
      return json::object{
          {"seconds", t.median()}, {"gflops", t.rate() / 1e9}, {"share_of_peak", t.rate() / peak_}};
    };
    const auto text = [](const std::optional<std::string>& path) {
      return path ? json::value(*path) : json::value(nullptr);
    };
    const auto number = [](double value) {  // JSON has neither NaN nor infinities.
      return std::isfinite(value) ? json::value(value) : json::value(nullptr);
    };
    json::object result{{"file", arguments_.file}, {"mask", ToString(attention_.plan().mask)}};
    for (const auto& [key, value] : arrays_.DescribeJson()) result[key] = value;
    const json::object rest{
        {"threads", threads_},
        {"simd_target", SimdTarget()},
        {"blocks", CountsJson(Counts())},
        {"visible_pairs", pairs_},
        {"forward", timing(forward_)},
        {"backward", backward_ ? json::value(timing(*backward_)) : json::value(nullptr)},
        {"peak_gflops", peak_ / 1e9},
        {"error", errors_.rows == 0
                      ? json::value(nullptr)
                      : json::value(json::object{{"rows", errors_.rows},
                                                 {"out", number(errors_.out)},
                                                 {"logsumexp", number(errors_.logsumexp)}})},
        {"output", text(arguments_.output)},
        {"logsumexp_output", text(arguments_.logsumexp)}};
    for (const auto& [key, value] : rest) result[key] = value;
    return result;
  }

 private:
  static Tensor Like(const ConstTensor& shape, int64_t dim, std::vector<float>& memory) {
    memory.resize(static_cast<size_t>(shape.batch * shape.heads * shape.length * dim));
    return Tensor::Contiguous(memory.data(), FloatType::kFloat32, shape.batch, shape.heads,
                              shape.length, dim);
  }

  BlockCounts Counts() const {
    BlockCounts counts;
    for (const BlockCounts& head : CountBlocks(attention_.plan(), Pass::kFwd)) counts += head;
    return counts;
  }

  void CountVisible() {
    const std::vector<int64_t> pairs =
        CountPairs(attention_.plan().mask, {}, arguments_.threads, bar_.Step("count"));
    pairs_ = std::accumulate(pairs.begin(), pairs.end(), int64_t{0});
  }

  void ComputeBackward(const AttentionInputs& in, const Tensor& out, double pairs) {
    std::vector<float> dq, dk, dv;
    // Any numbers do, for nothing but time is told of gradients.
    std::vector<float> d_out_values(out_);
    const Tensor d_out = Like(in.q, in.v.dim, d_out_values);
    const AttentionGradients gradients{
        Like(in.q, in.q.dim, dq), Like(in.k, in.k.dim, dk), Like(in.v, in.v.dim, dv), {}};
    const auto run = [&] {
      attention_.Backward(in, {out, logsumexp_}, d_out, gradients, bar_.Step("backward"));
    };
    run();
    const double dims = static_cast<double>(3 * in.q.dim + 2 * in.v.dim);
    backward_ = Measure(arguments_.repeat, 2 * pairs * dims, run);
  }

  const Arguments& arguments_;
  ProgressBar& bar_;
  RunArrays arrays_;
  SplashAttention attention_;
  std::vector<float> out_, logsumexp_;
  int64_t pairs_ = 0;  // That the masks of all heads let through.
  Timing forward_;
  std::optional<Timing> backward_;
  RunErrors errors_;
  int threads_ = 0;
  double peak_ = 0;
};

std::filesystem::path FileOf(const std::string& name) {
  const auto inside = SplitHdf5Name(name);
  return std::filesystem::weakly_canonical(std::filesystem::absolute(inside ? inside->file : name));
}

/// Before any work, so that none is lost.
void CheckOutputs(const Arguments& arguments) {
  for (const auto& path : {arguments.output, arguments.logsumexp}) {
    if (path) CheckFloatsName(*path);
  }
  std::vector<std::string> used{arguments.file};
  for (const auto& path : {arguments.arrays.q, arguments.arrays.k, arguments.arrays.v}) {
    if (path) used.push_back(*path);
  }
  for (const auto& path : {arguments.output, arguments.logsumexp}) {
    if (!path) continue;
    if (!std::filesystem::is_directory(FileOf(*path).parent_path())) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("[arguments] expected a folder for {}, got none there", *path));
    }
    const auto is_same = [&](const std::string& other) { return FileOf(other) == FileOf(*path); };
    if (std::ranges::any_of(used, is_same)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("[arguments] expected a file of its own for what is written, got {} "
                              "twice",
                              *path));
    }
    used.push_back(*path);
  }
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  CheckOutputs(arguments);
  ProgressBar bar(stop);
  ReadOptions options;
  options.progress = bar.Step("read");
  Plan plan = ReadPlan(arguments.file, options).plan;
  if (!plan.fwd || (arguments.backward && !HasBackward(plan))) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[run] expected a plan with the pass{}, got {}",
                            arguments.backward ? "es fwd, dq and dkv (or --fused-bwd's fwd and dkv)"
                                               : " fwd",
                            arguments.file));
  }
  RunOfPlan run(arguments, std::move(plan), bar);
  run.Compute();
  run.Write();
  WriteStdout(arguments.json ? ToLine(run.DescribeJson()) : run.Describe());
  return kDone;
}

}  // namespace

void AddRun(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax = line.Add("run", kHelp, kMore, [arguments](const std::atomic<bool>& stop) {
    return Run(*arguments, stop);
  });
  Arguments& a = *arguments;
  syntax.Positional("PLAN", a.file, "The plan file");
  syntax.Text("--q", "FILE", a.arrays.q, "The queries");
  syntax.Text("--k", "FILE", a.arrays.k, "The keys");
  syntax.Text("--v", "FILE", a.arrays.v, "The values");
  AddDrawnArrays(syntax, a.arrays);
  syntax.Flag("--backward", a.backward, "Time the gradients of q, k and v, too");
  syntax.Integer("--repeat", a.repeat, "Runs, of which the median counts (default: 5)",
                 {1, 1000000});
  syntax.Integer("--check-rows", a.check_rows, "Rows to check in float64 (default: 64)",
                 {.least = 0});
  syntax.Integer("--threads", a.threads, "Threads to use (default: 0, all)", {0, 1024});
  syntax.Text("-o,--output", "FILE", a.output, "Write out, to .npy or .h5");
  syntax.Text("--lse", "FILE", a.logsumexp, "Write logsumexp, to .npy or .h5");
  syntax.Flag("--json", a.json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
