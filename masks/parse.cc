// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "splashmask/masks/lexer.h"
#include "splashmask/masks/mask_calls.h"

namespace splashmask {

namespace {

// Operator-precedence parsing with its own stacks, so that no depth of parentheses can overflow the
// machine's.
class ExpressionParser {
 public:
  ExpressionParser(Lexer& lexer, Shape shape, const ArrayResolver& resolve)
      : lexer_(lexer), shape_(shape), resolve_(resolve) {}

  // Parses up to the first token that cannot belong to the expression: the end, or, outside all
  // parentheses, one of `, ] *`.
  Mask Parse() {
    bool expect_operand = true;
    while (true) {
      if (expect_operand) {
        expect_operand = ParseOperand();
      } else {
        const Step step = ParseOperator();
        if (step == Step::kDone) break;
        expect_operand = step == Step::kOperand;
      }
    }
    ReduceTo(kNothing);
    return std::move(operands_.back());
  }

  // True when binary operators wait outside all parentheses, so that a `*` after the last operand
  // would, in Python, repeat that operand alone.
  bool ended_in_binary() const { return ended_in_binary_; }

 private:
  enum class Step : uint8_t { kOperand, kOperator, kDone };
  // Binding strengths: those of Python.
  enum Strength : uint8_t { kNothing = 0, kOr, kXor, kAnd, kSub, kNot };
  enum class Entry : uint8_t { kOr, kXor, kAnd, kSub, kNot, kParenthesis, kReorder };
  struct Pending {
    Entry entry;
    size_t position;
  };

  static Strength StrengthOf(Entry entry) {
    switch (entry) {
      case Entry::kOr:
        return kOr;
      case Entry::kXor:
        return kXor;
      case Entry::kAnd:
        return kAnd;
      case Entry::kSub:
        return kSub;
      case Entry::kNot:
        return kNot;
      case Entry::kParenthesis:
      case Entry::kReorder:
        break;
    }
    return kNothing;
  }

  // Returns true when another operand is expected next.
  bool ParseOperand() {
    const Token token = lexer_.current();
    if (token.Is('~') || token.Is('(')) {
      lexer_.Take();
      pending_.push_back({token.Is('~') ? Entry::kNot : Entry::kParenthesis, token.position});
      return true;
    }
    if (token.kind != TokenKind::kName) {
      lexer_.Fail("expected a mask, got " + lexer_.Got(), token.position);
    }
    lexer_.Take();
    if (token.text == "reorder") {
      lexer_.Expect('(', "after 'reorder'");
      pending_.push_back({Entry::kReorder, token.position});
      return true;
    }
    operands_.push_back(ParseLeafCall(token, lexer_, shape_, resolve_));
    return false;
  }

  Step ParseOperator() {
    const Token token = lexer_.current();
    if (token.Is('&') || token.Is('|') || token.Is('^') || token.Is('-')) {
      lexer_.Take();
      const Entry entry = token.Is('&')   ? Entry::kAnd
                          : token.Is('|') ? Entry::kOr
                          : token.Is('^') ? Entry::kXor
                                          : Entry::kSub;
      ReduceTo(StrengthOf(entry));
      pending_.push_back({entry, token.position});
      return Step::kOperand;
    }
    if (token.Is(')')) {
      Close(token);
      return Step::kOperator;
    }
    if (token.Is(',') && InsideReorder()) {
      FinishReorder();
      return Step::kOperator;
    }
    ended_in_binary_ = std::any_of(pending_.begin(), pending_.end(), [](const Pending& pending) {
      return StrengthOf(pending.entry) != kNot && StrengthOf(pending.entry) != kNothing;
    });
    ReduceTo(kNothing);
    if (!pending_.empty()) {
      const Pending& open = pending_.back();
      if (open.entry == Entry::kReorder) {
        lexer_.Fail("expected ', q=...' or ', kv=...' in reorder(), got " + lexer_.Got(),
                    token.position);
      }
      if (token.kind == TokenKind::kEnd) {
        lexer_.Fail("this parenthesis is not closed", open.position);
      }
      if (token.Is('*')) {
        lexer_.Fail("expected '*' only after a whole mask in a list of heads", token.position);
      }
      lexer_.Fail("expected an operator or ')', got " + lexer_.Got(), token.position);
    }
    return Step::kDone;
  }

  bool InsideReorder() {
    ReduceTo(kNothing);
    return !pending_.empty() && pending_.back().entry == Entry::kReorder;
  }

  void Close(const Token& token) {
    ReduceTo(kNothing);
    if (pending_.empty()) lexer_.Fail("this ')' closes nothing", token.position);
    if (pending_.back().entry == Entry::kReorder) {
      lexer_.Fail("expected ', q=...' or ', kv=...' in reorder(), got ')'", token.position);
    }
    pending_.pop_back();
    lexer_.Take();
  }

  void FinishReorder() {
    const size_t position = pending_.back().position;
    pending_.pop_back();
    lexer_.Take();  // The comma.
    const OrderArguments orders = ParseOrders(lexer_, resolve_);
    Mask& mask = operands_.back();
    WithColumn(lexer_, position, [&] { mask = mask.Reorder(orders.q, orders.kv); });
  }

  // Applies the operators on top of the stack that bind at least as tightly as `strength`; with
  // kNothing all of them, down to the innermost open parenthesis.
  void ReduceTo(Strength strength) {
    while (!pending_.empty()) {
      const Pending top = pending_.back();
      const Strength top_strength = StrengthOf(top.entry);
      if (top_strength == kNothing || top_strength < strength) return;
      pending_.pop_back();
      WithColumn(lexer_, top.position, [&] { Apply(top.entry); });
    }
  }

  void Apply(Entry entry) {
    if (entry == Entry::kNot) {
      operands_.back() = ~operands_.back();
      return;
    }
    const Mask right = std::move(operands_.back());
    operands_.pop_back();
    Mask& left = operands_.back();
    switch (entry) {
      case Entry::kOr:
        left = left | right;
        break;
      case Entry::kXor:
        left = left ^ right;
        break;
      case Entry::kAnd:
        left = left & right;
        break;
      default:
        left = left - right;
        break;
    }
  }

  Lexer& lexer_;
  const Shape shape_;
  const ArrayResolver& resolve_;
  std::vector<Mask> operands_;
  std::vector<Pending> pending_;
  bool ended_in_binary_ = false;
};

void ExpectEnd(const Lexer& lexer) {
  if (lexer.current().kind != TokenKind::kEnd) {
    lexer.Fail("expected an operator or the end of the text, got " + lexer.Got(),
               lexer.current().position);
  }
}

// `* n` after a list element; 1 when there is none.
int64_t ParseRepeat(Lexer& lexer, bool ended_in_binary) {
  if (!lexer.current().Is('*')) return 1;
  const Token star = lexer.Take();
  if (ended_in_binary) {
    lexer.Fail(
        "expected parentheses around the mask that '*' repeats, as '*' binds tighter than "
        "any operator between masks",
        star.position);
  }
  const Token count = lexer.Take();
  int64_t value = 0;
  for (char c : count.text) {
    if (count.kind != TokenKind::kInteger || value > kMaxHeads) break;
    if (c != '_') value = 10 * value + (c - '0');
  }
  if (count.kind != TokenKind::kInteger || value < 1 || value > kMaxHeads) {
    lexer.Fail(fmt::format("expected 1 to {} heads after '*'", kMaxHeads), count.position);
  }
  return value;
}

std::vector<Mask> ParseHeads(Lexer& lexer, Shape shape, const ArrayResolver& resolve) {
  std::vector<Mask> masks;
  lexer.Expect('[', "to open the list of heads");
  while (!lexer.current().Is(']')) {
    const size_t position = lexer.current().position;
    ExpressionParser parser(lexer, shape, resolve);
    const Mask mask = parser.Parse();
    const int64_t count = ParseRepeat(lexer, parser.ended_in_binary());
    if (static_cast<int64_t>(masks.size()) + count > kMaxHeads) {
      lexer.Fail(fmt::format("expected at most {} heads", kMaxHeads), position);
    }
    masks.insert(masks.end(), static_cast<size_t>(count), mask);
    if (!lexer.current().Is(']')) lexer.Expect(',', "or ']' in a list of heads");
  }
  lexer.Take();
  return masks;
}

}  // namespace

Array NoArrays(const std::string& name) {
  throw Error(ErrorCode::kNotFound,
              fmt::format("[parse] expected no array here, got \"{}\"", name));
}

Mask ParseMask(std::string_view text, Shape shape, const ArrayResolver& resolve) {
  Lexer lexer(text);
  Mask mask = ExpressionParser(lexer, shape, resolve).Parse();
  ExpectEnd(lexer);
  return mask;
}

MultiHeadMask ParseMultiHeadMask(std::string_view text, Shape shape, int64_t num_heads,
                                 const ArrayResolver& resolve) {
  Lexer lexer(text);
  if (!lexer.current().Is('[')) {
    return MultiHeadMask(ParseMask(text, shape, resolve), num_heads == 0 ? 1 : num_heads);
  }
  const size_t position = lexer.current().position;
  std::vector<Mask> masks = ParseHeads(lexer, shape, resolve);
  ExpectEnd(lexer);
  if (masks.empty()) lexer.Fail("expected at least one head in the list", position);
  if (num_heads != 0 && static_cast<int64_t>(masks.size()) != num_heads) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("[parse] expected {} heads, but the list has {}", num_heads, masks.size()));
  }
  return MultiHeadMask(std::move(masks));
}

}  // namespace splashmask
