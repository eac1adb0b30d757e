// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/mask_calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "splashmask/masks/suggest.h"

namespace splashmask {

namespace {

// One argument as written. Exactly one of the fields is meaningful, by kind.
struct Argument {
  enum class Kind : uint8_t { kAbsent, kInteger, kNone, kString, kList } kind = Kind::kAbsent;
  int64_t integer = 0;
  std::string string;
  std::vector<int64_t> list;
  size_t position = 0;
};

enum class Accepts : uint8_t { kInteger, kIntegerOrNone, kFile, kFileOrList, kPredicate };

struct Parameter {
  std::string_view name;
  Accepts accepts;
  bool required;
};

// What a factory gets: the arguments in the order of the parameters.
struct Call {
  Shape shape;
  std::vector<Argument> arguments;
  const ArrayResolver& resolve;

  int64_t Int(size_t i, int64_t fallback = 0) const {
    return arguments[i].kind == Argument::Kind::kAbsent ? fallback : arguments[i].integer;
  }
  std::optional<int64_t> OptionalInt(size_t i) const {
    return arguments[i].kind == Argument::Kind::kInteger ? std::optional(arguments[i].integer)
                                                         : std::nullopt;
  }
  bool Has(size_t i) const { return arguments[i].kind != Argument::Kind::kAbsent; }
  Array File(size_t i) const { return resolve(arguments[i].string).WithName(arguments[i].string); }
};

struct Signature {
  std::string_view name;
  std::vector<Parameter> parameters;
  Mask (*make)(const Call&);
};

const std::vector<Signature>& Signatures() {
  using enum Accepts;
  static const std::vector<Signature> signatures = {
      {"full", {}, [](const Call& c) { return Mask::Full(c.shape); }},
      {"empty", {}, [](const Call& c) { return Mask::Empty(c.shape); }},
      {"causal",
       {{"offset", kInteger, false}},
       [](const Call& c) { return Mask::Causal(c.shape, c.Int(0)); }},
      {"local",
       {{"left", kIntegerOrNone, true},
        {"right", kIntegerOrNone, true},
        {"offset", kInteger, false}},
       [](const Call& c) {
         return Mask::Local(c.shape, c.OptionalInt(0), c.OptionalInt(1), c.Int(2));
       }},
      {"chunked_causal",
       {{"chunk", kInteger, true}},
       [](const Call& c) { return Mask::ChunkedCausal(c.shape, c.Int(0)); }},
      {"prefix",
       {{"n", kInteger, true}},
       [](const Call& c) { return Mask::Prefix(c.shape, c.Int(0)); }},
      {"q_range",
       {{"a", kInteger, true}, {"b", kInteger, true}},
       [](const Call& c) { return Mask::QRange(c.shape, c.Int(0), c.Int(1)); }},
      {"kv_range",
       {{"a", kInteger, true}, {"b", kInteger, true}},
       [](const Call& c) { return Mask::KvRange(c.shape, c.Int(0), c.Int(1)); }},
      {"stride",
       {{"step", kInteger, true}, {"phase", kInteger, false}},
       [](const Call& c) { return Mask::Stride(c.shape, c.Int(0), c.Int(1)); }},
      {"documents",
       {{"lengths", kFileOrList, true}},
       [](const Call& c) {
         return c.arguments[0].kind == Argument::Kind::kList
                    ? Mask::Documents(c.shape, c.arguments[0].list)
                    : Mask::Documents(c.shape, c.File(0));
       }},
      {"segments",
       {{"q", kFile, true}, {"kv", kFile, false}, {"pad", kIntegerOrNone, false}},
       [](const Call& c) {
         const Array q_ids = c.File(0);
         return Mask::Segments(c.shape, q_ids, c.Has(1) ? c.File(1) : q_ids, c.OptionalInt(2));
       }},
      {"blocks",
       {{"bits", kFile, true}, {"block", kInteger, true}},
       [](const Call& c) { return Mask::Blocks(c.shape, c.File(0), c.Int(1)); }},
      {"dense",
       {{"array", kFile, true}},
       [](const Call& c) { return Mask::Dense(c.shape, c.File(0)); }},
      {"where",
       {{"predicate", kPredicate, true}},
       [](const Call& c) { return Mask::Where(c.shape, c.arguments[0].string); }},
  };
  return signatures;
}

std::vector<int64_t> ParseList(Lexer& lexer) {
  std::vector<int64_t> list;
  lexer.Expect('[', "to open a list");
  while (!lexer.current().Is(']')) {
    list.push_back(lexer.TakeInteger());
    if (!lexer.current().Is(']')) lexer.Expect(',', "or ']' in a list");
  }
  lexer.Take();
  return list;
}

std::string_view Describe(Accepts accepts) {
  switch (accepts) {
    case Accepts::kInteger:
      return "an integer";
    case Accepts::kIntegerOrNone:
      return "an integer or none";
    case Accepts::kFile:
      return "a file name in quotes";
    case Accepts::kFileOrList:
      return "a list of integers or a file name in quotes";
    case Accepts::kPredicate:
      return "a predicate in quotes, such as \"q >= kv\"";
  }
  return "";
}

Argument ParseArgument(Lexer& lexer, const Parameter& parameter) {
  Argument argument;
  argument.position = lexer.current().position;
  const bool integer =
      parameter.accepts == Accepts::kInteger || parameter.accepts == Accepts::kIntegerOrNone;
  const Token& token = lexer.current();
  if (integer && (token.kind == TokenKind::kInteger || token.Is('-'))) {
    argument.kind = Argument::Kind::kInteger;
    argument.integer = lexer.TakeInteger();
  } else if (parameter.accepts == Accepts::kIntegerOrNone &&
             (token.text == "none" || token.text == "None")) {
    argument.kind = Argument::Kind::kNone;
    lexer.Take();
  } else if (!integer && token.kind == TokenKind::kString) {
    argument.kind = Argument::Kind::kString;
    argument.string = lexer.Take().value;
  } else if (parameter.accepts == Accepts::kFileOrList && token.Is('[')) {
    argument.kind = Argument::Kind::kList;
    argument.list = ParseList(lexer);
  } else {
    lexer.Fail(fmt::format("expected {} for '{}', got {}", Describe(parameter.accepts),
                           parameter.name, lexer.Got()),
               argument.position);
  }
  return argument;
}

// Which parameter the current argument is for; takes `name =` when it is written.
size_t ParameterIndex(Lexer& lexer, const Signature& signature, size_t positional,
                      bool keyword_seen) {
  const Token& token = lexer.current();
  if (token.kind == TokenKind::kName && token.text != "none" && token.text != "None") {
    const Token name = lexer.Take();
    const auto found =
        std::find_if(signature.parameters.begin(), signature.parameters.end(),
                     [&](const Parameter& parameter) { return parameter.name == name.text; });
    if (found == signature.parameters.end()) {
      std::vector<std::string_view> known;
      for (const Parameter& parameter : signature.parameters) known.push_back(parameter.name);
      lexer.Fail(fmt::format("unknown argument '{}' of {}(){}", name.text, signature.name,
                             Suggest(name.text, known)),
                 name.position);
    }
    lexer.Expect('=', "after an argument's name");
    return static_cast<size_t>(found - signature.parameters.begin());
  }
  if (keyword_seen) {
    lexer.Fail("expected no positional argument after a named one", token.position);
  }
  if (positional >= signature.parameters.size()) {
    lexer.Fail(fmt::format("expected at most {} arguments of {}(), got another",
                           signature.parameters.size(), signature.name),
               token.position);
  }
  return positional;
}

std::vector<Argument> ParseArguments(Lexer& lexer, const Signature& signature, size_t position) {
  std::vector<Argument> arguments(signature.parameters.size());
  bool keyword_seen = false;
  for (size_t positional = 0; !lexer.current().Is(')'); ++positional) {
    const bool named = lexer.current().kind == TokenKind::kName && lexer.current().text != "none" &&
                       lexer.current().text != "None";
    const size_t at = lexer.current().position;
    const size_t index = ParameterIndex(lexer, signature, positional, keyword_seen);
    keyword_seen |= named;
    if (arguments[index].kind != Argument::Kind::kAbsent) {
      lexer.Fail(fmt::format("argument '{}' is given twice", signature.parameters[index].name), at);
    }
    arguments[index] = ParseArgument(lexer, signature.parameters[index]);
    if (!lexer.current().Is(')')) lexer.Expect(',', "or ')' between arguments");
  }
  lexer.Take();
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (signature.parameters[i].required && arguments[i].kind == Argument::Kind::kAbsent) {
      lexer.Fail(fmt::format("expected argument '{}' of {}(): {}", signature.parameters[i].name,
                             signature.name, Describe(signature.parameters[i].accepts)),
                 position);
    }
  }
  return arguments;
}

// A file name, zigzag(n) or striped(n).
Positions ParsePositions(Lexer& lexer, const ArrayResolver& resolve) {
  const Token token = lexer.Take();
  if (token.kind == TokenKind::kString) {
    return WithColumn(lexer, token.position, [&] {
      return Positions::FromArray(resolve(token.value).WithName(token.value));
    });
  }
  if (token.kind != TokenKind::kName || (token.text != "zigzag" && token.text != "striped")) {
    lexer.Fail("expected a file name in quotes, zigzag(n) or striped(n)", token.position);
  }
  lexer.Expect('(', fmt::format("after '{}'", token.text));
  const int64_t n = lexer.TakeInteger();
  lexer.Expect(')', fmt::format("to close {}", token.text));
  return token.text == "zigzag" ? Positions::Zigzag(n) : Positions::Striped(n);
}

}  // namespace

Mask ParseLeafCall(const Token& name, Lexer& lexer, Shape shape, const ArrayResolver& resolve) {
  const std::vector<Signature>& signatures = Signatures();
  const auto signature =
      std::find_if(signatures.begin(), signatures.end(),
                   [&](const Signature& candidate) { return candidate.name == name.text; });
  if (signature == signatures.end()) {
    std::vector<std::string_view> known = {"reorder"};
    for (const Signature& candidate : signatures) known.push_back(candidate.name);
    lexer.Fail(fmt::format("unknown mask '{}'{}", name.text, Suggest(name.text, known)),
               name.position);
  }
  lexer.Expect('(', fmt::format("after '{}'", name.text));
  const Call call{shape, ParseArguments(lexer, *signature, name.position), resolve};
  return WithColumn(lexer, name.position, [&] { return signature->make(call); });
}

OrderArguments ParseOrders(Lexer& lexer, const ArrayResolver& resolve) {
  OrderArguments orders;
  while (true) {
    const Token name = lexer.current();
    if (name.text != "q" && name.text != "kv") {
      lexer.Fail("expected q=... or kv=... in reorder(), got " + lexer.Got(), name.position);
    }
    lexer.Take();
    std::optional<Positions>& order = name.text == "q" ? orders.q : orders.kv;
    if (order) {
      lexer.Fail(fmt::format("argument '{}' is given twice", name.text), name.position);
    }
    lexer.Expect('=', "after an argument's name");
    order = ParsePositions(lexer, resolve);
    if (!lexer.current().Is(',')) break;
    lexer.Take();
  }
  lexer.Expect(')', "to close reorder");
  return orders;
}

}  // namespace splashmask
