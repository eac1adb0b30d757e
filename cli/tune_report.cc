// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/tune_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/cli/footprint_report.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/time_report.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

constexpr size_t kOthersTold = 3;

std::string_view LayoutName(QkvLayout layout) {
  return layout == QkvLayout::kHeadDimMinor ? "head_dim_minor" : "seq_minor";
}

// Those of kernels that run.
std::vector<std::pair<std::string_view, int64_t>> SizesThatCount(const BlockSizes& sizes) {
  std::vector<std::pair<std::string_view, int64_t>> counting;
  for (const auto& size : NamedSizes(sizes)) {
    if (size.second > 0) counting.push_back(size);
  }
  return counting;
}

std::string Line(const TunedKernel& kernel, std::string_view name, double slower) {
  const KernelTime& time = kernel.time;
  const double gib = static_cast<double>(kernel.hbm_bytes) / (1 << 30);
  return fmt::format(
      "{:<13} {:<15}{:>9}{:>7}{:>9} {:>8} {:>8} {:>6.2f}\n", name, KernelBlocksText(kernel.blocks),
      Milliseconds(time.total()), slower > 0 ? fmt::format("+{:.1f}%", slower * 100) : "",
      Milliseconds(time.mxu), Milliseconds(time.vector), Milliseconds(time.hbm), gib);
}

double Slower(const TunedKernel& other, const TunedKernel& best) {
  return other.time.total() / best.time.total() - 1;
}

struct Part {
  const char* name;
  double more;  // Seconds of another kernel's, beyond the best one's.
};

// Where a kernel is faster than the next, and where it is slower.
std::string WhyText(const TunedKernel& best, const TunedKernel& next) {
  const KernelTime &a = best.time, &b = next.time;
  std::array<Part, 5> parts{{{"products", b.mxu - a.mxu},
                             {"vector", b.vector - a.vector},
                             {"copies", b.hbm - a.hbm},
                             {"other", b.overhead - a.overhead},
                             {"around", b.transposes - a.transposes}}};
  std::ranges::sort(parts, {}, &Part::more);
  const Part &loss = parts.front(), &gain = parts.back();
  std::string text;
  if (gain.more > 0) text = fmt::format("{} {} ms less", gain.name, Milliseconds(gain.more));
  if (loss.more < 0) {
    text += fmt::format("{}{} {} ms more", text.empty() ? "" : ", ", loss.name,
                        Milliseconds(-loss.more));
  }
  return text.empty() ? "" : fmt::format("  than the next: {}\n", text);
}

std::string ChoiceText(const KernelChoice& choice) {
  std::string text = Line(choice.best, TpuKernelName(choice.best.kernel), 0);
  for (const TunedKernel& other : choice.runners_up) {
    text += Line(other, "", Slower(other, choice.best));
  }
  if (!choice.runners_up.empty()) text += WhyText(choice.best, choice.runners_up.front());
  return text;
}

// "dq and dkv kernels, seq_minor k v", of another call than the best one.
std::string OtherText(const TunedCall& other, const BlockSizes& best) {
  std::string text;
  if (other.sizes.use_fused_bwd_kernel != best.use_fused_bwd_kernel) {
    text = other.sizes.use_fused_bwd_kernel ? "fused backward kernel, " : "dq and dkv kernels, ";
  }
  std::string seq_minor;
  for (const auto& [name, layout] : NamedLayouts(other.sizes)) {
    if (layout == QkvLayout::kSeqMinor) seq_minor += fmt::format(" {}", name[0]);
  }
  text += seq_minor.empty() ? "all head_dim_minor" : "seq_minor" + seq_minor;
  return other.fit() == Fit::kFits ? text : text + ", which may not fit";
}

// The next ones, and in any case the best with the other backward kernel.
std::vector<const TunedCall*> OthersTold(const TuneResult& result) {
  std::vector<const TunedCall*> told;
  bool has_other_kernel = false;
  for (const TunedCall& other : result.others) {
    const bool is_other_kernel =
        other.sizes.use_fused_bwd_kernel != result.best.sizes.use_fused_bwd_kernel;
    if (told.size() >= kOthersTold && (has_other_kernel || !is_other_kernel)) continue;
    has_other_kernel |= is_other_kernel;
    told.push_back(&other);
  }
  return told;
}

std::string OthersText(const TuneResult& result) {
  std::string text;
  for (const TunedCall* other : OthersTold(result)) {
    text += fmt::format("  {:+.1f} %  {}\n", (other->seconds() / result.best.seconds() - 1) * 100,
                        OtherText(*other, result.best.sizes));
  }
  return text.empty() ? "" : "\nwith other layouts or kernels, each at its best\n" + text;
}

std::string SurenessText(const TuneResult& result) {
  std::string text;
  for (const KernelChoice& choice : result.best.kernels) {
    const std::string_view name = TpuKernelName(choice.best.kernel);
    if (choice.as_good > 0) {
      text += fmt::format("  {}: {} more within {:.1f} %, which nobody can tell apart unmeasured\n",
                          name, Grouped(choice.as_good), kComparisonError * 100);
    } else if (choice.best.fit == Fit::kFits) {
      text += fmt::format("  {}: no other within {:.1f} %\n", name, kComparisonError * 100);
    }
    if (choice.best.fit != Fit::kFits) {
      text += fmt::format("  {}: whether it fits is too close to call, and nothing surely does\n",
                          name);
    }
    if (choice.undecided) {
      text += fmt::format("  {}: {} is {:.1f} % faster, but may not fit\n", name,
                          KernelBlocksText(choice.undecided->blocks),
                          -Slower(*choice.undecided, choice.best) * 100);
    }
  }
  std::vector<SlowestShard> kernels;
  for (const KernelChoice& choice : result.best.kernels) {
    kernels.push_back({choice.best.kernel, choice.best.time, 0});
  }
  return "\nhow sure\n" + text + ExtrapolatedText(kernels);
}

std::string LeftOutText(const TuneResult& result) {
  std::string text;
  const auto add = [&](const char* memory, int64_t count) {
    if (count > 0) text += fmt::format("{} {} {}", text.empty() ? "" : ",", memory, Grouped(count));
  };
  add("VMEM", result.beyond_vmem);
  add("SMEM", result.beyond_smem);
  add("HBM", result.beyond_hbm);
  if (!text.empty()) text = "  too large for" + text;
  if (result.undecided > 0) {
    text +=
        fmt::format("{} too close to call {}", text.empty() ? " " : ";", Grouped(result.undecided));
  }
  return text.empty() ? "" : text + "\n";
}

// What a plan file does not say of the sizes.
std::string FileText(const TuneAnswer& answer) {
  if (!answer.file) return "";
  const BlockSizes& sizes = answer.result.best.sizes;
  std::string flags = fmt::format(" --block-kv-compute {}", sizes.block_kv_compute);
  if (sizes.has_dkv())
    flags += fmt::format(" --block-kv-dkv-compute {}", sizes.block_kv_dkv_compute);
  for (const auto& [name, layout] : NamedLayouts(sizes)) {
    if (layout == QkvLayout::kSeqMinor) flags += fmt::format(" --{}-layout seq_minor", name[0]);
  }
  return fmt::format("\nwrote {}; compute blocks and layouts are not in it:\n {}\n", *answer.file,
                     flags);
}

json::object KernelJson(const TunedKernel& kernel) {
  return {{"kernel", TpuKernelName(kernel.kernel)},
          {"blocks", KernelBlocksJson(kernel.blocks)},
          {"time", TimePartsJson(kernel.time)},
          {"bound_by", BoundBy(kernel.time)},
          {"visited_blocks", kernel.counts.visited()},
          {"skipped_steps", kernel.counts.skipped},
          {"computed_pairs", kernel.computed_pairs()},
          {"vmem", json::object{{"bytes", kernel.vmem.expected},
                                {"least", kernel.vmem.least},
                                {"most", kernel.vmem.most}}},
          {"hbm_bytes", kernel.hbm_bytes},
          {"fits", FitJson(kernel.fit)}};
}

json::object SizesJson(const BlockSizes& sizes) {
  json::object result;
  for (const auto& [name, size] : SizesThatCount(sizes)) result[name] = size;
  result["use_fused_bwd_kernel"] = sizes.use_fused_bwd_kernel;
  for (const auto& [name, layout] : NamedLayouts(sizes)) result[name] = QkvLayoutName(layout);
  return result;
}

json::object ChoiceJson(const KernelChoice& choice) {
  json::object result = KernelJson(choice.best);
  json::array runners_up;
  for (const TunedKernel& other : choice.runners_up) runners_up.push_back(KernelJson(other));
  result["runners_up"] = std::move(runners_up);
  result["as_good"] = choice.as_good;
  result["undecided"] =
      choice.undecided ? json::value(KernelJson(*choice.undecided)) : json::value(nullptr);
  return result;
}

}  // namespace

std::string TuneText(const TuneAnswer& answer) {
  const TuneResult& result = answer.result;
  const std::optional<TimeBefore>& before = answer.before;
  const TunedCall& best = result.best;
  std::string text = fmt::format("the fastest of {} kernels with blocks and layouts\n{}",
                                 Grouped(result.candidates), LeftOutText(result));
  text += fmt::format("{} a call, ± {:.0f} %, within {} of scoped VMEM\n", Duration(best.seconds()),
                      best.relative_uncertainty() * 100, Bytes(answer.scoped_vmem_limit));
  if (before) {
    text += fmt::format("yours: {}, {:.2f} times as long{}\n", Duration(before->seconds),
                        before->seconds / best.seconds(),
                        before->fit == Fit::kFits ? "" : fmt::format(", {}", FitName(before->fit)));
  }
  for (const auto& [name, layout] : NamedLayouts(best.sizes)) {
    text += fmt::format("{}{} {}", name == "q_layout" ? "" : ", ", name, LayoutName(layout));
  }
  text += "\n\nms            blocks             all slower products   vector   copies    GiB\n";
  for (const KernelChoice& choice : best.kernels) text += ChoiceText(choice);
  return text + OthersText(result) + SurenessText(result) + "\n" + KwargsText(best.sizes) +
         FileText(answer);
}

json::object TuneJson(const TuneAnswer& answer) {
  const TuneResult& result = answer.result;
  json::array kernels, others;
  for (const KernelChoice& choice : result.best.kernels) kernels.push_back(ChoiceJson(choice));
  for (const TunedCall& other : result.others) {
    others.push_back(json::object{{"block_sizes", SizesJson(other.sizes)},
                                  {"seconds", other.seconds()},
                                  {"fits", FitJson(other.fit())}});
  }
  json::value yours = nullptr;
  if (answer.before) {
    yours =
        json::object{{"seconds", answer.before->seconds}, {"fits", FitJson(answer.before->fit)}};
  }
  return {{"fits", FitJson(result.best.fit())},
          {"block_sizes", SizesJson(result.best.sizes)},
          {"seconds", result.best.seconds()},
          {"relative_uncertainty", result.best.relative_uncertainty()},
          {"comparison_error", kComparisonError},
          {"scoped_vmem_limit", answer.scoped_vmem_limit},
          {"yours", std::move(yours)},
          {"kernels", std::move(kernels)},
          {"others", std::move(others)},
          {"candidates", json::object{{"tried", result.candidates},
                                      {"beyond_vmem", result.beyond_vmem},
                                      {"beyond_smem", result.beyond_smem},
                                      {"beyond_hbm", result.beyond_hbm},
                                      {"undecided", result.undecided}}},
          {"file", answer.file ? json::value(*answer.file) : json::value(nullptr)}};
}

std::string KwargsText(const BlockSizes& sizes) {
  std::string text = "BlockSizes(\n";
  for (const auto& [name, size] : SizesThatCount(sizes))
    text += fmt::format("    {}={},\n", name, size);
  if (sizes.has_dkv()) {
    text += fmt::format("    use_fused_bwd_kernel={},\n",
                        sizes.use_fused_bwd_kernel ? "True" : "False");
  }
  for (const auto& [name, layout] : NamedLayouts(sizes)) {
    text += fmt::format("    {}=QKVLayout.{},\n", name, QkvLayoutName(layout));
  }
  return text + ")\n";
}

std::string MaxTextYaml(const BlockSizes& sizes) {
  std::string text;
  for (const auto& [name, size] : SizesThatCount(sizes))
    text += fmt::format("sa_{}: {}\n", name, size);
  if (sizes.has_dkv()) {
    text += fmt::format("sa_use_fused_bwd_kernel: {}\n", sizes.use_fused_bwd_kernel);
  }
  for (const auto& [name, layout] : NamedLayouts(sizes)) {
    text += fmt::format("sa_{}: \"{}\"\n", name, QkvLayoutName(layout));
  }
  return text;
}

}  // namespace splashmask::cli
