// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/mask_argument.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "splashmask/io/arrays.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/parse.h"

namespace splashmask::cli {

void AddMaskLengths(CommandSyntax& syntax, MaskLengths& lengths) {
  syntax.Integer("--q-len", lengths.q_len, "Number of q positions of a mask's text");
  syntax.Integer("--kv-len", lengths.kv_len, "Number of its kv positions (default: --q-len)");
  syntax.Integer("--heads", lengths.heads, "Number of its heads (default: as many as it says)");
}

bool IsMaskText(const std::string& argument) {
  std::error_code ignored;
  if (argument.ends_with(".h5") || std::filesystem::exists(argument, ignored)) return false;
  if (argument.find('(') != std::string::npos) return true;
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("[arguments] expected a plan file, or a mask's text such as causal(), got "
                  "'{}', which is no file",
                  argument));
}

MaskArgument ReadPlanArgument(const std::string& file, const Progress& progress) {
  ReadOptions options;
  options.progress = progress;
  Plan plan = ReadPlan(file, options).plan;
  MultiHeadMask mask = plan.mask;
  return {file, std::move(plan), std::move(mask)};
}

MaskArgument ParseTextArgument(const std::string& text, const MaskLengths& lengths) {
  if (!lengths.q_len) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("[arguments] expected --q-len beside a mask's text, got {} alone", text));
  }
  const Shape shape{*lengths.q_len, lengths.kv_len.value_or(*lengths.q_len)};
  return {text, std::nullopt,
          ParseMultiHeadMask(text, shape, lengths.heads.value_or(0), FileResolver())};
}

}  // namespace splashmask::cli
