// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/footprint_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "splashmask/cli/numbers.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

std::string MiB(int64_t bytes) {
  return fmt::format("{:.2f}", static_cast<double>(bytes) / (1 << 20));
}

std::string KiB(int64_t bytes) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / (1 << 10));
}

// The options that ask for these blocks.
std::string BlocksAsOptions(TpuKernel kernel, const KernelBlocks& blocks) {
  switch (PassOf(kernel)) {
    case Pass::kFwd:
      return fmt::format("--block-q {} --block-kv {} --block-kv-compute {}", blocks.q, blocks.kv,
                         blocks.kv_compute);
    case Pass::kDq:
      return fmt::format("--block-q-dq {} --block-kv-dq {}", blocks.q, blocks.kv);
    case Pass::kDkv:
      return fmt::format("--block-q-dkv {} --block-kv-dkv {} --block-kv-dkv-compute {}", blocks.q,
                         blocks.kv, blocks.kv_compute);
  }
  return "";
}

// In lines of 80 characters.
std::string_view ShortName(Fit fit) { return fit == Fit::kTooClose ? "too close" : FitName(fit); }

std::string VmemLine(const KernelFootprint& kernel) {
  const VmemUse& vmem = kernel.vmem;
  return fmt::format("{:<13} {:<14} {:>7}{:>7}{:>7}  {:>13}  {}{}\n", TpuKernelName(kernel.kernel),
                     KernelBlocksText(kernel.blocks), MiB(vmem.window_bytes),
                     MiB(vmem.temporaries.expected), MiB(vmem.total.expected),
                     MiB(vmem.total.least) + ".." + MiB(vmem.total.most), ShortName(vmem.fit),
                     vmem.extrapolated.empty() ? "" : " *");
}

std::string SmemLine(const KernelFootprint& kernel) {
  std::string tables;
  for (const SmemTable& table : kernel.smem.tables) {
    tables += fmt::format("{}{} {}", tables.empty() ? "" : ", ", table.name, KiB(table.bytes));
  }
  return fmt::format("{:<14}{:>9}  {:<14}{}\n", TpuKernelName(kernel.kernel),
                     KiB(kernel.smem.bytes), ShortName(kernel.smem.fit), tables);
}

std::string HbmText(const FootprintAnswer& answer) {
  const auto mib = [](int64_t bytes, int decimals = 1) {
    return fmt::format("{:.{}f}", static_cast<double>(bytes) / (1 << 20), decimals);
  };
  std::string text = fmt::format(
      "HBM in MiB of a program with the kernel alone, limit {} of a device\n"
      "kernel         arguments  tables  temporaries   outputs        all\n",
      mib(answer.hbm.front().limit));
  for (size_t i = 0; i < answer.hbm.size(); ++i) {
    const HbmUse& use = answer.hbm[i];
    text +=
        fmt::format("{:<13}{:>11}{:>8}{:>13}{:>10}{:>11}  {}\n",
                    TpuKernelName(answer.kernels[i].kernel), mib(use.arguments), mib(use.tables, 2),
                    mib(use.temporaries), mib(use.outputs), mib(use.total()), ShortName(use.fit));
  }
  return text;
}

std::string MisfitText(const Misfit& misfit) {
  std::string text = fmt::format("{} of {} is the first that does not fit, by {}\n", misfit.memory,
                                 TpuKernelName(misfit.kernel), Bytes(misfit.bytes_over));
  if (misfit.memory == "HBM") return text;
  if (misfit.nearest) {
    text += "nearest blocks that fit:\n  " + BlocksAsOptions(misfit.kernel, *misfit.nearest) + "\n";
  }
  if (!misfit.nearest) text += "no blocks within 16 times of these fit\n";
  if (misfit.least_limit_kib) {
    text +=
        fmt::format("or with these blocks: --scoped-vmem-limit-kib {}\n", *misfit.least_limit_kib);
  }
  return text;
}

json::object VmemJson(const VmemUse& vmem) {
  json::array windows;
  for (const KernelWindow& window : vmem.windows) {
    windows.push_back(json::object{{"name", window.name},
                                   {"rows", window.rows},
                                   {"columns", window.columns},
                                   {"buffers", window.buffers},
                                   {"bytes", window.bytes()}});
  }
  return {{"windows", std::move(windows)},
          {"window_bytes", vmem.window_bytes},
          {"temporary_bytes", vmem.temporaries.expected},
          {"bytes", vmem.total.expected},
          {"least", vmem.total.least},
          {"most", vmem.total.most},
          {"limit", vmem.limit},
          {"fits", FitJson(vmem.fit)},
          {"extrapolated",
           vmem.extrapolated.empty() ? json::value(nullptr) : json::value(vmem.extrapolated)}};
}

json::object SmemJson(const SmemUse& smem) {
  json::array tables;
  for (const SmemTable& table : smem.tables) {
    tables.push_back(json::object{{"name", table.name}, {"bytes", table.bytes}});
  }
  return {{"tables", std::move(tables)},
          {"bytes", smem.bytes},
          {"limit", smem.limit},
          {"fits", FitJson(smem.fit)}};
}

json::object HbmJson(const HbmUse& use) {
  return {{"arguments", use.arguments}, {"tables", use.tables}, {"temporaries", use.temporaries},
          {"outputs", use.outputs},     {"bytes", use.total()}, {"limit", use.limit},
          {"fits", FitJson(use.fit)}};
}

json::value MisfitJson(const std::optional<Misfit>& misfit) {
  if (!misfit) return nullptr;
  json::object result{{"kernel", TpuKernelName(misfit->kernel)},
                      {"memory", misfit->memory},
                      {"bytes_over", misfit->bytes_over},
                      {"nearest", nullptr},
                      {"least_limit_kib", nullptr}};
  if (misfit->nearest) result["nearest"] = KernelBlocksJson(*misfit->nearest);
  if (misfit->least_limit_kib) result["least_limit_kib"] = *misfit->least_limit_kib;
  return result;
}

}  // namespace

std::string KernelBlocksText(const KernelBlocks& blocks) {
  return fmt::format("{}x{}/{}", blocks.q, blocks.kv, blocks.kv_compute);
}

json::object KernelBlocksJson(const KernelBlocks& blocks) {
  return {{"q", blocks.q}, {"kv", blocks.kv}, {"kv_compute", blocks.kv_compute}};
}

json::value FitJson(Fit fit) {
  return fit == Fit::kTooClose ? json::value(nullptr) : json::value(fit == Fit::kFits);
}

Fit FootprintAnswer::fit() const {
  Fit worst = Fit::kFits;
  for (const KernelFootprint& kernel : kernels) worst = std::max(worst, kernel.fit());
  for (const HbmUse& use : hbm) worst = std::max(worst, use.fit);
  return worst;
}

std::string FootprintText(const FootprintAnswer& answer, const TpuSpec& spec) {
  std::string text = fmt::format(
      "VMEM in MiB, limit {} of {}\n"
      "kernel        blocks         windows spills    all       band\n",
      MiB(answer.kernels.front().vmem.limit), MiB(spec.vmem_bytes));
  for (const KernelFootprint& kernel : answer.kernels) text += VmemLine(kernel);
  std::vector<std::string> reasons;
  for (const KernelFootprint& kernel : answer.kernels) {
    const std::string& reason = kernel.vmem.extrapolated;
    if (reason.empty() || std::count(reasons.begin(), reasons.end(), reason) > 0) continue;
    text += "* extrapolated: " + reason + "\n";
    reasons.push_back(reason);
  }
  text += fmt::format("\nSMEM in KiB, limit {}\n", KiB(spec.smem_bytes));
  for (const KernelFootprint& kernel : answer.kernels) text += SmemLine(kernel);
  text += "\n" + HbmText(answer);
  text += fmt::format("\n{}\n", FitName(answer.fit()));
  if (answer.misfit) text += MisfitText(*answer.misfit);
  return text;
}

json::object FootprintJson(const FootprintAnswer& answer) {
  json::array kernels;
  for (size_t i = 0; i < answer.kernels.size(); ++i) {
    const KernelFootprint& kernel = answer.kernels[i];
    kernels.push_back(json::object{{"kernel", TpuKernelName(kernel.kernel)},
                                   {"blocks", KernelBlocksJson(kernel.blocks)},
                                   {"vmem", VmemJson(kernel.vmem)},
                                   {"smem", SmemJson(kernel.smem)},
                                   {"hbm", HbmJson(answer.hbm[i])}});
  }
  return {{"fits", FitJson(answer.fit())},
          {"kernels", std::move(kernels)},
          {"misfit", MisfitJson(answer.misfit)}};
}

}  // namespace splashmask::cli
