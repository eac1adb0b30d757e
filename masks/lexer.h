// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tokens of the text form, and the one place that words a syntax error. Private to the project.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "splashmask/masks/error.h"

namespace splashmask {

enum class TokenKind : uint8_t { kName, kInteger, kString, kPunctuation, kEnd };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  size_t position = 0;    ///< Byte offset in the text.
  std::string_view text;  ///< As written.
  std::string value;      ///< A string's content, without quotes and escapes.

  bool Is(char c) const { return Is(std::string_view(&c, 1)); }
  bool Is(std::string_view punctuation) const {
    return kind == TokenKind::kPunctuation && text == punctuation;
  }
};

/// The punctuation of masks.
inline constexpr std::string_view kMaskPunctuation[] = {"(", ")", "[", "]", ",", "=",
                                                        "~", "&", "|", "^", "-", "*"};

/// Reads tokens one at a time; `current` is the one being looked at.
class Lexer {
 public:
  /// Of two kinds of punctuation that begin alike the longer one comes first.
  explicit Lexer(std::string_view text,
                 std::span<const std::string_view> punctuation = kMaskPunctuation);

  const Token& current() const { return current_; }
  Token Take();
  /// Takes `c` or throws "expected '<c>' <context>, got ...".
  void Expect(char c, std::string_view context);

  /// Throws kSyntax: "[parse] <message> at column N" and a pointer under the text.
  [[noreturn]] void Fail(const std::string& message, size_t position) const;
  /// Throws `message` with the given code, the column and the pointer.
  [[noreturn]] void FailWith(ErrorCode code, const std::string& message, size_t position) const;
  /// Takes an integer, with or without `-`; throws kSyntax for anything else, and for one beyond 64
  /// bits.
  int64_t TakeInteger();
  /// What the current token is, for a message: "end of text" or the token in quotes.
  std::string Got() const;

 private:
  void Next();

  std::string_view text_;
  std::span<const std::string_view> punctuation_;
  size_t position_ = 0;
  Token current_;
};

}  // namespace splashmask
