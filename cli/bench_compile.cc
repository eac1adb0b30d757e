// SPDX-License-Identifier: Apache-2.0
// splashmask bench compile: the time to compile masks beside JAX's and tokamax's, every table
// compared first.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/cli/bench_compile_report.h"
#include "splashmask/cli/commands.h"
#include "splashmask/cli/compile_peers.h"
#include "splashmask/cli/peers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/plan_tables.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/cli/timing.h"
#include "splashmask/io/arrays.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/tokamax.h"
#include "splashmask/planner/grouped.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::vector<std::string> masks;
  int64_t q_len = 32768;
  std::optional<int64_t> kv_len, heads;
  int64_t block_q = 512, block_kv = 512;
  std::vector<std::string> passes;
  PeersWanted peers;
  int64_t peer_limit = 60;
  int repeat = 5, threads = 0;
  bool json = false;

  Shape shape() const { return {q_len, kv_len.value_or(q_len)}; }
  BlockShape block() const { return {block_q, block_kv}; }
};

constexpr const char* kHelp = "Time the compiler on this machine beside JAX's and tokamax's";

constexpr const char* kMore =
    R"(Without masks: causal, a window, chunks, packed documents and a predicate. Nothing comes from a
cache.

Peers are looked for by the Python of --python: jax (process_mask and process_mask_dkv of its splash
attention) and tokamax (those of its own). They are given their own mask classes where they have them,
and else a mask that NumPy evaluates. What cannot be imported is told and left out. Every field of
their tables is compared with ours before anything is timed; then all take turns, and medians count.
What takes a second or more is run once, what takes longer than --peer-limit is stopped.

Examples:
  splashmask bench compile
  splashmask bench compile 'causal() & local(1023, 0)' --q-len 131072 --peers jax --peer-limit 300
  splashmask bench compile 'causal()' --q-len 1048576 --passes fwd --peers none)";

// Documents of many lengths, as a batch of packed ones has them; `length` positions in all.
std::string PackedDocuments(int64_t length) {
  constexpr int64_t kLengths[] = {1210, 3650, 480, 2070, 930, 6140, 310, 1580};  // Mean 2046.
  std::vector<int64_t> lengths;
  for (size_t i = 0; length > 0; ++i) {
    lengths.push_back(std::min(length, kLengths[i % std::size(kLengths)]));
    length -= lengths.back();
  }
  return fmt::format("documents([{}])", fmt::join(lengths, ", "));
}

std::vector<std::string> DefaultMasks(Shape shape) {
  return {"causal()", "causal() & local(4095, 0)", "chunked_causal(8192)",
          "causal() & " + PackedDocuments(std::min(shape.q_len, shape.kv_len)),
          R"(where("q >= kv and (q - kv) % 64 < 8"))"};
}

// What a compile makes, in whichever dialect.
std::vector<PlanTable> TablesOf(const Plan& plan) {
  std::vector<PlanTable> all;
  const auto append = [&](const auto& pass) {
    if (!pass) return;
    for (PlanTable& table : PlanTables(pass->info)) all.push_back(std::move(table));
  };
  for (const Pass pass : kAllPasses) append(plan.pass(pass));
  for (const Pass pass : kTokamaxPasses) append(plan.tokamax_pass(pass));
  return all;
}

// One mask, compiled by us and by every peer.
class Row {
 public:
  Row(const Arguments& arguments, const std::string& text, ProgressBar& bar)
      : arguments_(arguments), text_(text), bar_(bar) {
    for (const Pass pass : kTokamaxPasses) {
      const std::vector<std::string>& names = arguments.passes;
      if (names.empty() || std::ranges::find(names, PassName(pass)) != names.end()) {
        passes_.push_back(pass);
      }
    }
    const Plan plan = Compile(kJax, Parse());
    result_.heads = plan.mask.num_heads();
    result_.mask = plan.has_one_mask() ? ToString(plan.mask.masks().front()) : ToString(plan.mask);
    for (const PlanTable& table : TablesOf(plan)) sizes_.push_back(table.size_bytes());
    result_.table_bytes = TotalBytes(TablesOf(plan));
    const auto& blocks = (plan.fwd ? plan.fwd : plan.dkv)->info.partial_mask_blocks;
    result_.partial_blocks = blocks ? blocks->count() : 0;
  }

  void Run(Peers* peers) {
    if (peers != nullptr) Compare(*peers);
    const Progress progress = bar_.Step("time");
    for (int i = 0; i < arguments_.repeat; ++i) {
      progress.ThrowIfStopped();
      progress.Report(static_cast<double>(i) / arguments_.repeat);
      result_.ours.seconds.push_back(CompileTurn(kJax));
      result_.write.seconds.push_back(WriteTurn());
      for (CompilePeerResult& peer : result_.peers) {
        if (!peer.problem.empty()) continue;
        peer.ours.seconds.push_back(peer.name == kJax ? result_.ours.seconds.back()
                                                      : CompileTurn(peer.name));
        if (peer.over || peer.runs_once) continue;
        peer.Try([&] { peer.timing.seconds.push_back(peers->SecondsOf(peer.name)); });
      }
    }
  }

  const CompileResult& result() const { return result_; }

 private:
  static constexpr const char* kJax = "jax";  // The dialect, as the peer that has it.

  MultiHeadMask Parse() const {
    return ParseMultiHeadMask(text_, arguments_.shape(), arguments_.heads.value_or(0),
                              FileResolver());
  }

  Plan Compile(const std::string& dialect, const MultiHeadMask& mask) {
    if (dialect == kJax) {
      CompileOptions options;
      for (const Pass pass : passes_) {
        (pass == Pass::kFwd ? options.fwd : options.dkv) = arguments_.block();
      }
      options.threads = arguments_.threads;
      options.progress = bar_.Step("compile");
      return splashmask::Compile(mask, options);
    }
    Plan plan{mask, {}, {}, {}, {}};
    for (const Pass pass : passes_) {
      TokamaxOptions options;
      options.block = arguments_.block();
      options.is_dkv = pass == Pass::kDkv;
      options.threads = arguments_.threads;
      options.progress = bar_.Step("compile");
      plan.tokamax_pass(pass) = CompileTokamax(mask.masks().front(), options);
    }
    return plan;
  }

  // The median of as many as a hundredth of a second holds: what takes microseconds needs more than
  // one to be told.
  template <typename Work>
  static double Turn(const Work& seconds_of_one) {
    Timing timing;
    double sum = 0;
    while (sum < 0.01) sum += timing.seconds.emplace_back(seconds_of_one());
    return timing.median();
  }

  // Of masks that are parsed anew: they remember what was asked of them.
  double CompileTurn(const std::string& dialect) {
    return Turn([&] {
      const MultiHeadMask mask = Parse();
      std::optional<Plan> plan;
      return SecondsOf([&] { plan = Compile(dialect, mask); });
    });
  }

  double WriteTurn() const {
    return Turn([&] {
      std::vector<std::shared_ptr<std::byte>> tables;
      return SecondsOf([&] {
        for (const int64_t size : sizes_) {
          tables.push_back(AllocateBytes(size));
          std::memset(tables.back().get(), 1, static_cast<size_t>(size));
        }
      });
    });
  }

  void Compare(Peers& peers) {
    bool is_loaded = false;
    const MultiHeadMask mask = Parse();
    for (const auto& [name, version] : peers.versions()) {
      CompilePeerResult& peer = result_.peers.emplace_back();
      peer.name = name;
      peer.title = CompilePeers().Title(name);
      peer.version = version;
      peer.Try([&] {
        if (!is_loaded) LoadMask(peers, mask, arguments_.block(), passes_);
        is_loaded = true;
        CompareOne(peers, mask, &peer);
      });
    }
  }

  void CompareOne(Peers& peers, const MultiHeadMask& mask, CompilePeerResult* peer) {
    const auto limit = static_cast<double>(arguments_.peer_limit);
    const std::optional<double> seconds =
        peers.SecondsWithin(peer->name, limit, bar_.Step(peer->name));
    if (!seconds) {
      peer->over = limit;
      return;
    }
    const std::string difference =
        FirstDifference(TellTables(Compile(peer->name, mask)), TellTables(peers, peer->name));
    if (!difference.empty()) {
      result_.has_mismatch = true;
      peer->problem = "not timed: its " + difference;
    } else if (*seconds >= 1) {
      peer->runs_once = true;
      peer->timing.seconds.push_back(*seconds);
    }
  }

  const Arguments& arguments_;
  const std::string text_;
  ProgressBar& bar_;
  std::vector<Pass> passes_;
  std::vector<int64_t> sizes_;  // Of what a compile writes.
  CompileResult result_;
};

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  const std::vector<std::string> masks =
      arguments.masks.empty() ? DefaultMasks(arguments.shape()) : arguments.masks;
  const int threads = CountThreads(arguments.threads);
  ProgressBar bar(stop);
  std::vector<Row> rows;  // All of them before any work, so that none is lost.
  for (const std::string& mask : masks) rows.emplace_back(arguments, mask, bar);
  std::map<std::string, std::string> missing;
  const std::unique_ptr<Peers> peers =
      StartPeers(arguments.peers, CompilePeers(), threads, bar, stop, &missing);
  std::vector<std::string> passes = arguments.passes;
  if (passes.empty()) passes = {"fwd", "dkv"};
  std::string text = fmt::format(
      "{} q x {} kv, blocks of {} x {}, {}, {} thread{}\n", Grouped(arguments.shape().q_len),
      Grouped(arguments.shape().kv_len), Grouped(arguments.block_q), Grouped(arguments.block_kv),
      fmt::join(passes, " and "), threads, threads == 1 ? "" : "s");
  json::array described;
  json::object left_out;
  bool has_mismatch = false;
  for (Row& row : rows) {
    row.Run(peers.get());
    text += row.result().Describe();
    described.push_back(row.result().DescribeJson());
    has_mismatch |= row.result().has_mismatch;
  }
  for (const auto& [name, reason] : missing) left_out[name] = reason;
  bar.Wipe();
  WriteStdout(arguments.json ? ToLine({{"q_len", arguments.shape().q_len},
                                       {"kv_len", arguments.shape().kv_len},
                                       {"block_q", arguments.block_q},
                                       {"block_kv", arguments.block_kv},
                                       {"passes", json::array(passes.begin(), passes.end())},
                                       {"threads", threads},
                                       {"peer_limit", arguments.peer_limit},
                                       {"missing", left_out},
                                       {"masks", described}})
                             : text);
  return has_mismatch ? kAnswerIsNo : kDone;
}

}  // namespace

void AddBenchCompile(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax =
      line.Add("bench compile", kHelp, kMore,
               [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); });
  Arguments& a = *arguments;
  syntax.Positionals("MASK", a.masks, "Masks, in their text form");
  syntax.Integer("--q-len", a.q_len, "Number of q positions (default: 32768)");
  syntax.Integer("--kv-len", a.kv_len, "Number of kv positions (default: --q-len)");
  syntax.Integer("--heads", a.heads, "Number of heads (default: as many as MASK says, else 1)");
  syntax.Integer("--block-q", a.block_q, "q positions of a block (default: 512)");
  syntax.Integer("--block-kv", a.block_kv, "kv positions of a block (default: 512)");
  syntax.Choices("--passes", "LIST", a.passes, {"fwd", "dkv"},
                 "Passes to compile, of fwd,dkv (default: both)");
  AddPeersWanted(syntax, CompilePeers(), a.peers);
  syntax.Integer("--peer-limit", a.peer_limit, "Seconds that a peer may take (default: 60)",
                 {1, 1000000});
  syntax.Integer("--repeat", a.repeat, "Turns, of which the median counts (default: 5)",
                 {1, 1000000});
  syntax.Integer("--threads", a.threads, "Threads to use (default: 0, all)", {0, 1024});
  syntax.Flag("--json", a.json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
