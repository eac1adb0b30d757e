// SPDX-License-Identifier: Apache-2.0
// Text -> predicate: operator-precedence parsing with its own stacks, so that no depth of
// parentheses can overflow the machine's.

#include <fmt/format.h>

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/lexer.h"
#include "splashmask/masks/suggest.h"
#include "splashmask/masks/where/predicate.h"

namespace splashmask {

namespace {

// The last ones are not of the language: what is meant instead can be told.
constexpr std::string_view kPunctuation[] = {"//", "**", "==", "!=", "<=", ">=", "<<", ">>", "<",
                                             ">",  "+",  "-",  "*",  "%",  "(",  ")",  ",",  "&",
                                             "|",  "^",  "~",  "/",  "=",  "!",  "[",  "]"};

// How tightly operators bind in Python.
enum Strength : uint8_t { kNothing, kOr, kAnd, kNot, kCompare, kSum, kProduct, kSign };

struct Operator {
  std::string_view text;
  PredicateOp op;
  Strength strength;
};
constexpr Operator kOperators[] = {
    {"or", PredicateOp::kOr, kOr},           {"and", PredicateOp::kAnd, kAnd},
    {"==", PredicateOp::kEqual, kCompare},   {"!=", PredicateOp::kNotEqual, kCompare},
    {"<", PredicateOp::kLess, kCompare},     {"<=", PredicateOp::kLessEqual, kCompare},
    {">", PredicateOp::kGreater, kCompare},  {">=", PredicateOp::kGreaterEqual, kCompare},
    {"+", PredicateOp::kAdd, kSum},          {"-", PredicateOp::kSubtract, kSum},
    {"*", PredicateOp::kMultiply, kProduct}, {"//", PredicateOp::kFloorDivide, kProduct},
    {"%", PredicateOp::kModulo, kProduct},
};

// What somebody who writes the first may mean.
constexpr std::pair<std::string_view, std::string_view> kMeant[] = {
    {"&", "'and'"}, {"|", "'or'"}, {"~", "'not'"},     {"!", "'not'"},
    {"=", "'=='"},  {"/", "'//'"}, {"**", "a product"}};

struct Name {
  std::string_view text;
  PredicateOp op;
};
constexpr Name kVariables[] = {{"q", PredicateOp::kQ},
                               {"kv", PredicateOp::kKv},
                               {"q_len", PredicateOp::kQLen},
                               {"kv_len", PredicateOp::kKvLen}};
constexpr Name kFunctions[] = {
    {"abs", PredicateOp::kAbs}, {"min", PredicateOp::kMin}, {"max", PredicateOp::kMax}};

template <typename Entry, size_t n>
const Entry* Find(const Entry (&entries)[n], std::string_view text) {
  for (const Entry& entry : entries) {
    if (entry.text == text) return &entry;
  }
  return nullptr;
}

// Operations without repetition.
class Builder {
 public:
  int32_t Add(PredicateNode node) {
    const Key key{static_cast<int64_t>(node.op) * 2 + node.is_chain, node.left, node.right,
                  node.constant};
    const auto [entry, is_new] = known_.try_emplace(key, static_cast<int32_t>(nodes_.size()));
    if (is_new) {
      if (std::ssize(nodes_) == kMaxPredicateNodes) {
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("[where] expected a predicate of at most {} operations",
                                kMaxPredicateNodes));
      }
      nodes_.push_back(node);
    }
    return entry->second;
  }

  const PredicateNode& operator[](int32_t index) const { return nodes_[index]; }

  // The operations that the last one needs: all but constants that a sign was put to.
  std::vector<PredicateNode> Take() {
    std::vector<bool> is_needed(nodes_.size(), false);
    is_needed.back() = true;
    for (size_t i = nodes_.size(); i-- > 0;) {
      if (!is_needed[i]) continue;
      if (nodes_[i].left >= 0) is_needed[nodes_[i].left] = true;
      if (nodes_[i].right >= 0) is_needed[nodes_[i].right] = true;
    }
    std::vector<PredicateNode> needed;
    std::vector<int32_t> moved(nodes_.size(), -1);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!is_needed[i]) continue;
      PredicateNode node = nodes_[i];
      if (node.left >= 0) node.left = moved[node.left];
      if (node.right >= 0) node.right = moved[node.right];
      moved[i] = static_cast<int32_t>(needed.size());
      needed.push_back(node);
    }
    return needed;
  }

 private:
  using Key = std::array<int64_t, 4>;

  std::vector<PredicateNode> nodes_;
  boost::unordered_flat_map<Key, int32_t> known_;
};

class PredicateParser {
 public:
  explicit PredicateParser(std::string_view text) : lexer_(text, kPunctuation) {}

  std::vector<PredicateNode> Parse() {
    bool expect_operand = true;
    while (true) {
      if (expect_operand) {
        expect_operand = ParseOperand();
      } else if (lexer_.current().kind == TokenKind::kEnd) {
        break;
      } else {
        expect_operand = ParseOperator();
      }
    }
    ReduceTo(kOr);
    if (!pending_.empty()) {
      lexer_.Fail("this parenthesis is not closed", pending_.back().position);
    }
    Check(operands_.back(), true, "");
    return nodes_.Take();
  }

 private:
  enum class Kind : uint8_t { kInfix, kPrefix, kParenthesis, kCall };
  struct Pending {
    Kind kind;
    PredicateOp op;
    Strength strength;  // kNothing: an open parenthesis.
    size_t position;
    int arguments = 0;  // Before the current one, of a call.
  };
  struct Operand {
    int32_t node;
    size_t position;
    /// Of a comparison that may go on as a chain: what it compared last.
    std::optional<int32_t> compared;
  };

  // Returns true when another operand is expected next.
  bool ParseOperand() {
    const Token token = lexer_.current();
    if (token.kind == TokenKind::kInteger) {
      Push({PredicateOp::kConstant, false, -1, -1, lexer_.TakeInteger()}, token.position);
      return false;
    }
    if (token.Is('-')) return ParseMinus();
    if (token.kind == TokenKind::kName) {
      lexer_.Take();
      if (token.text == "not") return ParseNot(token);
      if (const Name* variable = Find(kVariables, token.text)) {
        Push({variable->op}, token.position);
        return false;
      }
      if (const Name* function = Find(kFunctions, token.text)) {
        lexer_.Expect('(', fmt::format("after '{}'", token.text));
        pending_.push_back({Kind::kCall, function->op, kNothing, token.position});
        return true;
      }
      FailWithName(token);
    }
    if (token.Is('(')) {
      lexer_.Take();
      pending_.push_back({Kind::kParenthesis, PredicateOp::kConstant, kNothing, token.position});
      return true;
    }
    if (token.Is('+')) {  // A sign that changes nothing.
      lexer_.Take();
      return true;
    }
    FailAt(token, "expected q, kv, an integer or '('");
  }

  bool ParseMinus() {
    const Token minus = lexer_.Take();
    if (lexer_.current().kind == TokenKind::kInteger) {
      Push({PredicateOp::kConstant, false, -1, -1, TakeNegative(minus)}, minus.position);
      return false;
    }
    pending_.push_back({Kind::kPrefix, PredicateOp::kNegate, kSign, minus.position});
    return true;
  }

  // The most negative integer has no positive counterpart.
  int64_t TakeNegative(const Token& minus) {
    constexpr uint64_t kLimit = uint64_t{1} << 63;
    uint64_t magnitude = 0;
    for (const char c : lexer_.current().text) {
      if (c == '_') continue;
      const auto digit = static_cast<uint64_t>(c - '0');
      if (magnitude > (kLimit - digit) / 10) {
        lexer_.Fail(
            fmt::format("expected an integer that fits in 64 bits, got -{}", lexer_.current().text),
            minus.position);
      }
      magnitude = 10 * magnitude + digit;
    }
    lexer_.Take();
    return static_cast<int64_t>(-magnitude);
  }

  bool ParseNot(const Token& token) {
    if (!pending_.empty() && pending_.back().strength > kNot) {
      lexer_.Fail("expected parentheses around 'not ...' here", token.position);
    }
    pending_.push_back({Kind::kPrefix, PredicateOp::kNot, kNot, token.position});
    return true;
  }

  // Returns true when an operand is expected next.
  bool ParseOperator() {
    const Token token = lexer_.current();
    if (token.Is(')')) {
      Close(token);
      return false;
    }
    if (token.Is(',')) {
      NextArgument(token);
      return true;
    }
    const Operator* infix = Find(kOperators, token.text);
    if (infix == nullptr || token.kind == TokenKind::kString) {
      FailAt(token, "expected an operator");
    }
    lexer_.Take();
    ReduceTo(infix->strength);
    pending_.push_back({Kind::kInfix, infix->op, infix->strength, token.position});
    return true;
  }

  void Close(const Token& token) {
    ReduceTo(kOr);
    if (pending_.empty()) lexer_.Fail("this ')' closes nothing", token.position);
    const Pending open = pending_.back();
    if (open.kind == Kind::kCall) {
      FinishArgument(open);
      if (open.op != PredicateOp::kAbs && open.arguments == 0) {
        lexer_.Fail(fmt::format("expected at least two arguments of {}(), got one", NameOf(open)),
                    open.position);
      }
    }
    pending_.pop_back();
    lexer_.Take();
    operands_.back().position = open.position;
    operands_.back().compared.reset();
  }

  void NextArgument(const Token& token) {
    ReduceTo(kOr);
    if (pending_.empty() || pending_.back().kind != Kind::kCall) {
      lexer_.Fail("expected ',' only between arguments of min() and max()", token.position);
    }
    Pending& call = pending_.back();
    if (call.op == PredicateOp::kAbs) {
      lexer_.Fail("expected one argument of abs(), got another", token.position);
    }
    FinishArgument(call);
    ++call.arguments;
    lexer_.Take();
  }

  // Joins an argument that has been parsed with those before it.
  void FinishArgument(const Pending& call) {
    Check(operands_.back(), false, NameOf(call));
    if (call.op == PredicateOp::kAbs) {
      operands_.back().node = nodes_.Add({PredicateOp::kAbs, false, operands_.back().node});
    } else if (call.arguments > 0) {
      const Operand right = TakeOperand();
      operands_.back().node = nodes_.Add({call.op, false, operands_.back().node, right.node});
    }
    operands_.back().compared.reset();
  }

  // Applies the operators on top of the stack that bind at least as tightly as `strength`, down to
  // the innermost open parenthesis.
  void ReduceTo(Strength strength) {
    while (!pending_.empty() && pending_.back().strength >= strength) {
      const Pending top = pending_.back();
      pending_.pop_back();
      if (top.kind == Kind::kPrefix) {
        ApplyPrefix(top);
      } else {
        ApplyInfix(top);
      }
    }
  }

  void ApplyPrefix(const Pending& prefix) {
    Operand& operand = operands_.back();
    Check(operand, prefix.op == PredicateOp::kNot, prefix.op == PredicateOp::kNot ? "not" : "-");
    const PredicateNode& node = nodes_[operand.node];
    if (prefix.op == PredicateOp::kNegate && node.op == PredicateOp::kConstant &&
        node.constant != std::numeric_limits<int64_t>::min()) {
      operand.node = nodes_.Add({PredicateOp::kConstant, false, -1, -1, -node.constant});
    } else {
      operand.node = nodes_.Add({prefix.op, false, operand.node});
    }
    operand.position = prefix.position;
    operand.compared.reset();
  }

  void ApplyInfix(const Pending& infix) {
    const Operand right = TakeOperand();
    Operand& left = operands_.back();
    const bool joins_conditions = infix.op == PredicateOp::kAnd || infix.op == PredicateOp::kOr;
    const bool compares = IsComparison(infix.op);
    const std::string_view text = TextOf(infix.op);
    if (!(compares && left.compared)) Check(left, joins_conditions, text);
    Check(right, joins_conditions, text);
    if (compares && left.compared) {
      const int32_t next = nodes_.Add({infix.op, false, *left.compared, right.node});
      left.node = nodes_.Add({PredicateOp::kAnd, true, left.node, next});
    } else {
      left.node = nodes_.Add({infix.op, false, left.node, right.node});
    }
    left.compared = compares ? std::optional(right.node) : std::nullopt;
  }

  // Throws unless the operand is what its operator takes; `of` is that operator, "" for the whole.
  void Check(const Operand& operand, bool condition, std::string_view of) const {
    const bool is_condition = IsCondition(nodes_[operand.node].op);
    if (is_condition == condition) return;
    const std::string where = of.empty() ? "" : fmt::format(" for '{}'", of);
    lexer_.Fail(condition
                    ? fmt::format("expected a condition{}, such as q >= kv, got an integer", where)
                    : fmt::format("expected an integer{}, got a condition", where),
                operand.position);
  }

  Operand TakeOperand() {
    const Operand operand = operands_.back();
    operands_.pop_back();
    return operand;
  }

  void Push(PredicateNode node, size_t position) {
    operands_.push_back({nodes_.Add(node), position, std::nullopt});
  }

  static std::string_view NameOf(const Pending& call) {
    for (const Name& function : kFunctions) {
      if (function.op == call.op) return function.text;
    }
    return "";
  }

  static std::string_view TextOf(PredicateOp op) {
    for (const Operator& known : kOperators) {
      if (known.op == op) return known.text;
    }
    return "";
  }

  [[noreturn]] void FailWithName(const Token& token) const {
    std::vector<std::string_view> known;
    for (const Name& variable : kVariables) known.push_back(variable.text);
    for (const Name& function : kFunctions) known.push_back(function.text);
    if (Find(kOperators, token.text) != nullptr) {
      FailAt(token, "expected q, kv, an integer or '('");
    }
    lexer_.Fail(fmt::format("unknown name '{}'{}", token.text, Suggest(token.text, known)),
                token.position);
  }

  [[noreturn]] void FailAt(const Token& token, std::string_view expected) const {
    std::string got =
        token.kind == TokenKind::kEnd ? "the end of the text" : fmt::format("'{}'", token.text);
    for (const auto& [written, meant] : kMeant) {
      if (token.text == written) got += fmt::format(": write {}", meant);
    }
    lexer_.Fail(fmt::format("{}, got {}", expected, got), token.position);
  }

  Lexer lexer_;
  Builder nodes_;
  std::vector<Operand> operands_;
  std::vector<Pending> pending_;
};

}  // namespace

Predicate Predicate::Parse(std::string_view text) {
  return Predicate(PredicateParser(text).Parse());
}

}  // namespace splashmask
