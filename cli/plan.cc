// SPDX-License-Identifier: Apache-2.0
// splashmask plan: what a mask costs on a TPU, before it is launched.

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/plan_balance.h"
#include "splashmask/cli/plan_compare_xla.h"
#include "splashmask/cli/plan_footprint.h"
#include "splashmask/cli/plan_tune.h"

namespace splashmask::cli {

namespace {

struct Arguments {
  std::vector<std::string> masks;
  PlanArguments question;
  BalanceArguments balance;
  std::string method;  // Of balancing; empty without.
  std::optional<std::string> compare_xla;
  bool tune = false, roofline = false;
  std::string print;  // Of tuning; empty without.
  bool json = false;
};

const std::vector<std::string> kPrints = {"table", "kwargs", "maxtext"};

constexpr const char* kHelp =
    "Tell how long splash attention takes on a TPU and whether it fits, or tune it";

constexpr const char* kMore =
    R"(For each kernel that JAX's splash attention runs: how long it takes, the scoped
VMEM that it needs, with the band that the compiler's answer lies in, the SMEM of
its tables, and the HBM of a program that calls it. Where something does not fit,
by how many bytes, and the nearest block sizes that do. Exit code 1 when it does not
fit, 0 when it does or when it is too close to call.

With --tune: the fastest legal block sizes, layouts and backward kernel, those that
surely fit VMEM, SMEM and HBM, of some thousands, each counted exactly. Layouts that
are named are kept, so is --fused-bwd; --passes fwd asks for the forward pass alone.
Block sizes that are named, or a plan file's, are timed beside. -o writes the plan
that has the sizes found.

With --balance: which q positions each of --shards gets, as many to each.
contiguous leaves them where they are, zigzag gives shard i pieces i and 2n-1-i of
2n, striped the positions that are i modulo n, and lpt whole q blocks by their work,
the longest processing time first. All four are told side by side. Work is counted
exactly: in blocks that the kernel visits, as it computes each of them whole, or in
visible pairs. Several masks are those of a model's layers: --weights 5,1 says that
five layers have the first for one that has the second. kv positions stay in their
order.

With --compare-xla the buffers that a program of the forward kernel should have in
memory, beside those that XLA gave it: FILE is the buffer assignment that
XLA_FLAGS=--xla_dump_to=DIR makes it write. Block sizes, heads and lengths are the
kernel's, as its custom call tells them. Exit code 1 where any differs.

Examples:
  splashmask plan llama.h5 --chip v6e --kv-heads 8
  splashmask plan 'causal()' --q-len 32768 --heads 32 --block-q 1024 --block-kv 1024 --chip v5p
  splashmask plan 'causal()' --tune --q-len 32768 --heads 32 --kv-heads 8 --chip v6e
  splashmask plan llama.h5 --tune --chip tpu7x --print maxtext
  splashmask plan --balance lpt --shards 8 'local(1023, 0)' 'causal()' --weights 5,1 --q-len 65536
  splashmask plan --balance lpt --shards 8 'causal()' --q-len 65536 -o even.h5)";

ExitCode Balance(const Arguments& arguments, const std::atomic<bool>& stop) {
  BalanceArguments balance = arguments.balance;
  const PlanArguments& asked = arguments.question;
  PlanArguments others = asked;  // That it does not take.
  others.lengths = MaskLengths();
  others.compile.block_q.reset();
  others.compile.block_kv.reset();
  if (!(others == PlanArguments())) {
    ThrowUnusable(
        "expected neither a chip nor a call beside --balance: it takes lengths, --block-q and "
        "--block-kv");
  }
  balance.masks = arguments.masks;
  balance.lengths = asked.lengths;
  balance.method = arguments.method;
  balance.block_q = asked.compile.block_q.value_or(balance.block_q);
  balance.block_kv = asked.compile.block_kv.value_or(balance.block_kv);
  return PlanBalance(balance, arguments.json, stop);
}

ExitCode CompareXla(const Arguments& arguments, const std::atomic<bool>& stop) {
  const PlanArguments& asked = arguments.question;
  PlanArguments others = asked;  // That it does not take.
  others.lengths = MaskLengths();
  others.chip.reset();
  others.scoped_vmem_limit_kib.reset();
  if (!(others == PlanArguments())) {
    ThrowUnusable(
        "expected no call beside --compare-xla, whose dump tells it: lengths, --chip and "
        "--scoped-vmem-limit-kib are taken");
  }
  CompareXlaArguments compare;
  compare.plan = arguments.masks[0];
  compare.lengths = asked.lengths;
  compare.file = *arguments.compare_xla;
  compare.chip = asked.chip.value_or(compare.chip);
  compare.scoped_vmem_limit_kib = asked.scoped_vmem_limit_kib;
  return PlanCompareXla(compare, arguments.json, stop);
}

ExitCode RunTune(const Arguments& arguments, const std::atomic<bool>& stop) {
  const std::vector<std::string>& outputs = arguments.balance.outputs;
  if (outputs.size() > 1) ThrowUnusable("expected one -o beside --tune");
  if (arguments.json && !arguments.print.empty()) {
    ThrowUnusable("expected --print or --json, got both");
  }
  PlanArguments question = arguments.question;
  question.mask = arguments.masks[0];
  const TuneOutput format = arguments.json                  ? TuneOutput::kJson
                            : arguments.print == kPrints[1] ? TuneOutput::kKwargs
                            : arguments.print == kPrints[2] ? TuneOutput::kMaxText
                                                            : TuneOutput::kText;
  return PlanTune(question, format, outputs.empty() ? std::nullopt : std::optional(outputs.front()),
                  stop);
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  const int kinds = static_cast<int>(!arguments.method.empty()) +
                    static_cast<int>(arguments.compare_xla.has_value()) +
                    static_cast<int>(arguments.tune);
  if (kinds > 1) ThrowUnusable("expected one of --balance, --tune and --compare-xla");
  if (arguments.roofline && (kinds > 0 || arguments.json)) {
    ThrowUnusable("expected --roofline without --json, --balance, --tune and --compare-xla");
  }
  if (!arguments.tune && !arguments.print.empty()) ThrowUnusable("expected --tune beside --print");
  if (!arguments.method.empty()) return Balance(arguments, stop);
  BalanceArguments others = arguments.balance;  // That only balancing takes.
  if (arguments.tune) others.outputs.clear();
  if (!(others == BalanceArguments())) {
    ThrowUnusable(fmt::format(
        "expected --balance beside --shards, --weights, --unit,{} --permutation and --threads",
        arguments.tune ? "" : " --output,"));
  }
  if (arguments.masks.size() != 1) ThrowUnusable("expected one MASK without --balance");
  if (arguments.tune) return RunTune(arguments, stop);
  if (arguments.compare_xla) return CompareXla(arguments, stop);
  PlanArguments question = arguments.question;
  question.mask = arguments.masks[0];
  return PlanFootprint(question, arguments.json, arguments.roofline, stop);
}

void AddBalance(CommandSyntax& syntax, Arguments& a) {
  BalanceArguments& balance = a.balance;
  syntax.Choice("--balance", "METHOD", a.method, {"contiguous", "zigzag", "striped", "lpt"},
                "Deal q positions to shards: contiguous, zigzag, striped or lpt");
  syntax.Integer("--shards", balance.shards, "With --balance: shards of the q positions");
  syntax.Integers("--weights", balance.weights,
                  "With --balance: layers that each MASK has, for example 5,1 (default: 1 each)");
  syntax.Choice("--unit", "UNIT", balance.unit, {"blocks", "pairs"},
                "What lpt balances: blocks or pairs (default: blocks)");
  syntax.Texts("-o,--output", "FILE", balance.outputs,
               "The plan file of the reordered or tuned MASK; again for each further MASK");
  syntax.Text("--permutation", "FILE", balance.permutation,
              "Write the original position of each row, int32, to a .npy file");
  syntax.Integer("--threads", balance.threads, "Threads to use (default: 0, all)", {0, 1024});
}

}  // namespace

void AddPlan(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax = line.Add("plan", kHelp, kMore, [arguments](const std::atomic<bool>& stop) {
    return Run(*arguments, stop);
  });
  syntax.Positionals("MASK", arguments->masks,
                     "A plan file, or the text form of a mask; with --balance texts");
  AddPlanArguments(syntax, arguments->question);
  syntax.Flag("--roofline", arguments->roofline, "Draw the kernels under the chip's roofline");
  syntax.Flag("--tune", arguments->tune, "Find the fastest block sizes");
  syntax.Choice("--print", "FORM", arguments->print, kPrints,
                "With --tune: table, kwargs of Python, or maxtext, YAML (default: table)");
  AddBalance(syntax, *arguments);
  syntax.Text("--compare-xla", "FILE", arguments->compare_xla, "A buffer assignment of XLA");
  syntax.Flag("--json", arguments->json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
