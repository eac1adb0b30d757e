// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/print.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>

#include "splashmask/masks/digest.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// Python's precedences, loosest first.
enum Precedence { kOrLevel = 1, kXorLevel, kAndLevel, kSubLevel, kUnaryLevel, kCallLevel };

Precedence LevelOf(node::Op op) {
  switch (op) {
    case node::Op::kOr:
      return kOrLevel;
    case node::Op::kXor:
      return kXorLevel;
    case node::Op::kAnd:
      return kAndLevel;
    case node::Op::kSub:
      return kSubLevel;
  }
  return kCallLevel;
}

Precedence LevelOf(const Mask& mask) {
  const MaskExpr& expr = mask.node().expr;
  if (const auto* binary = std::get_if<node::Binary>(&expr)) return LevelOf(binary->op);
  return std::holds_alternative<node::Not>(expr) ? kUnaryLevel : kCallLevel;
}

constexpr std::string_view Symbol(node::Op op) {
  switch (op) {
    case node::Op::kOr:
      return " | ";
    case node::Op::kXor:
      return " ^ ";
    case node::Op::kAnd:
      return " & ";
    case node::Op::kSub:
      return " - ";
  }
  return "";
}

std::string Optional(const std::optional<int64_t>& value) {
  return value ? fmt::format("{}", *value) : "none";
}

class Printer {
 public:
  explicit Printer(bool canonical) : canonical_(canonical) {}

  void Print(const Mask& mask) {
    std::visit([this](const auto& n) { PrintNode(n); }, mask.node().expr);
  }

  void PrintAbove(const Mask& mask, Precedence lowest) {
    const bool parentheses = LevelOf(mask) < lowest;
    if (parentheses) out_ += '(';
    Print(mask);
    if (parentheses) out_ += ')';
  }

  void PrintHeads(const MultiHeadMask& mask) {
    const std::vector<Mask>& masks = mask.masks();
    out_ += '[';
    for (size_t head = 0; head < masks.size();) {
      size_t end = head + 1;
      while (end < masks.size() && masks[end] == masks[head]) ++end;
      if (head > 0) out_ += ", ";
      if (end - head == 1) {
        Print(masks[head]);
      } else {
        PrintAbove(masks[head], kUnaryLevel);
        Append(" * {}", end - head);
      }
      head = end;
    }
    out_ += ']';
  }

  std::string Take() { return std::move(out_); }

 private:
  template <typename... Args>
  void Append(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  std::string Name(const Array& array) const {
    return canonical_ || array.name().empty() ? array.Digest() : array.name();
  }

  void AppendName(const Array& array) {
    out_ += '"';
    for (char c : Name(array)) {
      if (c == '"' || c == '\\') out_ += '\\';
      out_ += c;
    }
    out_ += '"';
  }

  void PrintNode(const node::Full&) { out_ += "full()"; }
  void PrintNode(const node::Empty&) { out_ += "empty()"; }
  void PrintNode(const node::Causal& n) {
    if (n.offset == 0) {
      out_ += "causal()";
    } else {
      Append("causal({})", n.offset);
    }
  }
  void PrintNode(const node::Local& n) {
    Append("local({}, {}", Optional(n.left), Optional(n.right));
    if (n.offset != 0) Append(", {}", n.offset);
    out_ += ')';
  }
  void PrintNode(const node::ChunkedCausal& n) { Append("chunked_causal({})", n.chunk); }
  void PrintNode(const node::Prefix& n) { Append("prefix({})", n.n); }
  void PrintNode(const node::QRange& n) { Append("q_range({}, {})", n.begin, n.end); }
  void PrintNode(const node::KvRange& n) { Append("kv_range({}, {})", n.begin, n.end); }
  void PrintNode(const node::Stride& n) {
    if (n.phase == 0) {
      Append("stride({})", n.step);
    } else {
      Append("stride({}, {})", n.step, n.phase);
    }
  }
  void PrintNode(const node::Documents& n) {
    out_ += "documents(";
    if (n.array) {
      AppendName(*n.array);
    } else {
      Append("[{}]", fmt::join(n.lengths, ", "));
    }
    out_ += ')';
  }
  void PrintNode(const node::Segments& n) {
    out_ += "segments(";
    AppendName(n.q_ids);
    if (Name(n.q_ids) != Name(n.kv_ids) || n.q_ids != n.kv_ids) {
      out_ += ", ";
      AppendName(n.kv_ids);
    }
    if (n.pad) Append(", pad={}", *n.pad);
    out_ += ')';
  }
  void PrintNode(const node::Blocks& n) {
    out_ += "blocks(";
    AppendName(n.bits);
    Append(", {})", n.block);
  }
  void PrintNode(const node::Dense& n) {
    out_ += "dense(";
    AppendName(n.array);
    out_ += ')';
  }
  void PrintNode(const node::Where& n) { Append("where(\"{}\")", n.predicate.text()); }
  void PrintNode(const node::Custom& n) {
    if (canonical_) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("[mask] expected a mask with a text form, got the custom function {}: "
                      "store its cells with dense(...)",
                      n.function->name()));
    }
    Append("<custom function {}>", n.function->name());
  }
  void PrintNode(const node::Reorder& n) {
    out_ += "reorder(";
    Print(n.mask);
    if (n.q) PrintPositions(", q=", n.q->written);
    if (n.kv) PrintPositions(", kv=", n.kv->written);
    out_ += ')';
  }
  void PrintPositions(std::string_view name, const Positions& positions) {
    out_ += name;
    switch (positions.kind) {
      case Positions::Kind::kArray:
        AppendName(positions.array);
        break;
      case Positions::Kind::kZigzag:
        Append("zigzag({})", positions.n);
        break;
      case Positions::Kind::kStriped:
        Append("striped({})", positions.n);
        break;
    }
  }
  void PrintNode(const node::Not& n) {
    out_ += '~';
    PrintAbove(n.mask, kUnaryLevel);
  }
  void PrintNode(const node::Binary& n) {
    const Precedence level = LevelOf(n.op);
    PrintAbove(n.left, level);
    out_ += Symbol(n.op);
    PrintAbove(n.right, static_cast<Precedence>(level + 1));
  }

  bool canonical_;
  std::string out_;
};

std::string Text(const Mask& mask, bool canonical) {
  Printer printer(canonical);
  printer.Print(mask);
  return printer.Take();
}

std::string Text(const MultiHeadMask& mask, bool canonical) {
  Printer printer(canonical);
  printer.PrintHeads(mask);
  return printer.Take();
}

}  // namespace

std::string ToString(const Mask& mask) { return Text(mask, false); }
std::string ToString(const MultiHeadMask& mask) { return Text(mask, false); }
std::string CanonicalText(const Mask& mask) { return Text(mask, true); }
std::string CanonicalText(const MultiHeadMask& mask) { return Text(mask, true); }

void ForEachArray(const Mask& mask, const std::function<void(const Array&)>& visit) {
  std::visit(Overloaded{
                 [&](const node::Documents& n) {
                   if (n.array) visit(*n.array);
                 },
                 [&](const node::Segments& n) {
                   visit(n.q_ids);
                   visit(n.kv_ids);
                 },
                 [&](const node::Blocks& n) { visit(n.bits); },
                 [&](const node::Dense& n) { visit(n.array); },
                 [&](const node::Reorder& n) {
                   ForEachArray(n.mask, visit);
                   for (const auto* order : {&n.q, &n.kv}) {
                     if (*order && (*order)->written.kind == Positions::Kind::kArray) {
                       visit((*order)->written.array);
                     }
                   }
                 },
                 [&](const node::Not& n) { ForEachArray(n.mask, visit); },
                 [&](const node::Binary& n) {
                   ForEachArray(n.left, visit);
                   ForEachArray(n.right, visit);
                 },
                 [](const auto&) {},
             },
             mask.node().expr);
}

std::string MaskDigest(const MultiHeadMask& mask) {
  Sha256 sha;
  sha.Update(fmt::format("splashmask mask 1\nq_len={}\nkv_len={}\nnum_heads={}\n",
                         mask.shape().q_len, mask.shape().kv_len, mask.num_heads()));
  sha.Update(CanonicalText(mask));
  return sha.HexDigest();
}

}  // namespace splashmask
