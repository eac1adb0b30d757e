// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace splashmask {

namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// The line of text around `position`, cut to fit a terminal, and a caret under it.
std::string Pointer(std::string_view text, size_t position) {
  constexpr size_t kBefore = 40, kAfter = 36;
  size_t begin = position > kBefore ? position - kBefore : 0;
  size_t end = std::min(text.size(), position + kAfter);
  // Do not cut a UTF-8 sequence in half.
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
  const std::string_view left = begin > 0 ? "..." : "";
  const std::string_view right = end < text.size() ? "..." : "";
  std::string line;
  size_t caret = left.size();
  for (size_t i = begin; i < end; ++i) {
    line += IsSpace(text[i]) ? ' ' : text[i];
    if (i < position && (text[i] & 0xC0) != 0x80) ++caret;
  }
  return fmt::format("\n  {}{}{}\n  {:>{}}", left, line, right, '^', caret + 1);
}

}  // namespace

Lexer::Lexer(std::string_view text, std::span<const std::string_view> punctuation)
    : text_(text), punctuation_(punctuation) {
  Next();
}

Token Lexer::Take() {
  Token token = std::move(current_);
  Next();
  return token;
}

void Lexer::Expect(char c, std::string_view context) {
  if (!current_.Is(c)) {
    Fail(fmt::format("expected '{}' {}, got {}", c, context, Got()), current_.position);
  }
  Next();
}

void Lexer::Fail(const std::string& message, size_t position) const {
  FailWith(ErrorCode::kSyntax, "[parse] " + message, position);
}

void Lexer::FailWith(ErrorCode code, const std::string& message, size_t position) const {
  throw Error(code,
              fmt::format("{} at column {}{}", message, position + 1, Pointer(text_, position)));
}

int64_t Lexer::TakeInteger() {
  const size_t position = current_.position;
  std::string digits;
  if (current_.Is('-')) {
    digits = "-";
    Next();
  }
  if (current_.kind != TokenKind::kInteger) {
    Fail("expected an integer, got " + Got(), current_.position);
  }
  for (char c : current_.text) {
    if (c != '_') digits += c;
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    Fail(fmt::format("expected an integer that fits in 64 bits, got {}", digits), position);
  }
  Next();
  return value;
}

std::string Lexer::Got() const {
  if (current_.kind == TokenKind::kEnd) return "the end of the text";
  constexpr size_t kLongest = 40;
  return fmt::format("'{}{}'", current_.text.substr(0, kLongest),
                     current_.text.size() > kLongest ? "..." : "");
}

void Lexer::Next() {
  while (position_ < text_.size() && IsSpace(text_[position_])) ++position_;
  const size_t begin = position_;
  current_ = Token{TokenKind::kEnd, begin, {}, {}};
  if (begin == text_.size()) return;

  const char c = text_[begin];
  if (IsNameStart(c)) {
    current_.kind = TokenKind::kName;
    while (position_ < text_.size() &&
           (IsNameStart(text_[position_]) || IsDigit(text_[position_]))) {
      ++position_;
    }
  } else if (IsDigit(c)) {
    current_.kind = TokenKind::kInteger;
    while (position_ < text_.size() && (IsDigit(text_[position_]) || text_[position_] == '_')) {
      ++position_;
    }
    if (position_ < text_.size() && (IsNameStart(text_[position_]) || text_[position_] == '.')) {
      Fail("expected an integer", begin);
    }
  } else if (c == '"' || c == '\'') {
    current_.kind = TokenKind::kString;
    for (++position_; position_ < text_.size() && text_[position_] != c; ++position_) {
      if (text_[position_] == '\\' && position_ + 1 < text_.size()) ++position_;
      current_.value += text_[position_];
    }
    if (position_ == text_.size()) Fail("this string is not closed", begin);
    ++position_;
  } else if (const auto mark = std::find_if(
                 punctuation_.begin(), punctuation_.end(),
                 [&](std::string_view known) { return text_.substr(begin).starts_with(known); });
             mark != punctuation_.end()) {
    current_.kind = TokenKind::kPunctuation;
    position_ += mark->size();
  } else {
    size_t end = begin + 1;  // One whole character, which may be several bytes of UTF-8.
    while (end < text_.size() && (text_[end] & 0xC0) == 0x80) ++end;
    Fail(fmt::format("unexpected character '{}'", text_.substr(begin, end - begin)), begin);
  }
  current_.text = text_.substr(begin, position_ - begin);
}

}  // namespace splashmask
