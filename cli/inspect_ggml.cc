// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/inspect_ggml.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "splashmask/cli/mask_argument.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/ggml/ggml_geometry.h"
#include "splashmask/io/ggml/ggml_listing.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/cost/attention_work.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

// A step of the model: all tokens of the sequence at once, or one token more.
struct Step {
  Work attention, rest;
};

struct LayerMask {
  std::string text;
  int64_t layers = 0;    // That have it.
  Work prefill, decode;  // Of one of them.
};

struct WhatIf {
  int64_t length = 0;
  std::vector<LayerMask> masks;
  Step prefill, decode;
};

AttentionShape ShapeOf(const ModelGeometry& model) {
  const int64_t cache_of_layer = model.cache_bytes / model.layers;
  return {model.heads, model.kv_heads, model.head_dim, model.head_dim_v,
          cache_of_layer / (model.context * model.kv_heads)};
}

// A mask for each kv head: the keys that any of its q heads sees.
MultiHeadMask SeenByGroups(const AttentionShape& shape, const MultiHeadMask& mask) {
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<Mask> seen;
  for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
    const auto heads = std::span(mask.masks()).subspan(kv_head * group, group);
    Mask any = heads[0];
    for (size_t i = 1; i < heads.size(); ++i) {
      const auto is_same = [&](const Mask& other) { return &other.node() == &heads[i].node(); };
      if (std::none_of(heads.begin(), heads.begin() + i, is_same)) any = any | heads[i];
    }
    seen.push_back(any);
  }
  return MultiHeadMask(seen);
}

// Every token, each key and value read once.
Work PrefillWork(const AttentionShape& shape, const MultiHeadMask& mask, const Progress& progress) {
  Work work = AttentionWork(shape, 0, mask.shape().kv_len) * shape.kv_heads;
  for (const int64_t pairs : CountPairs(mask, {}, /*threads=*/0, progress)) {
    work = work + AttentionWork(shape, pairs, 0);
  }
  return work;
}

// The last token, and the keys and values that it sees.
Work DecodeWork(const AttentionShape& shape, const MultiHeadMask& mask, const Progress& progress) {
  const Shape size = mask.shape();
  const PairRectangle last{size.q_len - 1, size.q_len, 0, size.kv_len};
  Work work;
  for (const int64_t pairs : CountPairs(mask, last, /*threads=*/0, progress)) {
    work = work + AttentionWork(shape, pairs, 0);
  }
  for (const int64_t keys : CountPairs(SeenByGroups(shape, mask), last, 0, progress)) {
    work = work + AttentionWork(shape, 0, keys);
  }
  return work;
}

// What a step of one token costs beside attention: the listing's totals less those of its attention
// nodes.
Work RestOfListing(const GgmlListing& listing, const ModelGeometry& model) {
  Work all;
  for (const GgmlTotal& total : listing.totals) {
    if (total.name == "fmul") all.fmul = total.amount;
    if (total.name == "fadd") all.fadd = total.amount;
    if (total.name == "fexp") all.fexp = total.amount;
    if (total.name == "read") all.read = total.amount;
  }
  const AttentionShape shape = ShapeOf(model);
  const Work attention = (AttentionWork(shape, model.q_len, 0) * model.heads +
                          AttentionWork(shape, 0, 1) * model.kv_heads) *
                         model.kv_len * model.layers;
  return {(all.fmul - attention.fmul) / model.q_len, (all.fadd - attention.fadd) / model.q_len,
          (all.fexp - attention.fexp) / model.q_len, all.read - attention.read};
}

// Weights are read once, whatever the number of tokens.
Work OfTokens(const Work& rest, int64_t tokens) {
  Work work = Work{rest.fmul, rest.fadd, rest.fexp, 0} * tokens;
  work.read = rest.read;
  return work;
}

WhatIf Answer(const GgmlListing& listing, const ModelGeometry& model,
              const GgmlArguments& arguments, const Progress& progress) {
  WhatIf answer;
  answer.length = *arguments.length;
  const AttentionShape shape = ShapeOf(model);
  const MaskLengths lengths{answer.length, std::nullopt, model.heads};
  const auto count = static_cast<int64_t>(arguments.masks.size());
  for (int64_t i = 0; i < count; ++i) {
    const std::string& text = arguments.masks[static_cast<size_t>(i)];
    const MaskArgument parsed = ParseTextArgument(text, lengths);
    LayerMask layer{text, (model.layers - i + count - 1) / count,
                    PrefillWork(shape, parsed.mask, progress),
                    DecodeWork(shape, parsed.mask, progress)};
    answer.prefill.attention = answer.prefill.attention + layer.prefill * layer.layers;
    answer.decode.attention = answer.decode.attention + layer.decode * layer.layers;
    answer.masks.push_back(std::move(layer));
  }
  const Work rest = RestOfListing(listing, model);
  answer.prefill.rest = OfTokens(rest, answer.length);
  answer.decode.rest = rest;
  return answer;
}

std::string WorkText(const std::string& name, const Work& work) {
  return fmt::format("  {:<34}{:>12.4g}{:>12.4g}{:>12.4g}{:>14}\n", name,
                     static_cast<double>(work.fmul), static_cast<double>(work.fadd),
                     static_cast<double>(work.fexp), Bytes(work.read));
}

std::string AnswerText(const WhatIf& answer) {
  std::string text = fmt::format("\nat {} positions{:>22}{:>12}{:>12}{:>14}\n",
                                 Grouped(answer.length), "fmul", "fadd", "fexp", "read");
  const auto step = [&](const char* name, Work LayerMask::*work, const Step& whole) {
    text += fmt::format("{}\n", name);
    for (const LayerMask& mask : answer.masks) {
      text += WorkText(fmt::format("one of {} layers: {}", mask.layers, mask.text), mask.*work);
    }
    text += WorkText("attention of the model", whole.attention);
    text += WorkText("all the rest", whole.rest);
  };
  step("prefill, every token", &LayerMask::prefill, answer.prefill);
  step("decode, the token at the end", &LayerMask::decode, answer.decode);
  return text;
}

std::string Describe(const GgmlListing& listing, const ModelGeometry& model) {
  std::string text = fmt::format(
      "{}: {} nodes, peak temporary {}\n"
      "model    {} layers, {} heads, {} kv heads, head_dim {}{}, embedding {}, vocabulary {}\n"
      "step     {} tokens that see {} cached positions, of {}\n"
      "bytes    weights {}, cache {}\n\n",
      listing.file, Grouped(static_cast<int64_t>(listing.nodes.size())),
      Bytes(listing.peak_temporary_bytes), model.layers, model.heads, model.kv_heads,
      model.head_dim,
      model.head_dim_v == model.head_dim ? "" : fmt::format(" (v {})", model.head_dim_v),
      Grouped(model.embedding), Grouped(model.vocabulary), Grouped(model.q_len),
      Grouped(model.kv_len), Grouped(model.context), Bytes(model.weight_bytes),
      Bytes(model.cache_bytes));
  for (const GgmlTotal& total : listing.totals) {
    text += fmt::format("{:<8} {:<14} {:>18}\n", total.name, total.stated, Grouped(total.amount));
  }
  return text;
}

json::object WorkJson(const Work& work) {
  return {{"fmul", work.fmul}, {"fadd", work.fadd}, {"fexp", work.fexp}, {"read", work.read}};
}

json::object AnswerJson(const WhatIf& answer) {
  json::array layers;
  for (const LayerMask& mask : answer.masks) {
    layers.push_back(json::object{{"mask", mask.text},
                                  {"layers", mask.layers},
                                  {"prefill", WorkJson(mask.prefill)},
                                  {"decode", WorkJson(mask.decode)}});
  }
  const auto step = [](const Step& whole) {
    return json::object{{"attention", WorkJson(whole.attention)}, {"rest", WorkJson(whole.rest)}};
  };
  return {{"length", answer.length},
          {"attention_layers", std::move(layers)},
          {"prefill", step(answer.prefill)},
          {"decode", step(answer.decode)}};
}

json::object ListingJson(const GgmlListing& listing, const ModelGeometry& model) {
  json::object totals;
  for (const GgmlTotal& total : listing.totals) totals[total.name] = total.amount;
  json::object result{{"file", listing.file},
                      {"nodes", listing.nodes.size()},
                      {"peak_temporary_bytes", listing.peak_temporary_bytes},
                      {"totals", std::move(totals)},
                      {"layers", model.layers},
                      {"heads", model.heads},
                      {"kv_heads", model.kv_heads},
                      {"head_dim", model.head_dim},
                      {"head_dim_v", model.head_dim_v},
                      {"q_len", model.q_len},
                      {"kv_len", model.kv_len},
                      {"context", model.context},
                      {"embedding", model.embedding},
                      {"vocabulary", model.vocabulary},
                      {"feed_forward", nullptr},
                      {"weight_bytes", model.weight_bytes},
                      {"cache_bytes", model.cache_bytes},
                      {"what_if", nullptr}};
  if (model.feed_forward) result["feed_forward"] = *model.feed_forward;
  return result;
}

}  // namespace

ExitCode InspectGgml(const GgmlArguments& arguments, bool as_json, const std::atomic<bool>& stop) {
  const GgmlListing listing = ReadGgmlListing(*arguments.file);
  const ModelGeometry model = GeometryOf(listing);
  std::optional<WhatIf> answer;
  if (arguments.length) {
    ProgressBar bar(stop);
    answer = Answer(listing, model, arguments, bar.Step("count"));
    bar.Wipe();
  }
  if (as_json) {
    json::object result = ListingJson(listing, model);
    if (answer) result["what_if"] = AnswerJson(*answer);
    WriteStdout(ToLine(result));
  } else {
    WriteStdout(Describe(listing, model) + (answer ? AnswerText(*answer) : ""));
  }
  return kDone;
}

}  // namespace splashmask::cli
