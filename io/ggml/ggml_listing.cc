// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/ggml/ggml_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include "splashmask/io/ggml/ggml_line.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

constexpr std::string_view kPeakBegin = "Size of temporary storage is up to ";
constexpr std::string_view kPeakEnd = " bytes.";
constexpr std::string_view kGib = " GiB";
constexpr std::string_view kNotUsed = "not used by other computations";
/// The one cost that has a largest value instead of a sum.
constexpr std::string_view kTemporary = "tempsize";
/// What the columns of the drawing are made of.
constexpr std::string_view kDrawing = " |<>-";
constexpr size_t kMostCharactersShown = 60;

std::optional<double> ParseStated(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

// A total as the header prints it: six digits, or three decimals of GiB.
std::string Shown(int64_t amount, bool in_gib) {
  const auto value = static_cast<double>(amount);
  return in_gib ? fmt::format("{:.3f}", std::ldexp(value, -30)) : fmt::format("{:g}", value);
}

class ListingParser {
 public:
  ListingParser(std::string_view text, const std::string& file) : rest_(text) {
    listing_.file = file;
  }

  GgmlListing Parse() {
    Next();
    ParseHeader();
    while (has_line_) {
      if (content_.starts_with("== ")) {
        ParseHeading();
      } else if (!content_.empty()) {
        ParseNode();
        continue;  // It has read on, up to what is no part of it.
      }
      Next();
    }
    if (listing_.nodes.empty()) FailHere("a node");
    CheckUses();
    CheckTotals();
    return std::move(listing_);
  }

 private:
  // Where a name last stood for a tensor: a node's output, or one of its inputs.
  struct Place {
    size_t node = 0;
    std::optional<size_t> input;
  };

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("[ggml] {}: {}", listing_.file, what));
  }
  [[noreturn]] void FailAt(int64_t line, const std::string& what) const {
    Fail(fmt::format("line {}: {}", line, what));
  }
  [[noreturn]] void FailHere(std::string_view expected) const {
    const std::string got =
        has_line_ ? fmt::format("'{}'", line_.substr(0, kMostCharactersShown)) : "the file's end";
    FailAt(line_number_, fmt::format("expected {}, got {}", expected, got));
  }

  // The next line, and its content right of the drawing.
  void Next() {
    has_line_ = !rest_.empty();
    ++line_number_;
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    line_ = line_.substr(0, line_.find_last_not_of(" \t\r") + 1);
    content_ = line_.substr(std::min(line_.find_first_not_of(kDrawing), line_.size()));
  }

  void ParseHeader() {
    constexpr const char* kFirst = "'Size of temporary storage is up to <whole number> bytes.'";
    std::string_view peak = line_;
    if (!peak.starts_with(kPeakBegin) || !peak.ends_with(kPeakEnd) ||
        peak.size() < kPeakBegin.size() + kPeakEnd.size()) {
      FailHere(kFirst);
    }
    peak = peak.substr(kPeakBegin.size(), peak.size() - kPeakBegin.size() - kPeakEnd.size());
    const auto bytes = ParseWhole(peak);
    if (!bytes) FailHere(kFirst);
    listing_.peak_temporary_bytes = *bytes;
    Next();
    if (line_ != "Total cost:") FailHere("'Total cost:'");
    for (Next(); has_line_ && !content_.empty(); Next()) ParseTotal();
  }

  void ParseTotal() {
    constexpr const char* kExpected = "'name: <number>' or 'name: <number> GiB'";
    GgmlTotal total;
    std::string_view stated = content_;
    const auto name = TakeUntil(stated, ": ");
    if (!name || name->empty()) FailHere(kExpected);
    total.name = *name;
    total.stated = stated;
    total.line = line_number_;
    if (stated.ends_with(kGib)) stated.remove_suffix(kGib.size());
    if (!ParseStated(stated)) FailHere(kExpected);
    if (*name == kTemporary || !total_of_.emplace(*name, listing_.totals.size()).second) {
      FailHere(fmt::format("no total of '{}' here", *name));
    }
    listing_.totals.push_back(std::move(total));
    last_node_with_.push_back(kNoNode);
  }

  void ParseHeading() {
    std::string_view heading = content_;
    const bool is_layer = heading.starts_with("== layer ") && heading.ends_with(" ==");
    if (is_layer && heading.size() > 12) {
      layer_ = ParseWhole(heading.substr(9, heading.size() - 12));
      if (layer_) return;
    }
    FailHere("'== layer <whole number> =='");
  }

  void ParseNode() {
    GgmlNode node;
    node.line = line_number_;
    node.layer = layer_;
    std::string_view title = content_;
    const auto name = TakeUntil(title, ": ");
    if (!name || name->empty() || title.empty()) FailHere("a node as 'name: operation'");
    node.name = *name;
    node.operation = title;
    Next();
    auto output = ParseGgmlTensor(content_, /*is_named=*/false);
    if (!output) FailHere("its output as '<whole bytes>, [<extents>]'");
    node.bytes = output->bytes;
    node.shape = std::move(output->shape);
    Next();
    ParseCosts(node);
    Next();
    node.is_used = content_ != kNotUsed;
    if (!node.is_used) Next();
    for (; has_line_ && !content_.empty(); Next()) ParseInput(node);
    CheckLetters(node);
    // Not before: a node may bear the name of its own input.
    place_of_[*name] = {listing_.nodes.size(), std::nullopt};
    listing_.nodes.push_back(std::move(node));
    used_by_.push_back(kNoNode);
  }

  void ParseCosts(GgmlNode& node) {
    constexpr const char* kExpected = "its costs as \"costs: {'name': <whole number>, ...}\"";
    std::string_view costs = content_;
    if (!costs.starts_with("costs: {") || !costs.ends_with('}')) FailHere(kExpected);
    costs = costs.substr(8, costs.size() - 9);
    for (bool more = !costs.empty(); more;) {
      std::string_view cost = costs;
      const auto before_comma = TakeUntil(costs, ", ");
      more = before_comma.has_value();
      if (more) cost = *before_comma;
      const bool quoted = cost.starts_with('\'');
      if (quoted) cost.remove_prefix(1);
      const auto name = TakeUntil(cost, "': ");
      const auto amount = ParseWhole(cost);
      if (!quoted || !name || !amount) FailHere(kExpected);
      AddCost(*name, *amount);
      node.costs.push_back({std::string(*name), *amount});
    }
  }

  void AddCost(std::string_view name, int64_t amount) {
    if (name == kTemporary) {
      peak_ = std::max(peak_, amount);
      return;
    }
    const auto found = total_of_.find(name);
    if (found == total_of_.end()) {
      FailHere(fmt::format("only costs that the header has a total of, not '{}'", name));
    }
    GgmlTotal& total = listing_.totals[found->second];
    if (std::exchange(last_node_with_[found->second], listing_.nodes.size()) ==
        listing_.nodes.size()) {
      FailHere(fmt::format("'{}' once", name));
    }
    if (__builtin_add_overflow(total.amount, amount, &total.amount)) {
      FailHere(fmt::format("a total of '{}' within 64 bits", name));
    }
  }

  void ParseInput(GgmlNode& node) {
    constexpr const char* kExpected = "an input as 'x: name, <whole bytes>, [<extents>]'";
    std::string_view text = content_;
    const auto letter = TakeUntil(text, ": ");
    const bool is_letter =
        letter && letter->size() == 1 && 'a' <= letter->front() && letter->front() <= 'z';
    auto tensor = is_letter ? ParseGgmlTensor(text, /*is_named=*/true) : std::nullopt;
    if (!tensor) FailHere(kExpected);
    GgmlInput input;
    input.letter = letter->front();
    if (!node.inputs.empty() && node.inputs.back().letter >= input.letter) {
      FailHere(
          fmt::format("inputs in the order of their letters, '{}' before this one", input.letter));
    }
    input.name = tensor->name;
    input.bytes = tensor->bytes;
    input.shape = std::move(tensor->shape);
    Resolve(node, tensor->name, input);
    node.inputs.push_back(std::move(input));
  }

  // Finds what `input` names, and holds it to what is known of that.
  void Resolve(const GgmlNode& node, std::string_view name, GgmlInput& input) {
    const auto [found, is_new] =
        place_of_.try_emplace(name, Place{listing_.nodes.size(), node.inputs.size()});
    if (is_new) return;
    const Place place = found->second;
    const GgmlNode& at = place.node == listing_.nodes.size() ? node : listing_.nodes[place.node];
    const int64_t bytes = place.input ? at.inputs[*place.input].bytes : at.bytes;
    const auto& shape = place.input ? at.inputs[*place.input].shape : at.shape;
    if (input.bytes != bytes || input.shape != shape) {
      FailHere(fmt::format("'{}' of {}, {}, as in the node of line {}", name, bytes,
                           GgmlShapeText(shape), at.line));
    }
    if (place.input) return;
    input.node = place.node;
    used_by_[place.node] = listing_.nodes.size();
  }

  // "X*Y" has an x and a y. An operation that names one input, "rope(x)", may have more.
  void CheckLetters(const GgmlNode& node) const {
    const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
    const std::string& text = node.operation;
    for (size_t i = 0; i < text.size(); ++i) {
      const char letter = static_cast<char>(text[i] | 0x20);  // In lower case.
      const bool alone =
          (i == 0 || !is_word(text[i - 1])) && (i + 1 == text.size() || !is_word(text[i + 1]));
      if ((letter != 'x' && letter != 'y') || !alone) continue;
      const auto has = [&](const GgmlInput& input) { return input.letter == letter; };
      if (std::ranges::none_of(node.inputs, has)) {
        FailHere(fmt::format("the input '{}' of '{}: {}'", letter, node.name, node.operation));
      }
    }
  }

  void CheckUses() const {
    for (size_t i = 0; i < listing_.nodes.size(); ++i) {
      const GgmlNode& node = listing_.nodes[i];
      if (node.is_used && used_by_[i] == kNoNode) {
        FailAt(node.line, fmt::format("expected a later node to use '{}', got none; is the listing "
                                      "cut short?",
                                      node.name));
      }
      if (!node.is_used && used_by_[i] != kNoNode) {
        FailAt(node.line,
               fmt::format("expected no node to use '{}', which is '{}', got the node of line {}",
                           node.name, kNotUsed, listing_.nodes[used_by_[i]].line));
      }
    }
  }

  void CheckTotals() const {
    for (const GgmlTotal& total : listing_.totals) {
      std::string_view stated = total.stated;
      const bool in_gib = stated.ends_with(kGib);
      if (in_gib) stated.remove_suffix(kGib.size());
      const std::string shown = Shown(total.amount, in_gib);
      if (ParseStated(stated) == ParseStated(shown) ||
          (!in_gib && ParseWhole(stated) == total.amount)) {
        continue;
      }
      Fail(fmt::format("expected the nodes' {} to add up to the total {} of line {}, got {}{}",
                       total.name, total.stated, total.line, shown, in_gib ? kGib : ""));
    }
    if (peak_ != listing_.peak_temporary_bytes) {
      Fail(fmt::format("expected the nodes' largest {} to be the {} bytes of line 1, got {}",
                       kTemporary, listing_.peak_temporary_bytes, peak_));
    }
  }

  static constexpr size_t kNoNode = std::numeric_limits<size_t>::max();

  std::string_view rest_;     // Of the text, after line_.
  std::string_view line_;     // Without white space at its end.
  std::string_view content_;  // Without the drawing.
  bool has_line_ = false;
  int64_t line_number_ = 0;

  std::optional<int64_t> layer_;
  int64_t peak_ = 0;
  boost::unordered_flat_map<std::string_view, size_t> total_of_;
  std::vector<size_t> last_node_with_;  // Of each total: a node's costs have it once.
  boost::unordered_flat_map<std::string_view, Place> place_of_;
  std::vector<size_t> used_by_;  // Of each node.
  GgmlListing listing_;
};

}  // namespace

GgmlListing ParseGgmlListing(std::string_view text, const std::string& file) {
  return ListingParser(text, file).Parse();
}

GgmlListing ReadGgmlListing(const std::string& path) {
  const PosixFile file = PosixFile::OpenForReading(path, "ggml");
  const int64_t bytes = file.Size();
  const std::shared_ptr<std::byte> text = AllocateBytes(bytes);
  file.ReadAt(0, std::span(text.get(), static_cast<size_t>(bytes)));
  return ParseGgmlListing(
      std::string_view(reinterpret_cast<const char*>(text.get()), static_cast<size_t>(bytes)),
      path);
}

}  // namespace splashmask
