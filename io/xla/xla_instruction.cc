// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/xla_instruction.h"

#include <algorithm>
#include <optional>

#include "splashmask/io/xla/base64.h"
#include "splashmask/io/xla/xla_shape_reader.h"

namespace splashmask {

namespace {

bool IsOpcodeCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// The names among "%a, /*index=5*/%b"; older versions print a shape before each.
std::vector<std::string> ReadOperands(std::string_view text, const DumpPlace& place) {
  std::vector<std::string> names;
  DumpCursor cursor(text, place);
  while (!cursor.AtEnd()) {
    const std::string_view operand = cursor.Balanced(",");
    const size_t percent = operand.rfind('%');
    if (percent != std::string_view::npos) names.emplace_back(operand.substr(percent + 1));
    if (!cursor.Take(",")) break;
  }
  return names;
}

// What follows `key` in a string of quotes, its escapes resolved; nullopt without it.
std::optional<std::string> QuotedAfter(std::string_view text, std::string_view key) {
  size_t at = text.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  at = text.find_first_not_of(" :=", at + key.size());
  if (at == std::string_view::npos || text[at] != '"') return std::nullopt;
  std::string value;
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    value += text[at];
  }
  if (at == text.size()) return std::nullopt;
  return value;
}

// "jit(f/g)/dot" is two parts: names in brackets keep their slashes.
std::vector<std::string> SplitScopes(std::string_view op_name) {
  std::vector<std::string> scopes;
  DumpCursor cursor(op_name, DumpPlace());
  while (!cursor.AtEnd()) {
    scopes.emplace_back(cursor.Balanced("/"));
    cursor.Take("/");
  }
  return scopes;
}

// "fusion.12" is XLA's twelfth "fusion".
std::string WithoutNumber(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot + 1 == name.size()) return name;
  const bool is_number = std::all_of(name.begin() + static_cast<std::ptrdiff_t>(dot) + 1,
                                     name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return is_number ? name.substr(0, dot) : name;
}

MosaicBody ReadBody(std::string_view backend_config) {
  const std::optional<std::string> text = QuotedAfter(backend_config, "\"body\"");
  if (!text) return {.kernel = {}, .reason = "the call's backend_config holds no body"};
  const std::optional<std::string> bytes = DecodeBase64(*text);
  if (!bytes) return {.kernel = {}, .reason = "the call's body is not base64"};
  return ReadMosaicBody(*bytes);
}

void ReadAttributes(DumpCursor& cursor, XlaInstruction& instruction) {
  std::string_view backend_config;
  while (cursor.Take(", ")) {
    DumpCursor attribute(cursor.Balanced(","), cursor.place());
    if (attribute.Take("metadata=")) {
      instruction.op_name = QuotedAfter(attribute.rest(), "op_name").value_or("");
    } else if (attribute.StartsWith("custom_call_target=")) {
      instruction.custom_call_target =
          QuotedAfter(attribute.rest(), "custom_call_target").value_or("");
    } else if (attribute.Take("backend_config=")) {
      backend_config = attribute.rest();
    }
  }
  if (instruction.custom_call_target == "tpu_custom_call") {
    instruction.kernel = XlaKernel{.name = WithoutNumber(instruction.name),
                                   .scopes = SplitScopes(instruction.op_name),
                                   .body = ReadBody(backend_config)};
  }
}

}  // namespace

XlaInstruction ReadXlaInstruction(DumpCursor& cursor) {
  XlaInstruction instruction;
  cursor.Take("ROOT ");
  cursor.Expect("%");
  instruction.name = cursor.Until(" = ", "an instruction's name");
  instruction.shape = ReadXlaShape(cursor);
  cursor.Expect(" ");
  instruction.opcode = cursor.While(IsOpcodeCharacter, "an opcode");
  cursor.Expect("(");
  const std::string_view arguments = cursor.Balanced(")");
  if (instruction.opcode == "constant" || instruction.opcode == "parameter") {
    instruction.literal = arguments;
  } else {
    instruction.operands = ReadOperands(arguments, cursor.place());
  }
  cursor.Expect(")");
  ReadAttributes(cursor, instruction);
  cursor.ExpectEnd();
  return instruction;
}

}  // namespace splashmask
