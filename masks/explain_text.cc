// SPDX-License-Identifier: Apache-2.0
// An explanation as a tree of lines.

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string_view>

#include "splashmask/masks/explain.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/short_text.h"

namespace splashmask {

namespace {

constexpr std::string_view kSymbols[] = {"&", "|", "^", "-"};  // In the order of node::Op.

constexpr size_t kMostShown = 40;     // Parts.
constexpr size_t kMostDeciding = 24;  // Of which these have what decides below them.
constexpr size_t kEndsOfPath = 4;     // Of a long path to a leaf, at its top and at its bottom.
constexpr int kMostIndents = 12;
constexpr int kWidest = 56;  // Characters of a part's text.

// Chooses the parts that are shown.
class Selection {
 public:
  explicit Selection(const std::vector<ExplainedPart>& parts)
      : parts_(parts), parents_(parts.size()), is_shown_(parts.size()) {
    std::vector<size_t> above;
    for (size_t i = 0; i < parts.size(); ++i) {
      above.resize(static_cast<size_t>(parts[i].depth));
      parents_[i] = above.empty() ? 0 : above.back();
      above.push_back(i);
    }
    Show(0);
    for (size_t i = 0; i < parts.size() && shown_ < kMostDeciding; ++i) {
      if (parts[i].decides) ShowPath(i);
    }
    ShowOthers();
  }

  bool Shows(size_t part) const { return is_shown_[part]; }

 private:
  void Show(size_t part) {
    if (!is_shown_[part]) ++shown_;
    is_shown_[part] = true;
  }

  void ShowPath(size_t leaf) {
    std::vector<size_t> path;
    for (size_t part = leaf; !is_shown_[part]; part = parents_[part]) path.push_back(part);
    for (size_t i = 0; i < path.size(); ++i) {
      if (i < kEndsOfPath || i + kEndsOfPath >= path.size()) Show(path[i]);
    }
  }

  // What is left of the space is for parts that decide nothing, the outermost first.
  void ShowOthers() {
    std::vector<size_t> by_depth(parts_.size());
    std::iota(by_depth.begin(), by_depth.end(), size_t{0});
    std::stable_sort(by_depth.begin(), by_depth.end(),
                     [this](size_t a, size_t b) { return parts_[a].depth < parts_[b].depth; });
    for (const size_t part : by_depth) {
      if (shown_ >= kMostShown) return;
      if (is_shown_[parents_[part]]) Show(part);
    }
  }

  const std::vector<ExplainedPart>& parts_;
  std::vector<size_t> parents_;
  std::vector<bool> is_shown_;
  size_t shown_ = 0;
};

std::string LabelOf(const ExplainedPart& part) {
  // Texts of large expressions would take longer to write than to read.
  constexpr int64_t kMostNodes = 64;
  const std::string text =
      part.mask.node().nodes <= kMostNodes ? ToString(part.mask) : PartName(part) + " (...)";
  const int indents = std::min(part.depth, kMostIndents);
  return fmt::format("{:{}}{}", "", 2 * indents + 2, Shorten(ShortMaskText(text), kWidest));
}

// "... 12 more" for the parts [begin, end).
std::string MoreText(const std::vector<ExplainedPart>& parts, size_t begin, size_t end) {
  const auto deciding = std::count_if(parts.begin() + static_cast<int64_t>(begin),
                                      parts.begin() + static_cast<int64_t>(end),
                                      [](const ExplainedPart& part) { return part.decides; });
  const std::string text = fmt::format(
      "{:{}}... {} more", "", 2 * std::min(parts[begin].depth, kMostIndents) + 2, end - begin);
  if (deciding == 0) return text;
  return text + (deciding == static_cast<int64_t>(end - begin)
                     ? ", which decide, too"
                     : fmt::format(", of which {} decide, too", deciding));
}

}  // namespace

std::string PartName(const ExplainedPart& part) {
  return std::visit(
      Overloaded{
          [](const node::Not&) { return std::string("~"); },
          [](const node::Reorder&) { return std::string("reorder"); },
          [](const node::Binary& n) { return std::string(kSymbols[static_cast<size_t>(n.op)]); },
          [&](const auto&) { return ToString(part.mask); },
      },
      part.mask.node().expr);
}

std::string ToString(const Explanation& explanation) {
  const std::vector<ExplainedPart>& parts = explanation.parts;
  const Selection selection(parts);
  struct Line {
    std::string label, rest;
  };
  std::vector<Line> lines;
  int width = 0;
  for (size_t i = 0; i < parts.size();) {
    size_t end = i;
    while (end < parts.size() && !selection.Shows(end)) ++end;
    if (end - i > 1) {
      lines.push_back({MoreText(parts, i, end), ""});
      i = end;
      continue;
    }
    const ExplainedPart& part = parts[i++];
    std::string rest = part.reason.empty() ? fmt::format("{}", part.value)
                                           : fmt::format("{:<5}  {}", part.value, part.reason);
    if (part.decides) rest += "  <- decides";
    lines.push_back({LabelOf(part), std::move(rest)});
    width = std::max(width, static_cast<int>(lines.back().label.size()));
  }
  std::string text = explanation.head ? fmt::format("head {}, ", *explanation.head) : "";
  fmt::format_to(std::back_inserter(text), "q {}, kv {}: {}\n", explanation.q, explanation.kv,
                 explanation.value() ? "attends" : "masked");
  for (const auto& [label, rest] : lines) {
    text += rest.empty() ? label + "\n" : fmt::format("{:<{}}  {}\n", label, width, rest);
  }
  return text;
}

}  // namespace splashmask
